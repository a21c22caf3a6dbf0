"""How sure an F1 is: 95 % bootstrap intervals over texts.

Texts are drawn with replacement, as many as there are, and every F1 is computed anew from the drawn texts' counts;
the interval is what lies between the 2.5th and the 97.5th percentile of these (Efron and Tibshirani, 1993, chapter 13).
Texts, not spans, are drawn: the spans of one text are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nertrail.ner.documents import Span
from nertrail.ner.labels import Floats, Ints

SAMPLES = 1000
LEVEL = 95.0
SEED = 20_240_501
CELLS = 4_000_000  # of the table of draws that is held at once, 32 MB


class Interval(NamedTuple):
    """Lower and upper end of a 95 % interval."""

    low: float
    high: float


class Intervals(NamedTuple):
    """Intervals of the F1 of each type and of their micro and macro means; of word-level macro F1 too."""

    per_entity: dict[str, Interval]
    micro_f1_span: Interval
    macro_f1_span: Interval
    macro_f1: Interval


def span_counts(gold: Sequence[frozenset[Span]], predicted: Sequence[frozenset[Span]], types: Sequence[str]) -> Ints:
    """Per text and type: spans found in both, in gold and in the prediction; [texts, types, 3]."""
    column = {type_: number for number, type_ in enumerate(types)}
    counts = np.zeros((len(gold), len(types), 3), dtype=np.int64)
    for text, (expected, found) in enumerate(zip(gold, predicted, strict=True)):
        for part, spans in enumerate((expected & found, expected, found)):
            for span in spans:
                counts[text, column[span.type], part] += 1
    return counts


def word_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], types: Sequence[str]) -> Ints:
    """As `span_counts`, of words by the type of their tag, B and I merged."""
    column = {f"{prefix}-{type_}": number for number, type_ in enumerate(types) for prefix in "BI"}
    counts = np.zeros((len(gold), len(types), 3), dtype=np.int64)
    for text, pair in enumerate(zip(gold, predicted, strict=True)):
        for expected, found in zip(*pair, strict=True):
            one, other = column.get(expected), column.get(found)
            if one is not None:
                counts[text, one, 1] += 1
                counts[text, one, 0] += one == other
            if other is not None:
                counts[text, other, 2] += 1
    return counts


def intervals(spans: Ints, words: Ints, types: Sequence[str], samples: int = SAMPLES, seed: int = SEED) -> Intervals:
    """Bootstrap every F1, all from the same draws.

    Args:
        spans, words: counts per text and type, as `span_counts` and `word_counts` give them.
    """
    span_sums, word_sums = _drawn_sums((spans, words), samples, seed)
    per_type = _f1(span_sums)
    return Intervals(
        per_entity={type_: _interval(per_type[:, number]) for number, type_ in enumerate(types)},
        micro_f1_span=_interval(_f1(span_sums.sum(axis=1))),
        macro_f1_span=_interval(_mean_of_present(span_sums)),
        macro_f1=_interval(_mean_of_present(word_sums)),
    )


def micro_interval(spans: Ints, samples: int = SAMPLES, seed: int = SEED) -> Interval:
    """The interval of micro F1 alone, from counts per text."""
    (sums,) = _drawn_sums((spans.sum(axis=1, keepdims=True),), samples, seed)
    return _interval(_f1(sums.sum(axis=1)))


def _drawn_sums(tables: Sequence[Ints], samples: int, seed: int) -> list[Floats]:
    """Sums of each table's rows over the drawn texts, [samples, types, 3]."""
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


def _f1(sums: Floats) -> Floats:
    """F1 of [..., 3] sums; 0 where there is neither gold nor prediction."""
    both = sums[..., 1] + sums[..., 2]
    found: Floats = np.divide(2 * sums[..., 0], both, out=np.zeros_like(both), where=both > 0)
    return found


def _mean_of_present(sums: Floats) -> Floats:
    """Mean F1 over the types that a sample holds in gold or prediction; 0 where it holds none."""
    present = (sums[..., 1] + sums[..., 2] > 0).sum(axis=1)
    total = _f1(sums).sum(axis=1)
    means: Floats = np.divide(total, present, out=np.zeros_like(total), where=present > 0)
    return means


def _interval(values: npt.NDArray[Any]) -> Interval:
    low, high = np.percentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(float(low), float(high))
