"""Predictions in the formats of other tools."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from nertrail.errors import DataError
from nertrail.ner.entities import Entity
from nertrail.ner.exports import MODEL_VERSION, export
from nertrail.ner.texts import Text, read_texts
from reading import Read, entities

ANSWERS = [
    (Text("x", "Anna in Oslo", {"page": 2}, own_id=True), [Entity(0, 4, "PER", 0.9), Entity(8, 12, "LOC", 0.5)]),
    (Text(2, ""), []),
]


def test_jsonl() -> None:
    first, second = (json.loads(line) for line in export(ANSWERS, "jsonl"))
    assert first == {
        "id": "x",
        "text": "Anna in Oslo",
        "meta": {"page": 2},
        "entities": [
            {"start": 0, "end": 4, "label": "PER", "score": 0.9, "text": "Anna"},
            {"start": 8, "end": 12, "label": "LOC", "score": 0.5, "text": "Oslo"},
        ],
    }
    assert second == {"id": 2, "text": "", "entities": []}


def test_prodigy() -> None:
    first, second = (json.loads(line) for line in export(ANSWERS, "prodigy"))
    assert first == {
        "text": "Anna in Oslo",
        "spans": [
            {"start": 0, "end": 4, "label": "PER", "score": 0.9},
            {"start": 8, "end": 12, "label": "LOC", "score": 0.5},
        ],
        "meta": {"page": 2, "id": "x"},
    }
    assert second == {"text": "", "spans": [], "meta": {"id": 2}}


@pytest.mark.parametrize(
    "record, meta",
    [
        ({"text": "a", "id": "x", "meta": {"id": "theirs"}}, {"id": "theirs"}),
        ({"text": "a", "id": "x", "meta": {"page": 2}}, {"id": "x", "page": 2}),
        ({"text": "a", "id": 7}, {"id": 7}),
        ({"text": "a", "meta": {"page": 2}}, {"page": 2}),
        ({"text": "a", "meta": {}}, {"id": 1}),
        ({"text": "a"}, {"id": 1}),
    ],
)
def test_what_the_user_has_in_meta_stays_in_prodigys(record: dict[str, Any], meta: dict[str, Any]) -> None:
    """And predicting on what was predicted changes nothing."""
    line = json.dumps(record)
    for before in ("", "\n"):  # which moves the record to the second line
        (text,) = read_texts(io.BytesIO((before + line).encode()), "a.jsonl")
        (line,) = export([(text, [])], "prodigy")
        assert json.loads(line)["meta"] == meta


def test_label_studio() -> None:
    first, second = json.loads("\n".join(export(ANSWERS, "labelstudio")))
    assert first["data"] == {"text": "Anna in Oslo", "id": "x", "meta": {"page": 2}}
    (prediction,) = first["predictions"]
    assert (prediction["model_version"], prediction["score"]) == (MODEL_VERSION, 0.7)
    assert prediction["result"][1] == {
        "id": "r1",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "score": 0.5,
        "value": {"start": 8, "end": 12, "text": "Oslo", "labels": ["LOC"]},
    }
    assert second["predictions"][0]["result"] == []


def submitted(task: dict[str, Any]) -> dict[str, Any]:
    """A Label Studio task as it is exported after somebody took over its prediction."""
    return {**task, "annotations": [{"result": task["predictions"][0]["result"]}]}


@pytest.mark.parametrize("form", ["jsonl", "prodigy", "labelstudio"])
def test_predictions_can_be_read_back_as_annotations(read: Read, form: str) -> None:
    content = "\n".join(export([*ANSWERS[:1], (Text(3, "It rained."), [])], form))
    if form == "labelstudio":
        content = json.dumps([submitted(task) for task in json.loads(content)])
    documents, _ = read(content, "a.json" if form == "labelstudio" else "a.jsonl")
    assert [(document.text, entities(document)) for document in documents] == [
        ("Anna in Oslo", [("Anna", "PER"), ("Oslo", "LOC")]),
        ("It rained.", []),
    ]


def test_a_prediction_that_nobody_took_over_is_no_annotation(read: Read) -> None:
    with pytest.raises(DataError, match="no record is annotated"):
        read("\n".join(export(ANSWERS[:1], "labelstudio")), "a.json")


@pytest.mark.parametrize("form, expected", [("jsonl", ""), ("prodigy", ""), ("labelstudio", "[]")])
def test_nothing(form: str, expected: str) -> None:
    assert "\n".join(export([], form)) == expected


@pytest.mark.parametrize("count", [1, 3])
def test_label_studio_is_one_array_of_any_length(count: int) -> None:
    tasks: list[Any] = json.loads("\n".join(export(ANSWERS[:1] * count, "labelstudio")))
    assert len(tasks) == count


def test_lines_come_as_the_answers_do() -> None:
    def failing() -> Any:
        yield ANSWERS[0]
        raise RuntimeError("later")

    lines = export(failing(), "jsonl")
    assert json.loads(next(lines))["id"] == "x"
    with pytest.raises(RuntimeError, match="later"):
        next(lines)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_array_is_closed_where_a_later_answer_fails(count: int) -> None:
    def failing() -> Any:
        yield from ANSWERS[:count]
        raise DataError("later")

    lines, read = export(failing(), "labelstudio"), list[str]()
    with pytest.raises(DataError, match="later"):
        read.extend(lines)
    assert len(json.loads("\n".join(read))) == count
