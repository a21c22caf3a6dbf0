"""Files in, a dataset out: labels, formats, splits, and the version that names the data."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest

from nertrail.errors import ConfigError, DataError
from nertrail.ner.readers import DataSettings, Document, Span, data_version, read_dataset
from reading import Read, entities, line


def test_labels_are_mapped_and_dropped(read: Read):
    content = line(text="Ann in Rome", entities=[[0, 3, "PERSON"], [7, 11, "GPE"]])
    (document,), counts = read(content, "a.jsonl", label_map={"PERSON": "per", "GPE": None}, types=("per",))
    assert entities(document) == [("Ann", "per")]
    assert counts == {"dropped_by_label_map": 1}


@pytest.mark.parametrize(
    ("name", "content"), [("a.conll", "a O\nb B-pre\n"), ("a.jsonl", "\n" + line(text="b", spans=[[0, 1, "pre"]]))]
)
def test_an_unknown_label_names_line_and_nearest_type(read: Read, name, content):
    with pytest.raises(DataError, match="unknown label 'pre'") as caught:
        read(content, name, types=("loc", "per"))
    assert caught.value.place.endswith(f"{name}:2")
    assert "did you mean 'per'" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "documents"),
    [("{ O\n} O\n", 1), ("[\tO\n", 1), ('{"text": "a", "spans": []}\n', 1), ('[\n{"text": "a", "spans": []}]', 1)],
)
def test_content_decides_where_the_suffix_does_not(read: Read, content, documents):
    assert len(read(content, "data.annotated")[0]) == documents
    assert len(read(content, "data.txt")[0]) == documents


def test_a_label_map_that_maps_nothing_is_told(folder):
    """A label of the map may be in any split; one that is in none is a slip."""
    mapped = read_dataset(DataSettings(folder, label_map={"per": "PERSON", "org": None}))
    assert mapped.types == ("PERSON", "loc")
    with pytest.raises(DataError, match=r"data\.label_map: no label is 'pers'") as caught:
        read_dataset(DataSettings(folder, label_map={"pers": "PERSON", "org": None}))
    assert caught.value.remedy == "did you mean 'per'? labels there: loc, org, per; or take it out"
    assert caught.value.place == str(folder)


@pytest.fixture
def folder(tmp_path):
    """Three splits in three formats, found by their names."""
    (tmp_path / "train.conll").write_text("Ann B-per\nsings O\n\nAnn B-per\nsings O\n\nRome B-loc\n")
    (tmp_path / "dev.jsonl").write_text(line(text="Ann sings", entities=[[0, 3, "per"]]))
    (tmp_path / "test.json").write_text(json.dumps([{"text": "Acme sings", "entities": [[0, 4, "org"]]}]))
    (tmp_path / "train.md").write_text("about the train split")
    return tmp_path


def test_a_dataset_found_by_convention(folder, caplog):
    dataset = read_dataset(DataSettings(folder))
    assert [len(documents) for documents in dataset.splits.values()] == [3, 1, 1]
    assert dataset.types == ("loc", "org", "per")
    assert dataset.word_unit == "whitespace"
    assert dataset.source == str(folder)
    assert dataset.counts == {
        "train.repeated_texts": 1,
        "validation.texts_also_in_train": 1,
        "test.type_not_in_train": 1,
    }
    assert "type org occurs in test but not in train" in caplog.text
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_named_files_and_given_types(folder):
    (folder / "validation.jsonl").write_text((folder / "dev.jsonl").read_text())
    dataset = read_dataset(DataSettings(folder, validation="dev.jsonl", types=("per", "org", "loc", "date")))
    assert dataset.types == ("date", "loc", "org", "per")


def test_character_spans_come_in_the_pretokenizers_words(folder):
    (folder / "train.conll").unlink()
    (folder / "train.jsonl").write_text(line(text="Ann", entities=[[0, 3, "per"]]))
    assert read_dataset(DataSettings(folder)).word_unit == "pretokenizer"


def test_several_files_for_one_split(folder):
    (folder / "train.jsonl").write_text(line(text="Ann", entities=[[0, 3, "per"]]))
    with pytest.raises(DataError, match=r"train.conll, train.jsonl") as caught:
        read_dataset(DataSettings(folder))
    assert "data.train" in caught.value.remedy


def test_a_missing_split_lists_what_is_there(folder):
    (folder / "test.json").unlink()
    with pytest.raises(
        DataError, match=r"no file of the test split; the folder holds dev.jsonl, train.conll, train.md"
    ) as caught:
        read_dataset(DataSettings(folder))
    assert "data.test" in caught.value.remedy


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("nowhere", {}, "no such file or folder"),
        ("train.conll", {}, "not a folder"),
        ("", {"train": "gone.conll"}, "No such file"),
        ("", {"test": "."}, "is a folder, not a file"),
    ],
)
def test_missing_folders_and_files(folder, path, options, words):
    with pytest.raises(DataError, match=words) as caught:
        read_dataset(DataSettings(folder / path, **options))
    assert caught.value.remedy


def test_a_train_split_without_entities(folder):
    (folder / "train.conll").write_text("a O\n")
    with pytest.raises(DataError, match="train split holds no entity"):
        read_dataset(DataSettings(folder))


def test_an_unknown_format_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="unknown format 'xml'"):
        DataSettings(tmp_path, format="xml")


def test_data_version_names_split_text_and_spans_only():
    one = Document("a", "Ann", (Span(0, 3, "x"), Span(0, 1, "y")))
    same = Document("b", "Ann", (Span(0, 1, "y"), Span(0, 3, "x")), ((0, 3),))
    version = data_version({"train": [one], "test": []})
    assert version == data_version({"test": [], "train": [same]})
    assert len(version) == 16
    assert int(version, 16) >= 0
    assert version != data_version({"test": [one], "train": []})
    assert version != data_version({"train": [Document("a", "Ann", (Span(0, 3, "x"),))]})
    assert version == "7166bab0374aa3a0"


def test_reading_and_scoring_load_no_heavy_library():
    code = (
        "import sys, nertrail.ner.readers, nertrail.ner.scoring, nertrail.ner.resumes;"
        "print([m for m in ('torch', 'transformers', 'mlflow', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
