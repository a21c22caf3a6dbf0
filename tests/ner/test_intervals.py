"""Bootstrap intervals against the same draws scored one by one with the ordinary scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.ner.bootstrap import Interval
from nertrail.ner.documents import Span
from nertrail.ner.intervals import SEED, intervals, micro_interval, span_counts, word_counts
from nertrail.ner.scoring import score

TYPES = ("loc", "per")
TAGS = ("O", "B-loc", "I-loc", "B-per", "I-per")

span = st.builds(lambda start, length, type_: Span(start, start + length, type_), st.integers(0, 5), st.integers(1, 3),
                 st.sampled_from(TYPES))  # fmt: skip
text = st.tuples(
    st.frozensets(span, max_size=3),
    st.frozensets(span, max_size=3),
    st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=4),
)
texts = st.lists(text, min_size=1, max_size=6)


def columns(sample):
    gold, predicted = [g for g, _, _ in sample], [p for _, p, _ in sample]
    return gold, predicted, [[g for g, _ in words] for _, _, words in sample], [[p for _, p in w] for _, _, w in sample]


def ends(values) -> tuple[float, float]:
    return tuple(np.percentile(values, [2.5, 97.5]))


@settings(deadline=None, max_examples=40)
@given(texts)
def test_intervals_equal_scoring_every_draw(sample):
    gold, predicted, gold_tags, predicted_tags = columns(sample)
    counts = span_counts(gold, predicted, TYPES), word_counts(gold_tags, predicted_tags, TYPES)
    found = intervals(*counts, TYPES, samples=20)
    drawn = np.random.default_rng(SEED).integers(0, len(sample), size=(20, len(sample)))
    scores = [score(*columns([sample[i] for i in row]), TYPES, 0.0) for row in drawn]
    assert found.micro_f1_span == pytest.approx(ends([s.micro_f1_span for s in scores]))
    assert found.macro_f1_span == pytest.approx(ends([s.macro_f1_span for s in scores]))
    assert found.macro_f1 == pytest.approx(ends([s.macro_f1 for s in scores]))
    for type_ in TYPES:
        assert found.per_entity[type_] == pytest.approx(ends([s.per_entity[type_].f1 for s in scores]))
    assert micro_interval(counts[0], samples=20) == pytest.approx(found.micro_f1_span)


def data(count: int):
    rng = np.random.default_rng(1)
    one, other = frozenset({Span(0, 1, "per")}), frozenset[Span]()
    return [(one, one if rng.random() < 0.7 else other, [("B-per", "B-per")]) for _ in range(count)]


def test_more_texts_are_surer_and_the_score_lies_inside():
    widths = []
    for count in (50, 5000):
        gold, predicted, *tags = columns(data(count))
        low, high = micro_interval(span_counts(gold, predicted, TYPES))
        assert low < score(gold, predicted, *tags, TYPES, 0.0).micro_f1_span < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5  # about a tenth: the root of a hundred times as many


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    counts = span_counts(*columns(data(60))[:2], TYPES)
    assert micro_interval(counts) == micro_interval(counts)
    assert micro_interval(counts) != micro_interval(counts, seed=SEED + 1)


def test_draws_in_blocks_are_the_same_draws(monkeypatch):
    counts = span_counts(*columns(data(30))[:2], TYPES)
    whole = micro_interval(counts)
    monkeypatch.setattr("nertrail.ner.bootstrap.CELLS", 200)
    assert micro_interval(counts) == whole


def test_no_text_and_no_entity():
    nothing = np.zeros((3, 2, 3), dtype=np.int64)
    assert intervals(nothing, nothing, TYPES).macro_f1_span == Interval(0.0, 0.0)
    assert micro_interval(nothing[:0]) == Interval(0.0, 0.0)
