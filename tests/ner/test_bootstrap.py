"""Intervals over texts: against scipy-free oracles, and what they must not do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.ner.bootstrap import difference_interval, f1_interval, micro_f1

ROWS = st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)).map(
    lambda r: (r[0], r[0] + r[1], r[0] + r[2])
)
COUNTS = st.lists(ROWS, min_size=1, max_size=30).map(lambda rows: np.array(rows, dtype=np.int64))


@pytest.mark.parametrize(
    "rows, expected",
    [([(1, 2, 2)], 0.5), ([(0, 0, 0)], 0.0), ([(1, 1, 1), (0, 1, 0)], 2 / 3), ([(0, 0, 3)], 0.0)],
)
def test_micro_f1(rows: list[tuple[int, int, int]], expected: float) -> None:
    assert micro_f1(np.array(rows)) == pytest.approx(expected)


def test_no_texts() -> None:
    nothing = np.zeros((0, 3), dtype=np.int64)
    assert (micro_f1(nothing), f1_interval(nothing), difference_interval(nothing, nothing)) == (0, (0, 0), (0, 0))


@settings(max_examples=20, deadline=None)
@given(COUNTS)
def test_an_interval_lies_in_range_and_is_seeded(counts: np.ndarray) -> None:
    low, high = f1_interval(counts, resamples=50)
    assert 0 <= low <= high <= 1
    assert (low, high) == f1_interval(counts, resamples=50)


@settings(max_examples=20, deadline=None)
@given(COUNTS)
def test_a_model_does_not_differ_from_itself(counts: np.ndarray) -> None:
    assert difference_interval(counts, counts, resamples=20) == (0.0, 0.0)


def texts(n: int, hit: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hits = rng.random(n) < hit
    return np.stack([hits, np.ones(n), np.ones(n)], axis=1).astype(np.int64)


def test_the_interval_is_the_binomial_one_where_texts_hold_one_entity() -> None:
    """With one entity per text F1 is a proportion, whose standard error is known."""
    counts = texts(1000, 0.8, 0)
    share = micro_f1(counts)
    margin = 1.96 * (share * (1 - share) / 1000) ** 0.5
    low, high = f1_interval(counts)
    assert (low, high) == (pytest.approx(share - margin, abs=0.005), pytest.approx(share + margin, abs=0.005))


def test_pairing_sees_a_small_difference_that_two_intervals_do_not() -> None:
    before = texts(1000, 0.8, 1)
    after = before.copy()
    after[np.flatnonzero(before[:, 0])[:12], 0] = 0
    low, high = difference_interval(before, after)
    assert 0.005 < low < 0.012 < high < 0.02
    assert f1_interval(after).high > f1_interval(before).low


def test_counts_of_other_texts_do_not_pair() -> None:
    with pytest.raises(ValueError, match="counts of 2 and of 3 texts"):
        difference_interval(texts(2, 1, 0), texts(3, 1, 0))
