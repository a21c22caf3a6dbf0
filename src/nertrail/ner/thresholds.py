"""Scores per type below which entities are better dropped, chosen on texts whose entities are known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

from nertrail.ner.documents import Span
from nertrail.ner.judging import Judged

# With fewer gold spans a threshold follows single mistakes.
_MIN_SUPPORT = 10


def choose_thresholds(judged: Judged, types: Sequence[str]) -> dict[str, float]:
    """For each type the threshold with the highest F1, halfway between two scores; none where dropping is no gain."""
    found = {type_: best_threshold(*_scored(judged, type_)) for type_ in types}
    return {type_: threshold for type_, threshold in found.items() if threshold is not None}


def best_threshold(scored: Sequence[tuple[float, bool]], gold: int) -> float | None:
    """The threshold that makes F1 highest, the lowest of equals; None where keeping everything is as good.

    Args:
        scored: score of every entity found, and whether it is right.
        gold: how many there are to be found.
    """
    if gold < _MIN_SUPPORT or not scored:
        return None
    ranked = sorted(scored, reverse=True)
    hits = list(accumulate(right for _, right in ranked))
    best, threshold = _f1(hits[-1], len(ranked), gold), None
    for kept in range(len(ranked) - 1, 0, -1):
        lowest, next_lower = ranked[kept - 1][0], ranked[kept][0]
        if lowest > next_lower and _f1(hits[kept - 1], kept, gold) > best:
            best, threshold = _f1(hits[kept - 1], kept, gold), round((lowest + next_lower) / 2, 6)
    return threshold


def _scored(judged: Judged, type_: str) -> tuple[list[tuple[float, bool]], int]:
    pairs = chain.from_iterable(
        ((entity, gold) for entity in found) for gold, found in zip(judged.gold, judged.found, strict=True)
    )
    scored = [
        (entity.score, Span(entity.start, entity.end, entity.label) in gold)
        for entity, gold in pairs
        if entity.label == type_
    ]
    return scored, sum(span.type == type_ for gold in judged.gold for span in gold)


def _f1(hits: int, found: int, gold: int) -> float:
    return 2 * hits / (found + gold)
