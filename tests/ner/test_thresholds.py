"""Thresholds: the best there is, and none where there is nothing to gain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.ner.documents import Span
from nertrail.ner.entities import Entity
from nertrail.ner.judging import Judged
from nertrail.ner.thresholds import best_threshold, choose_thresholds

SCORED = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), st.booleans()), max_size=30)


def f1(scored: list[tuple[float, bool]], gold: int, threshold: float) -> float:
    kept = [right for score, right in scored if score >= threshold]
    return 2 * sum(kept) / (len(kept) + gold)


@given(SCORED, st.integers(10, 40))
def test_no_other_threshold_is_better(scored: list[tuple[float, bool]], gold: int) -> None:
    found = best_threshold(scored, gold)
    best = max(f1(scored, gold, score) for score in (0.0, 0.15, 0.3, 0.6, 0.8))
    assert f1(scored, gold, found or 0.0) == pytest.approx(best)
    assert found is None or f1(scored, gold, found) > f1(scored, gold, 0.0)


@pytest.mark.parametrize(
    "scored, gold, expected",
    [
        ([(0.9, True)] * 10 + [(0.3, False)] * 5, 10, 0.6),
        ([(0.9, True)] * 10 + [(0.9, False)] * 5, 10, None),  # nothing tells them apart
        ([(0.9, True)] * 5 + [(0.3, True)] * 5, 10, None),
        ([(0.9, True)] * 9 + [(0.3, False)] * 5, 9, None),  # too few to go by
        ([], 20, None),
    ],
)
def test_thresholds(scored: list[tuple[float, bool]], gold: int, expected: float | None) -> None:
    assert best_threshold(scored, gold) == expected


def test_every_type_has_its_own() -> None:
    gold = tuple(frozenset({Span(0, 2, "A"), Span(3, 5, "B")}) for _ in range(12))
    found = tuple(
        (Entity(0, 2, "A", 0.9), Entity(6, 7, "A", 0.4), Entity(3, 5, "B", 0.4)) if n % 2 else (Entity(0, 2, "A", 0.8),)
        for n in range(12)
    )
    assert choose_thresholds(Judged(gold, found), ("A", "B", "C")) == {"A": 0.6}
