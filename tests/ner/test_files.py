"""Which file is which split."""

from __future__ import annotations

import pytest

from nertrail.errors import DataError
from nertrail.ner.files import find, find_some
from nertrail.ner.sources import DataSettings, SplitSettings


def folder(path, *names):
    for name in names:
        (path / name).write_text("", encoding="utf-8")
    return path


def names(files):
    return {split: file.name for split, file in files.items()}


@pytest.mark.parametrize(
    "files",
    [
        ("train.conll", "dev.conll", "test.conll"),
        ("a.training.tsv", "NER-de-dev.tsv", "emerging_test.jsonl"),
        ("Train.json", "valid.jsonl", "TEST.txt"),
    ],
)
def test_by_convention(tmp_path, files):
    found = find(DataSettings(folder(tmp_path, *files, "train.md", "development.conll")))
    assert names(found) == dict(zip(("train", "validation", "test"), files, strict=True))


def test_an_exact_name_comes_before_one_that_has_it_as_a_part(tmp_path):
    found = find(DataSettings(folder(tmp_path, "train.conll", "old-train.conll", "dev.conll", "test.conll")))
    assert found["train"].name == "train.conll"


def test_two_parts_are_too_many(tmp_path):
    with pytest.raises(DataError, match=r"a\.train\.conll, b\.train\.conll"):
        find(DataSettings(folder(tmp_path, "a.train.conll", "b.train.conll", "dev.conll", "test.conll")))


def test_a_split_may_be_missing_where_it_is_made_or_only_looked_at(tmp_path):
    path = folder(tmp_path, "train.conll", "dev.conll")
    expected = {"train": "train.conll", "validation": "dev.conll"}
    assert names(find(DataSettings(path, split=SplitSettings()))) == expected
    assert names(find_some(DataSettings(path))) == expected
    with pytest.raises(DataError, match="no file of the test split"):
        find(DataSettings(path))


def test_train_is_never_made(tmp_path):
    path = folder(tmp_path, "dev.conll", "test.conll")
    with pytest.raises(DataError, match="no file of the train split") as caught:
        find(DataSettings(path, split=SplitSettings()))
    assert str(caught.value.remedy).endswith("or give one file as data.path and let data.split make its splits")
    assert set(find_some(DataSettings(path))) == {"validation", "test"}


def test_nothing_to_look_at(tmp_path):
    with pytest.raises(DataError, match=r"the folder holds notes\.md"):
        find_some(DataSettings(folder(tmp_path, "notes.md")))


def test_a_file_that_is_named_for_one_split_is_no_other(tmp_path):
    path = folder(tmp_path, "a-test.conll", "a-dev.conll")
    assert names(find_some(DataSettings(path, train="a-test.conll"))) == {
        "train": "a-test.conll",
        "validation": "a-dev.conll",
    }
