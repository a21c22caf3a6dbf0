"""Files as annotation tools write them: the same two texts whatever the tool."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from nertrail.errors import DataError
from nertrail.ner.readers import DataSettings, Span, read_dataset, read_documents
from reading import Read, entities, line

ANN, TEXT = [("Ann", "per"), ("Rome", "loc")], "Ann in Rome"


def result(start: int, end: int, label: str, kind: str = "labels") -> dict[str, Any]:
    return {"type": kind, "to_name": "text", "value": {"start": start, "end": end, kind: [label]}}


RESULTS = [result(0, 3, "per"), result(7, 11, "loc")]
SPANS = [{"start": 0, "end": 3, "labels": ["per"]}, {"start": 7, "end": 11, "labels": ["loc"]}]
OFFSETS = [{"id": 1, "label": "per", "start_offset": 0, "end_offset": 3}]
OFFSETS += [{"id": 2, "label": "loc", "start_offset": 7, "end_offset": 11}]
POINTS = [
    {"label": ["per"], "points": [{"start": 0, "end": 2, "text": "Ann"}]},
    {"label": ["loc"], "points": [{"start": 7, "end": 10, "text": "Rome"}]},
]
TOOLS = {
    "Label Studio": {"id": 7, "data": {"text": TEXT}, "annotations": [{"result": RESULTS}], "predictions": []},
    "Label Studio, other key": {"data": {"page": TEXT, "url": "http://a"}, "annotations": [{"result": RESULTS}]},
    "Label Studio, hypertext": {
        "data": {"text": TEXT},
        "annotations": [{"result": [result(0, 3, "per", "hypertextlabels"), result(7, 11, "loc")]}],
    },
    "Label Studio, short": {"id": 7, "text": TEXT, "label": SPANS},
    "doccano": {"id": 7, "text": TEXT, "label": [[0, 3, "per"], [7, 11, "loc"]]},
    "doccano with relations": {"text": TEXT, "entities": OFFSETS, "relations": []},
    "Prodigy": {
        "text": TEXT,
        "spans": [{"start": 0, "end": 3, "label": "per", "token_start": 0}, {"start": 7, "end": 11, "label": "loc"}],
        "tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0}],
        "answer": "accept",
    },
    "DataTurks": {"content": TEXT, "annotation": POINTS, "extras": None},
    "annotations": {"text": TEXT, "annotations": [[0, 3, "per"], [7, 11, "loc"]]},
    "tokens and tags": {"tokens": ["Ann", "in", "Rome"], "ner_tags": ["B-per", "O", "B-loc"]},
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("as_array", [False, True], ids=["lines", "array"])
def test_a_tool(read: Read, tool: str, as_array: bool) -> None:
    rows = [TOOLS[tool], TOOLS[tool]]
    content = json.dumps(rows, indent=1) if as_array else "\n".join(map(json.dumps, rows))
    documents, counts = read(content, "a.json")
    assert [(document.text, entities(document)) for document in documents] == [(TEXT, ANN)] * 2
    assert counts == ({"inclusive_end": 4} if tool == "DataTurks" else {})


def test_a_cancelled_annotation_is_passed_over(read: Read) -> None:
    cancelled = {"result": [], "was_cancelled": True}
    task = {"data": {"text": TEXT}, "annotations": [cancelled, {"result": RESULTS}]}
    (document,), counts = read(json.dumps([task]), "a.json")
    assert (entities(document), counts) == (ANN, {"answer_not_accept": 1})


def test_the_ground_truth_wins(read: Read) -> None:
    task = {"data": {"text": TEXT}, "annotations": [{"result": RESULTS[:1]}, {"result": RESULTS, "ground_truth": True}]}
    (document,), _ = read(json.dumps([task]), "a.json", policies={"annotators_differ": "repair"})
    assert entities(document) == ANN


def test_tokens_keep_their_words(read: Read) -> None:
    (document,), counts = read(line(tokens=["a", "", "\u00a0", "b "], tags=["O", "O", "O", "I-x"]), "a.jsonl")
    assert document.words == ((0, 1), (2, 3), (4, 5))
    assert counts == {"empty_token": 1, "token_with_edge_blank": 1, "iob1_entities": 1}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"tokens": ["a"], "tags": [3]}, "not a list of strings"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens, but 1 tags"),
        ({"tokens": ["a"], "tags": ["x"]}, "'x' is not a tag"),
        ({"content": "a", "annotation": [{"label": ["x"]}]}, "an annotation is"),
        ({"data": {"n": 1}, "annotations": []}, "no `text`"),
    ],
)
def test_errors_name_the_line(read: Read, record: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read("\n" + line(**record), "a.jsonl")
    assert caught.value.place.endswith("a.jsonl:2")


@pytest.mark.parametrize(
    ("record", "field", "origin"),
    [
        ({"source": "mail"}, "source", "mail"),
        ({"meta": {"source": "web"}}, "source", "web"),
        ({"meta": {"page": {"id": 7}}}, "page.id", "7"),
        ({"meta": "x"}, "source", None),
    ],
)
def test_where_a_text_is_from(read: Read, record: dict[str, Any], field: str, origin: str | None) -> None:
    (document,), _ = read(line(text="a", entities=[], **record), "a.jsonl", source_field=field)
    assert document.origin == origin


def test_inclusive_ends_can_be_set(read: Read) -> None:
    (document,), counts = read(line(text=TEXT, entities=[[0, 2, "per"], [7, 10, "loc"]]), "a.jsonl", ends="inclusive")
    assert (entities(document), counts) == (ANN, {})


NAMES = {"names": ["O", "B-per", "B-loc"], "_type": "ClassLabel"}
VALUE = {"dtype": "string", "_type": "Value"}
SPAN = {"start": {"dtype": "int64", "_type": "Value"}, "end": {"dtype": "int64", "_type": "Value"}, "label": VALUE}
SAVED = {
    "class labels": (
        {"tokens": {"feature": VALUE, "_type": "List"}, "ner_tags": {"feature": NAMES, "_type": "List"}},
        {"tokens": ["Ann", "in", "Rome"], "ner_tags": [1, 0, 2]},
    ),
    "older class labels": (
        {"tokens": {"feature": VALUE, "_type": "Sequence"}, "ner_tags": {"feature": NAMES, "_type": "Sequence"}},
        {"tokens": ["Ann", "in", "Rome"], "ner_tags": [1, 0, 2]},
    ),
    "list of structs": (
        {"text": VALUE, "entities": [SPAN]},
        {"text": TEXT, "entities": [{"start": 0, "end": 3, "label": "per"}, {"start": 7, "end": 11, "label": "loc"}]},
    ),
    "struct of lists": (
        {"text": VALUE, "entities": {"feature": SPAN, "_type": "Sequence"}},
        {"text": TEXT, "entities": {"start": [0, 7], "end": [3, 11], "label": ["per", "loc"]}},
    ),
}


def save(folder: Path, features: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    """A dataset as `Dataset.save_to_disk` lays it out, in two Arrow files."""
    folder.mkdir(parents=True)
    files = []
    for number, part in enumerate((rows[:1], rows[1:])):
        files.append({"filename": f"data-{number:05d}-of-00002.arrow"})
        table = pyarrow.Table.from_pylist(part, schema=pyarrow.Table.from_pylist(rows).schema)
        with pyarrow.ipc.new_stream(str(folder / files[-1]["filename"]), table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_format_type": None}), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", SAVED)
def test_a_dataset_saved_to_disk(tmp_path: Path, kind: str) -> None:
    features, row = SAVED[kind]
    documents = read_documents(save(tmp_path / "train", features, [row, row]))
    assert [(document.text, entities(document)) for document in documents] == [(TEXT, ANN)] * 2
    assert documents[1].place == f"{tmp_path / 'train'}:2"


def test_splits_saved_to_disk(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        save(tmp_path / split, *((SAVED["class labels"][0]), [SAVED["class labels"][1]] * 2))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}', encoding="utf-8")
    dataset = read_dataset(DataSettings(tmp_path))
    assert [len(split) for split in dataset.splits.values()] == [2, 2, 2]
    assert (dataset.types, dataset.word_unit) == (("loc", "per"), "whitespace")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("state.json", "{", "can't be read"),
        ("state.json", '{"_indices_data_files": [{"filename": "x"}]}', "unflattened selection"),
        ("data-00001-of-00002.arrow", "no arrow", "can't read the Arrow file"),
        ("state.json", "[]", "holds a list, not an object"),
        ("state.json", '{"_data_files": 5}', "names no data files"),
        ("state.json", '{"_data_files": [{}]}', "names no data files"),
        ("state.json", '{"_data_files": ["data.arrow"]}', "names no data files"),
        ("dataset_info.json", "null", "holds null, not an object"),
        ("dataset_info.json", '{"features": [5]}', "describes no features"),
        ("dataset_info.json", '{"features": {"entities": []}}', "describes no features"),
        ("dataset_info.json", '{"features": {"tags": {"_type": "ClassLabel"}}}', "describes no features"),
        ("dataset_info.json", '{"features": {"tags": {"_type": "Sequence"}}}', "describes no features"),
    ],
)
def test_broken_datasets(tmp_path: Path, file: str, content: str, words: str) -> None:
    features, row = SAVED["class labels"]
    folder = save(tmp_path / "train", features, [row, row])
    (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        read_documents(folder)
    assert caught.value.remedy


def test_lists_of_unequal_length_in_a_row(tmp_path: Path) -> None:
    features, _ = SAVED["struct of lists"]
    row = {"text": TEXT, "entities": {"start": [0, 7], "end": [3], "label": ["per", "loc"]}}
    with pytest.raises(DataError, match="lists of unequal length") as caught:
        read_documents(save(tmp_path / "train", features, [row, row]))
    assert caught.value.place == f"{tmp_path / 'train'}:1"


def test_a_string_that_is_not_utf8(tmp_path: Path) -> None:
    features, row = SAVED["list of structs"]
    folder = save(tmp_path / "train", features, [row, row])
    file = folder / "data-00000-of-00002.arrow"
    damaged = file.read_bytes().replace(TEXT.encode(), b"\xff" * len(TEXT.encode()))
    assert damaged != file.read_bytes()
    file.write_bytes(damaged)
    with pytest.raises(DataError, match="can't read the Arrow file"):
        read_documents(folder)


STUDIO = {"from_name": "label", "to_name": "text", "type": "labels", "value": {"start": 0, "end": 3, "labels": ["x"]}}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"data": {"text": "Ann"}, "annotations": 7}, "`annotations` is a number, not a list"),
        ({"data": {"text": "Ann"}, "annotations": [7]}, "`annotations` holds a number, not an object: 7"),
        ({"data": {"text": "Ann"}, "annotations": [{"result": 7}]}, "`result` is a number, not a list"),
        ({"data": {"text": "Ann"}, "annotations": [{"result": ["x"]}]}, "`result` holds a string, not an object"),
        (
            {"data": {"text": "Ann"}, "annotations": [{"result": [{**STUDIO, "value": [1]}]}]},
            "`value` holds a list, not an object",
        ),
        ({"content": "Ann", "annotation": 1}, "`annotation` is a number, not a list"),
        ({"content": "Ann", "annotation": [{"label": ["x"], "points": [None]}]}, "`points` holds null, not an object"),
    ],
)
def test_what_no_annotation_tool_writes(read: Read, record: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        read(json.dumps([record]), "a.json")
    assert (caught.value.place or "").endswith("a.json:1")
    assert caught.value.remedy


def test_a_text_that_a_list_names(read: Read) -> None:
    task = {"data": {"text": "Ann"}, "annotations": [{"result": [{**STUDIO, "to_name": ["text"]}]}]}
    (document,), _ = read(json.dumps([task]), "a.json")
    assert document.spans == (Span(0, 3, "x"),)
