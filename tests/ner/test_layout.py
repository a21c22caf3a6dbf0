"""Words and pieces of many texts at once, against one text after the other, character by character."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.ner.layout import Layout, _solid

BLANKS = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]


class Encoding:
    """What a tokenizer says of one text."""

    def __init__(self, offsets: list[tuple[int, int]], word_ids: list[int | None]) -> None:
        self.offsets, self.word_ids = offsets, word_ids

    def __len__(self) -> int:
        return len(self.offsets)


def layout(*texts: tuple[str, list[tuple[int, int]], list[int | None]]) -> Layout:
    return Layout([text for text, _, _ in texts], [Encoding(offsets, words) for _, offsets, words in texts])


def test_a_blank_is_what_python_takes_for_one() -> None:
    every = "".join(chr(code) for code in range(sys.maxunicode + 1))
    assert [every[index] for index in np.flatnonzero(~_solid(every))] == BLANKS


@given(st.lists(st.text("ab \n\u3000é🙂", max_size=12), max_size=6))
def test_words_between_blanks_are_each_texts_own(texts: list[str]) -> None:
    found = layout(*((text, [], []) for text in texts))
    expected, base = [], 0
    for text in texts:
        expected += [(base + match.start(), base + match.end()) for match in re.finditer(r"\S+", text)]
        base += len(text)
    assert list(zip(*(part.tolist() for part in found.words("whitespace")), strict=True)) == expected


def test_pieces_lose_their_blanks_and_stay_in_their_text() -> None:
    found = layout(("a", [(0, 1)], [0]), ("  b c ", [(0, 3), (3, 6), (1, 2)], [0, 1, 2]), (" ", [(0, 1)], [0]))
    assert found.piece_bases.tolist() == [0, 1, 4, 5]
    assert list(zip(found.starts.tolist(), found.ends.tolist(), strict=True)) == [
        (0, 1),
        (3, 4),
        (5, 6),
        (3, 3),
        (8, 8),
    ]


@pytest.mark.parametrize(
    "offsets, words, expected",
    [
        ([(0, 2), (2, 3), (3, 4)], [0, 0, 1], [(0, 3), (3, 4)]),
        ([(0, 1), (2, 3), (1, 2)], [0, 1, 0], [(0, 2), (2, 3)]),  # a word whose pieces do not follow each other
        ([(0, 2), (1, 3)], [0, 1], [(0, 2), (2, 3)]),  # byte-level pieces share a character
        ([(0, 3), (1, 2)], [0, 1], [(0, 3)]),
        ([(0, 2), (2, 3)], [None, 0], [(2, 3)]),
        ([(0, 0)], [0], []),
        ([], [], []),
    ],
)
def test_own_words(offsets: list[tuple[int, int]], words: list[int | None], expected: list[tuple[int, int]]) -> None:
    """Between two other texts, whose words have the same numbers."""
    found = layout(("ab", [(0, 2)], [0]), ("wxyz", offsets, words), ("c", [(0, 1)], [0]))
    starts, ends = found.words("pretokenizer")
    moved = [(0, 2), *((start + 2, end + 2) for start, end in expected), (6, 7)]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == moved


def test_extents_leave_out_words_without_a_piece() -> None:
    found = layout(("ab cd", [(0, 1), (1, 2)], [0, 0]), ("ef", [(0, 2)], [0]))
    words, first, last = found.extents(*found.words("whitespace"))
    assert (words.tolist(), first.tolist(), last.tolist()) == ([0, 2], [0, 2], [1, 2])
