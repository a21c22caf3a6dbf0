"""Scores of parts: they add up to the whole, and each is the score of its texts alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.ner.bootstrap import Interval
from nertrail.ner.details import MOST_SOURCES, REST, _bin, details
from nertrail.ner.documents import Span
from nertrail.ner.scoring import Scores, score

PER, LOC = Span(0, 1, "per"), Span(2, 3, "loc")
TYPES = ("loc", "per")
GOLD = [frozenset({PER}), frozenset({PER, LOC}), frozenset({LOC})]
PREDICTED = [frozenset({PER}), frozenset({PER}), frozenset({Span(2, 3, "per")})]
GOLD_TAGS = [["B-per"] * 5, ["B-per", "B-loc"] * 6, ["B-loc"] * 7]
PREDICTED_TAGS = [["B-per"] * 5, ["B-per", "O"] * 6, ["B-per"] * 7]


def detailed(sources=(None, None, None)) -> Scores:
    from dataclasses import replace

    scores = score(GOLD, PREDICTED, GOLD_TAGS, PREDICTED_TAGS, TYPES, 0.5)
    return replace(scores, details=details(GOLD, PREDICTED, GOLD_TAGS, PREDICTED_TAGS, TYPES, sources))


def test_metrics_gain_intervals_and_mistakes():
    scores = detailed()
    names = [f"{name}_ci_{end}" for name in ("macro-f1", "macro-f1-span", "micro-f1-span") for end in ("low", "high")]
    kinds = {"errors_type": 1.0, "errors_boundary": 0.0, "errors_missed": 1.0, "errors_spurious": 0.0}
    metrics = scores.metrics()
    assert set(metrics) == {"macro-f1", "macro-f1-span", "micro-f1-span", "loss", *names, *kinds}
    assert {name: metrics[name] for name in kinds} == kinds
    assert metrics["micro-f1-span_ci_low"] <= scores.micro_f1_span <= metrics["micro-f1-span_ci_high"]


def test_entity_metrics_gain_intervals():
    scores = detailed()
    assert scores.details is not None
    found = scores.entity_metrics()
    assert Interval(found["per_f1_ci_low"], found["per_f1_ci_high"]) == scores.details.intervals.per_entity["per"]
    assert set(found) == {
        f"{type_}_{part}"
        for type_ in TYPES
        for part in ("precision", "recall", "f1", "support", "f1_ci_low", "f1_ci_high")
    }


def test_by_length():
    parts = detailed().details.by_length
    assert list(parts) == ["0-10", "11-20"]
    assert (parts["0-10"].texts, parts["0-10"].support, parts["0-10"].f1) == (2, 2, 0.5)
    assert parts["11-20"].precision == 1.0
    assert parts["11-20"].recall == 0.5


def test_by_source():
    assert detailed().details.by_source == {}
    parts = detailed(("mail", "mail", None)).details.by_source
    assert list(parts) == ["mail", REST]
    assert (parts["mail"].texts, parts["mail"].f1) == (2, pytest.approx(0.8))
    assert parts[REST].f1 == 0.0


def test_rare_sources_are_summed_up():
    count = MOST_SOURCES + 5
    gold = [frozenset({PER})] * count
    parts = details(gold, gold, [["B-per"]] * count, [["B-per"]] * count, TYPES, [f"s{n:03}" for n in range(count)])
    assert len(parts.by_source) == MOST_SOURCES + 1
    assert parts.by_source[REST].texts == 5


def test_the_document_is_json():
    document = detailed(("mail", "mail", None)).document()
    assert json.loads(json.dumps(document)) == document
    assert document["per_entity"]["per"]["f1_ci_high"] >= document["per_entity"]["per"]["f1"]
    assert document["by_length"]["11-20"]["texts"] == 1
    assert document["by_source"]["mail"]["f1_ci_low"] <= 0.8


def test_without_details_nothing_is_added():
    scores = score(GOLD, PREDICTED, GOLD_TAGS, PREDICTED_TAGS, TYPES, 0.5)
    assert set(scores.metrics()) == {"macro-f1", "macro-f1-span", "micro-f1-span", "loss"}
    assert set(scores.document()["per_entity"]["per"]) == {"precision", "recall", "f1", "support"}


@given(st.integers(0, 2000))
def test_a_bin_holds_its_length(words):
    name = _bin(words)
    if name.startswith("over "):
        assert words > int(name.removeprefix("over "))
    else:
        low, high = map(int, name.split("-"))
        assert low <= words <= high
