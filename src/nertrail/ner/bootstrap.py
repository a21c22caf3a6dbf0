"""Intervals of entity F1, by drawing whole texts again: entities of one text are right or wrong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nertrail.ner.labels import Floats, Ints

RESAMPLES = 2000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A percentile bootstrap interval, by default of 95 %."""

    low: float
    high: float


def micro_f1(counts: Ints) -> float:
    """F1 over all texts of `counts` [texts, 3]: per text the entities that are right, in gold, and found; 0 of none."""
    hits, gold, found = counts.sum(axis=0)
    return float(2 * hits / (gold + found)) if gold + found else 0.0


def f1_interval(counts: Ints, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The interval of `micro_f1(counts)`."""
    return _interval(_resampled([counts], seed, resamples)[0])


def difference_interval(first: Ints, second: Ints, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The interval of micro_f1(first) - micro_f1(second), paired: both are counted on the same drawn texts.

    Raises:
        ValueError: the two do not count the same number of texts.
    """
    if len(first) != len(second):
        raise ValueError(f"counts of {len(first)} and of {len(second)} texts do not pair up")
    ours, theirs = _resampled([first, second], seed, resamples)
    return _interval(ours - theirs)


def _resampled(parts: Sequence[Ints], seed: int, resamples: int) -> Floats:
    """Micro F1 of every part on every draw of texts: [parts, resamples]. One draw at a time: texts may be many."""
    rng, texts = np.random.default_rng(seed), len(parts[0])
    scores = np.zeros((len(parts), resamples))
    if not texts:
        return scores
    for draw in range(resamples):
        weights = np.bincount(rng.integers(0, texts, texts), minlength=texts)
        scores[:, draw] = [micro_f1((weights @ part)[None, :]) for part in parts]
    return scores


def _interval(values: Floats) -> Interval:
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [rest, 1 - rest])
    return Interval(float(low), float(high))
