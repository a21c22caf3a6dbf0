"""Intervals of entity F1, by drawing whole texts again: entities of one text are right or wrong together.

Texts are drawn with replacement, as many as there are, and every F1 is computed anew from the drawn texts' counts;
the interval is what lies between the 2.5th and the 97.5th percentile of these (Efron and Tibshirani, 1993, chapter 13).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nertrail.ner.labels import Floats, Ints

RESAMPLES = 2000
LEVEL = 95.0
CELLS = 4_000_000  # of the table of draws that is held at once, 32 MB


class Interval(NamedTuple):
    """Lower and upper end of a 95 % interval."""

    low: float
    high: float


def micro_f1(counts: Ints) -> float:
    """F1 over all texts of `counts` [texts, 3]: per text the entities that are right, in gold, and found; 0 of none."""
    return float(f1(counts.sum(axis=0).astype(np.float64)))


def f1_interval(counts: Ints, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The interval of `micro_f1(counts)`."""
    (sums,) = drawn_sums((counts,), resamples, seed)
    return interval(f1(sums[:, 0]))


def difference_interval(first: Ints, second: Ints, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The interval of micro_f1(first) - micro_f1(second), paired: both are counted on the same drawn texts.

    Raises:
        ValueError: the two do not count the same number of texts.
    """
    if len(first) != len(second):
        raise ValueError(f"counts of {len(first)} and of {len(second)} texts do not pair up")
    ours, theirs = (f1(sums[:, 0]) for sums in drawn_sums((first, second), resamples, seed))
    return interval(ours - theirs)


def drawn_sums(tables: Sequence[Ints], samples: int, seed: int) -> list[Floats]:
    """Sums of each table's rows over the drawn texts, [samples, columns, 3] of [texts, (columns,) 3]."""
    texts, rng = len(tables[0]), np.random.default_rng(seed)
    widths = [math.prod(table.shape[1:]) for table in tables]
    flat = np.concatenate([table.reshape(texts, w) for table, w in zip(tables, widths, strict=True)], axis=1)
    flat = flat.astype(np.float64)
    step = max(1, CELLS // max(texts, 1))
    sums = [_times_drawn(min(step, samples - start), texts, rng) @ flat for start in range(0, samples, step)]
    parts = np.split(np.concatenate(sums), np.cumsum(widths)[:-1], axis=1)
    return [part.reshape(samples, -1, 3) for part in parts]


def _times_drawn(samples: int, texts: int, rng: np.random.Generator) -> Floats:
    """How often each text was drawn in each sample, [samples, texts]."""
    drawn = rng.integers(0, max(texts, 1), size=(samples, texts))
    drawn += np.arange(samples)[:, None] * texts
    return np.bincount(drawn.ravel(), minlength=samples * texts).reshape(samples, texts).astype(np.float64)


def f1(sums: Floats) -> Floats:
    """F1 of [..., 3] sums; 0 where there is neither gold nor prediction."""
    both = sums[..., 1] + sums[..., 2]
    found: Floats = np.divide(2 * sums[..., 0], both, out=np.zeros_like(both), where=both > 0)
    return found


def interval(values: npt.NDArray[Any]) -> Interval:
    """What lies between the percentiles of the draws."""
    low, high = np.percentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(float(low), float(high))
