"""What several seeds say together, against scipy's own test."""

from __future__ import annotations

import statistics

import pytest
from scipy.stats import ttest_1samp

from nertrail.ner.seedwise import t_interval

VALUES = [0.40, 0.44, 0.43, 0.47, 0.39]


def test_the_interval_is_that_of_a_t_test() -> None:
    low, mean, high, spread = t_interval(VALUES)
    oracle = ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((oracle.low, oracle.high))
    assert (mean, spread) == pytest.approx((statistics.fmean(VALUES), statistics.stdev(VALUES)))
