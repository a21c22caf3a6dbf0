"""Scores against seqeval's strict IOB2 mode, against counting by hand, and at the edges."""

from __future__ import annotations

import logging
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from nertrail.errors import DataError
from nertrail.ner.documents import Span
from nertrail.ner.scoring import EntityScore, safe_names, score

TYPES = ("creative-work", "loc", "per")


def spans_of(tags: list[str]) -> frozenset[Span]:
    """Strict IOB2, a word being one character: what does not begin with B is no entity."""
    spans, start = set(), None
    for at, tag in enumerate([*tags, "O"]):
        if start is not None and tag != "I-" + tags[start][2:]:
            spans.add(Span(start, at, tags[start][2:]))
            start = None
        if tag.startswith("B-"):
            start = at
    return frozenset(spans)


def score_tags(gold: list[list[str]], predicted: list[list[str]], types=TYPES, loss=0.5):
    return score([spans_of(t) for t in gold], [spans_of(t) for t in predicted], gold, predicted, types, loss)


tag = st.sampled_from(["O", "O", *(f"{prefix}-{type_}" for prefix in "BI" for type_ in TYPES)])
corpora = st.lists(
    st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.lists(tag, min_size=n, max_size=n)] * 2)), min_size=1, max_size=6
)


def legal(tags: list[str]) -> list[str]:
    """Gold is legal IOB2; predictions need not be."""
    made = []
    for one in tags:
        fits = not one.startswith("I-") or (made and made[-1][2:] == one[2:])
        made.append(one if fits else "B-" + one[2:])
    return made


@settings(deadline=None)
@given(corpora)
def test_span_scores_equal_strict_seqeval(pairs):
    gold, predicted = [legal(g) for g, _ in pairs], [p for _, p in pairs]
    scores = score_tags(gold, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"scheme": IOB2, "zero_division": 0}
        micro = f1_score(gold, predicted, average="micro", mode="strict", **options)
        precision, recall, f1, support = precision_recall_fscore_support(gold, predicted, average=None, **options)
    present = [type_ for type_ in TYPES if type_ not in scores.absent_types]
    assert scores.micro_f1_span == pytest.approx(micro)
    assert len(f1) == len(present)
    for at, type_ in enumerate(present):
        assert scores.per_entity[type_] == pytest.approx((precision[at], recall[at], f1[at], support[at]))
    assert scores.macro_f1_span == pytest.approx(sum(f1) / len(f1) if len(f1) else 0.0)


@settings(deadline=None)
@given(corpora)
def test_word_scores_equal_counting_by_hand(pairs):
    gold = [tag for g, _ in pairs for tag in g]
    predicted = [tag for _, p in pairs for tag in p]
    scores = score_tags([g for g, _ in pairs], [p for _, p in pairs])
    f1s = []
    for type_ in TYPES:
        both = [(g[2:] == type_, p[2:] == type_) for g, p in zip(gold, predicted, strict=True)]
        hits, wrong, missed = both.count((True, True)), both.count((False, True)), both.count((True, False))
        if hits + wrong + missed:
            f1s.append(2 * hits / (2 * hits + wrong + missed))
    assert scores.macro_f1 == pytest.approx(sum(f1s) / len(f1s) if f1s else 0.0)
    assert sum(sum(row.values()) for row in scores.confusion.values()) == len(gold)


def test_exact_matches_only():
    scores = score_tags([["B-per", "I-per", "O", "B-loc"]], [["B-per", "O", "O", "B-loc"]])
    assert scores.per_entity["per"] == EntityScore(0.0, 0.0, 0.0, 1)
    assert scores.per_entity["loc"] == EntityScore(1.0, 1.0, 1.0, 1)
    assert scores.macro_f1_span == 0.5
    assert scores.micro_f1_span == 0.5
    assert scores.macro_f1 == pytest.approx((2 / 3 + 1) / 2)


def test_spans_are_compared_text_by_text():
    one, other = frozenset({Span(0, 1, "per")}), frozenset[Span]()
    scores = score([one, other], [other, one], [["B-per"], ["O"]], [["O"], ["B-per"]], ("per",), 0.0)
    assert scores.micro_f1_span == 0.0


def test_gold_that_iob2_cannot_hold_counts_as_missed():
    gold = frozenset({Span(0, 3, "per"), Span(2, 3, "loc")})
    scores = score([gold], [frozenset({Span(0, 3, "per")})], [["B-per"]], [["B-per"]], ("loc", "per"), 0.0)
    assert scores.per_entity["loc"] == EntityScore(0.0, 0.0, 0.0, 1)
    assert scores.macro_f1_span == 0.5
    assert scores.macro_f1 == 1.0


def test_an_absent_type_is_listed_and_left_out_of_the_mean():
    scores = score_tags([["B-per", "O"]], [["B-per", "O"]])
    assert scores.absent_types == ("creative-work", "loc")
    assert scores.macro_f1_span == 1.0
    assert scores.macro_f1 == 1.0
    assert scores.entity_metrics()["loc_support"] == 0.0


def test_a_type_only_in_the_prediction_is_not_absent():
    scores = score_tags([["B-per", "O"]], [["B-per", "B-loc"]])
    assert scores.absent_types == ("creative-work",)
    assert scores.macro_f1_span == 0.5


def test_data_without_entities_scores_zero_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        scores = score_tags([["O", "O"]], [["O", "O"]])
    assert (scores.macro_f1, scores.macro_f1_span, scores.micro_f1_span) == (0.0, 0.0, 0.0)
    assert "no entity" in caplog.text


def test_confusion_merges_b_and_i():
    scores = score_tags([["B-per", "I-per", "O"]], [["B-per", "I-loc", "B-per"]], types=("loc", "per"))
    assert scores.confusion == {
        "loc": {"loc": 0, "per": 0, "O": 0},
        "per": {"loc": 1, "per": 1, "O": 0},
        "O": {"loc": 0, "per": 1, "O": 0},
    }


def test_metric_names():
    scores = score_tags([["B-creative-work"]], [["B-creative-work"]], types=("creative-work",), loss=0.25)
    assert scores.metrics() == {"macro-f1": 1.0, "macro-f1-span": 1.0, "micro-f1-span": 1.0, "loss": 0.25}
    names = ["creative-work_precision", "creative-work_recall", "creative-work_f1", "creative-work_support"]
    assert list(scores.entity_metrics()) == names


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ("Companies worked at", "Companies worked at"),
        ("creative-work", "creative-work"),
        ("a&b(c)", "a_b_c_"),
        ("100%", "100_"),
        ("Straße", "Straße"),
        ("a/b", "a/b"),
        ("/a//b", "_a__b"),
        ("../a", "___a"),
    ],
)
def test_refused_characters_become_underscores(type_, name):
    assert safe_names([type_]) == {type_: name}


@settings(deadline=None)
@given(st.text(min_size=1, max_size=12))
def test_mlflow_accepts_every_safe_name(type_):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(f"{safe_names([type_])[type_]}_f1")


@pytest.mark.parametrize("types", [("a&b", "a+b"), ("per", "test_per")])
def test_a_collision_of_names_is_an_error(types):
    with pytest.raises(DataError, match="both be recorded"):
        safe_names(types)


def test_unknown_types_are_an_error():
    with pytest.raises(DataError, match="not configured: org"):
        score([frozenset({Span(0, 1, "org")})], [frozenset()], [["O"]], [["O"]], ("per",), 0.0)
    with pytest.raises(DataError, match="not configured: org"):
        score([frozenset()], [frozenset()], [["B-org"]], [["O"]], ("per",), 0.0)


def test_unpaired_words_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        score_tags([["O", "O"]], [["O"]])
