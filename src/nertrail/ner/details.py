"""What lies behind a score: how sure it is, which mistakes it holds, and how it differs between parts of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nertrail.ner.documents import Span
from nertrail.ner.intervals import Intervals, intervals, micro_interval, span_counts, word_counts
from nertrail.ner.labels import Ints
from nertrail.ner.mistakes import Mistakes, mistakes

LENGTHS = (10, 20, 40, 80, 160, 320)  # upper ends of the bins of text lengths, in words
MOST_SOURCES = 50  # the rest of the sources is summed up
REST = "(other)"


@dataclass(frozen=True)
class PartScore:
    """Micro span scores of some of the texts; `support` counts gold spans, the interval is that of F1."""

    texts: int
    support: int
    precision: float
    recall: float
    f1: float
    f1_ci_low: float
    f1_ci_high: float


@dataclass(frozen=True)
class Details:
    """Behind the scores of one set of predictions.

    Attributes:
        by_length: bin of words per text → scores, empty bins left out.
        by_source: source → scores, where the data names sources.
    """

    intervals: Intervals
    mistakes: Mistakes
    by_length: Mapping[str, PartScore]
    by_source: Mapping[str, PartScore]

    def metrics(self) -> dict[str, float]:
        """`<score>_ci_low`, `<score>_ci_high`, and `errors_type`, `_boundary`, `_missed` and `_spurious`."""
        named = {
            "macro-f1": self.intervals.macro_f1,
            "macro-f1-span": self.intervals.macro_f1_span,
            "micro-f1-span": self.intervals.micro_f1_span,
        }
        ends = {f"{name}_ci_{end}": value for name, pair in named.items() for end, value in pair._asdict().items()}
        return {**ends, **{f"errors_{kind}": float(count) for kind, count in self.mistakes._asdict().items()}}

    def document(self) -> dict[str, Any]:
        """The scores of the parts as plain data."""
        parts = {"by_length": self.by_length, "by_source": self.by_source}
        return {name: {part: vars(scores) for part, scores in found.items()} for name, found in parts.items() if found}


def details(
    gold: Sequence[frozenset[Span]],
    predicted: Sequence[frozenset[Span]],
    gold_tags: Sequence[Sequence[str]],
    predicted_tags: Sequence[Sequence[str]],
    types: Sequence[str],
    sources: Sequence[str | None],
) -> Details:
    """Look behind the scores; the arguments are those of `score`, and the source of every text."""
    counts = span_counts(gold, predicted, types)
    bins = [_bin(len(tags)) for tags in gold_tags]
    order = {name: number for number, name in enumerate((*map(_bin, LENGTHS), _bin(LENGTHS[-1] + 1)))}
    return Details(
        intervals=intervals(counts, word_counts(gold_tags, predicted_tags, types), types),
        mistakes=mistakes(gold, predicted),
        by_length=_parts(counts, bins, sorted(set(bins), key=order.__getitem__)),
        by_source=_by_source(counts, sources),
    )


def _by_source(counts: Ints, sources: Sequence[str | None]) -> dict[str, PartScore]:
    """Scores of the sources with the most texts, by name, and of all others together; nothing without any source."""
    frequent = Counter(source for source in sources if source).most_common(MOST_SOURCES)
    kept = sorted(source for source, _ in frequent)
    grouped = [source if source in kept else REST for source in sources]
    order = [*kept, *([REST] if REST in grouped else [])]
    return _parts(counts, grouped, order) if kept else {}


def _parts(counts: Ints, names: Sequence[str], order: Sequence[str]) -> dict[str, PartScore]:
    members = np.array(names, dtype=object)
    return {name: _part(counts[members == name]) for name in order}


def _part(counts: Ints) -> PartScore:
    hits, in_gold, in_predicted = (int(value) for value in counts.sum(axis=(0, 1)))
    interval = micro_interval(counts)
    return PartScore(
        texts=len(counts),
        support=in_gold,
        precision=hits / in_predicted if in_predicted else 0.0,
        recall=hits / in_gold if in_gold else 0.0,
        f1=2 * hits / (in_gold + in_predicted) if in_gold + in_predicted else 0.0,
        f1_ci_low=interval.low,
        f1_ci_high=interval.high,
    )


def _bin(words: int) -> str:
    """The bin of a text's length: "11-20", or "over 320"."""
    for lower, upper in zip((0, *LENGTHS), LENGTHS, strict=False):
        if words <= upper:
            return f"{lower + 1 if lower else 0}-{upper}"
    return f"over {LENGTHS[-1]}"
