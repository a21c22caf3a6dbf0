"""How sure every F1 of a split is: bootstrap intervals of all types and means, from the same draws of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nertrail.ner.bootstrap import Interval, drawn_sums, f1, f1_interval, interval
from nertrail.ner.documents import Span
from nertrail.ner.labels import Floats, Ints

SAMPLES = 1000
SEED = 20_240_501


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
    span_sums, word_sums = drawn_sums((spans, words), samples, seed)
    per_type = f1(span_sums)
    return Intervals(
        per_entity={type_: interval(per_type[:, number]) for number, type_ in enumerate(types)},
        micro_f1_span=interval(f1(span_sums.sum(axis=1))),
        macro_f1_span=interval(_mean_of_present(span_sums)),
        macro_f1=interval(_mean_of_present(word_sums)),
    )


def micro_interval(spans: Ints, samples: int = SAMPLES, seed: int = SEED) -> Interval:
    """The interval of micro F1 alone, from counts per text."""
    return f1_interval(spans.sum(axis=1), seed=seed, resamples=samples)


def _mean_of_present(sums: Floats) -> Floats:
    """Mean F1 over the types that a sample holds in gold or prediction; 0 where it holds none."""
    present = (sums[..., 1] + sums[..., 2] > 0).sum(axis=1)
    total = f1(sums).sum(axis=1)
    means: Floats = np.divide(total, present, out=np.zeros_like(total), where=present > 0)
    return means
