"""JSON with character spans: each shape, each repair, each error with its place and its remedy."""

from __future__ import annotations

import json

import pytest

from nertrail.errors import DataError
from nertrail.ner.readers import Document, Span
from reading import Read, entities, line


@pytest.mark.parametrize("key", ["entities", "annotations", "spans", "label"])
@pytest.mark.parametrize(
    "item",
    [[0, 3, "per"], {"start": 0, "end": 3, "label": "per"}, {"start": 0, "end": 3, "type": "per", "text": "Ann"}],
)
def test_json_shapes(read: Read, key, item):
    (document,), counts = read(line(id=7, text="Ann sings", **{key: [item]}), "a.jsonl")
    assert document == Document("7", "Ann sings", (Span(0, 3, "per"),), None)
    assert counts == {}


def test_a_json_suffix_may_hold_an_array_or_lines(read: Read):
    records = [{"text": "Ann", "entities": [[0, 3, "x"]]}, {"text": "]no[", "entities": []}]
    as_array, _ = read(json.dumps(records, indent=2), "a.json")
    as_lines, _ = read("\n\n".join(map(json.dumps, records)), "a.json")
    assert [(d.text, d.spans) for d in as_array] == [(d.text, d.spans) for d in as_lines]
    assert [document.id.rsplit(":", 1)[1] for document in as_array] == ["2", "12"]


def test_prodigy_rows_without_spans_and_rejected_ones(read: Read):
    rows = [line(text="none"), line(text="Ann", spans=[[0, 3, "x"]], answer="accept"), line(text="no", answer="reject")]
    documents, counts = read("".join(rows), "a.jsonl")
    assert [document.text for document in documents] == ["none", "Ann"]
    assert counts == {"records_without_annotation": 1, "answer_not_accept": 1}


def test_spans_are_trimmed_deduplicated_and_overlaps_counted(read: Read):
    spans = [[0, 4, "x"], [0, 3, "x"], [4, 7, "y"], [3, 4, "y"], [4, 11, "x"]]
    (document,), counts = read(line(text="Ann Lee sings", entities=spans), "a.jsonl")
    assert document.spans == (Span(0, 3, "x"), Span(4, 7, "y"), Span(4, 11, "x"))
    told = dict.fromkeys(("span_with_edge_blanks", "duplicate_spans", "span_of_blanks", "nested_spans"), 1)
    assert counts == {**told, "span_cuts_word": 1}


def test_each_span_inside_a_longer_one_overlaps(read: Read):
    _, counts = read(
        line(text="Ann Lee sings", entities=[[0, 13, "x"], [0, 3, "y"], [4, 7, "y"], [8, 13, "y"]]), "a.jsonl"
    )
    assert counts == {"nested_spans": 3}


def test_a_leading_blank_is_trimmed_from_the_left(read: Read):
    (document,), _ = read(line(text=" \nAnn ", entities=[[0, 6, "x"]]), "a.jsonl")
    assert entities(document) == [("Ann", "x")]


def test_offsets_count_characters_beyond_the_basic_plane(read: Read):
    (document,), _ = read(line(text="𝔄🙂 Ann\u2028Bo", entities=[[3, 6, "x"], [7, 9, "x"]]), "a.jsonl")
    assert entities(document) == [("Ann", "x"), ("Bo", "x")]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ('{"text": "Ann", "entities": [[0, 3, "x"]]', "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ('["text"]', "the record is a list"),
        ('{"entities": []}', "has no `text`"),
        ('{"text": null}', "`text` is null"),
        (r'{"text": "\ud83d", "entities": []}', "surrogate"),
        ('{"text": "Ann", "entities": {"a": 1}}', "`entities` is an object"),
        ('{"text": "Ann", "entities": [[0, 3]]}', r"an entity is \[0, 3\]"),
        ('{"text": "Ann", "entities": ["x"]}', 'an entity is "x"'),
        ('{"text": "Ann", "entities": [[0, 3, []]]}', "entity without a label"),
        ('{"text": "Ann", "entities": [[0, 3.0, "x"]]}', "end is a number"),
        ('{"text": "Ann", "entities": [[false, 3, "x"]]}', "start is a boolean"),
        ('{"text": "Ann", "entities": [{"start": 0, "label": "x"}]}', "end is null"),
        ('{"text": "Ann", "entities": [[0, 4, "x"]]}', "outside its text of 3 characters"),
        ('{"text": "Ann", "entities": [[-1, 2, "x"]]}', "outside its text"),
        ('{"text": "Ann", "entities": [[2, 2, "x"]]}', "starts at 2 and ends at 2"),
        ('{"text": "Ann", "entities": [[0, 3, ""]]}', "can't name an entity type"),
        ('{"text": "Ann", "entities": [[0, 3, "O"]]}', "can't name an entity type"),
    ],
)
def test_json_errors_name_line_and_remedy(read: Read, record, words):
    good = line(text="Bo", entities=[])
    with pytest.raises(DataError, match=words) as caught:
        read(good + "\n" + record + "\n", "a.jsonl")
    assert caught.value.place.endswith("a.jsonl:3")
    assert caught.value.remedy


def test_an_array_names_the_line_of_its_record(read: Read):
    content = '[\n {"text": "a", "entities": []},\n\n {"text": "b", "entities": [[0, 5, "x"]]}\n]'
    with pytest.raises(DataError, match="outside") as caught:
        read(content, "a.json")
    assert caught.value.place.endswith("a.json:4")
    with pytest.raises(DataError, match="broken JSON") as caught:
        read(content.replace("5,", "5 5,"), "a.json")
    assert caught.value.place.endswith("a.json:4")


def test_data_that_nobody_annotated(read: Read):
    with pytest.raises(DataError, match="no record is annotated"):
        read(line(text="a") + line(text="b", ents=[]), "a.jsonl")


@pytest.mark.parametrize(("start", "found"), [(5, 4), (9, 12), (14, 12), (0, 4)])
def test_a_span_moves_to_the_nearest_place_where_its_text_stands(read: Read, start, found):
    item = {"start": start, "end": start + 3, "label": "x", "text": "Ann"}
    (document,), counts = read(line(text="the Ann and Ann", entities=[item]), "a.jsonl")
    assert document.spans == (Span(found, found + 3, "x"),)
    assert counts == {"span_text_moved": 1}


def test_an_empty_text_is_not_a_text_that_nobody_annotated(read: Read):
    documents, counts = read(line(text="") + line(text="Ann", entities=[[0, 3, "x"]]), "a.jsonl")
    assert [document.text for document in documents] == ["Ann"]
    assert counts == {"empty_text": 1}
    with pytest.raises(DataError, match="no record is annotated"):
        read(line(text="") + line(text="a") + line(text="b"), "b.jsonl")


def test_an_own_text_of_blanks_says_nothing(read: Read):
    item = {"start": 0, "end": 4, "label": "LOC", "text": " "}
    (document,), counts = read(line(text="Lund here", entities=[item]), "a.jsonl")
    assert (document.spans, counts) == ((Span(0, 4, "LOC"),), {})


@pytest.mark.parametrize(("name", "place"), [("a.jsonl", "a.jsonl:2"), ("a.json", "a.json:2")])
def test_lists_in_the_place_of_objects_are_not_called_broken(read: Read, name, place):
    spacy = '["Mira", {"entities": [[0, 4, "PER"]]}]\n'
    with pytest.raises(DataError, match="more follows after the first value of the file") as caught:
        read(spacy + spacy, name)
    assert caught.value.place.endswith(place)
