"""What a recogniser finds in texts whose entities are known, in the layout of production, and how it compares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nertrail.ner.bootstrap import Interval, difference_interval, f1_interval, micro_f1
from nertrail.ner.documents import Document, Span
from nertrail.ner.entities import Entity, label, spans
from nertrail.ner.labels import Ints
from nertrail.ner.predictor import Recognizer


@dataclass(frozen=True)
class Judged:
    """Per text, in their order: the gold spans, snapped to words, and the entities found."""

    gold: tuple[frozenset[Span], ...]
    found: tuple[tuple[Entity, ...], ...]

    @property
    def counts(self) -> Ints:
        """[texts, 3]: entities found and right, in gold, and found."""
        pairs = zip(self.gold, map(spans, self.found), strict=True)
        rows = [(len(gold & found), len(gold), len(found)) for gold, found in pairs]
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    @property
    def f1(self) -> float:
        return micro_f1(self.counts)

    @property
    def interval(self) -> Interval:
        return f1_interval(self.counts)


@dataclass(frozen=True)
class Comparison:
    """A converted model against PyTorch on the same texts.

    Attributes:
        before: PyTorch's micro F1.
        after: the converted model's.
        drop: 95 % paired bootstrap interval of before - after; positive is worse.
        changed: share of texts with other entities.
    """

    before: float
    after: float
    drop: Interval
    changed: float

    @property
    def kept(self) -> float:
        """Share of PyTorch's F1 that is kept; 1 where there was none to lose."""
        return self.after / self.before if self.before else 1.0

    def __str__(self) -> str:
        interval = f"drop {self.before - self.after:+.4f}, 95 % {self.drop.low:+.4f} to {self.drop.high:+.4f}"
        shares = f"{self.kept:.2%} kept, other entities in {self.changed:.1%} of the texts"
        return f"micro-f1-span {self.after:.4f}, PyTorch {self.before:.4f} ({interval}; {shares})"


def judge(recognizer: Recognizer, documents: Iterable[Document]) -> Judged:
    """What it finds in annotated documents, batched as production batches them."""
    rows = [(document.gold, tuple(found)) for document, found in label(recognizer, documents)]
    return Judged(tuple(gold for gold, _ in rows), tuple(found for _, found in rows))


def compare(reference: Judged, candidate: Judged) -> Comparison:
    """Both on the same texts; see `Comparison`."""
    pairs = list(zip(map(spans, reference.found), map(spans, candidate.found), strict=True))
    changed = sum(one != other for one, other in pairs) / max(len(pairs), 1)
    drop = difference_interval(reference.counts, candidate.counts)
    return Comparison(reference.f1, candidate.f1, drop, changed)
