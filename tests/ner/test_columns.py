"""Columns found where nobody named them."""

from __future__ import annotations

import pytest

from nertrail.ner.columns import Layout, detect
from nertrail.ner.sources import DataSettings

WORDS = ["Ann B-x", "sings O"]
CASES = {
    "word, tag": (WORDS, Layout(0, -1)),
    "word, part of speech, phrase, tag": (["Ann NNP B-NP B-x", "sings VB B-VP O"], Layout(0, -1)),
    "word, tag, rest": (["Ann B-x 1", "sings O 1"], Layout(0, 1)),
    "number, word, outer, inner": (["1 Ann B-x O", "2 Lee I-x B-y"], Layout(1, 2, (3,))),
    "number, word, outer, inner that is empty here": (["1 Ann B-x O", "2 Lee I-x O"], Layout(1, 2)),
    "ranges of words": (["1-2 dem O", "1 de O", "2 Anne B-x"], Layout(1, -1)),
    "numbers that are tokens": (["1 B-x", "2 O"], Layout(0, -1)),
    "numbers that count nothing": (["7 x B-x", "7 y O"], Layout(0, -1)),
    "no entity at all": (["a X O", "b X O"], Layout(0, -1)),
    "phrases only": (["a B-NP", "b O"], Layout(0, -1)),
    "several annotators' labels": (["a B-x,B-y q", "b O q"], Layout(0, 1)),
    "a bad cell among many": (["a B-x 1"] * 30 + ["b Q 1"], Layout(0, 1)),
    "tokens with blanks": (["New York B-x", "a O", "b O"], Layout(0, -1)),
    "nothing": ([], Layout(0, -1)),
}


@pytest.mark.parametrize("case", CASES)
def test_detected(tmp_path, case):
    lines, expected = CASES[case]
    assert detect([[line.split() for line in lines]], DataSettings(tmp_path)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"token_column": 0}, Layout(0, 2, (3,))),
        ({"tag_column": 3}, Layout(1, 3)),
        ({"token_column": 1, "tag_column": -1}, Layout(1, -1)),
        ({"token_column": 2}, Layout(2, 3)),
    ],
)
def test_what_is_set_is_not_detected(tmp_path, options, expected):
    rows = [["1", "Ann", "B-x", "O", "z"], ["2", "Lee", "I-x", "B-y", "z"]]
    assert detect([rows], DataSettings(tmp_path, **options)) == expected
