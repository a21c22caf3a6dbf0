"""What kind of mistake a wrong span is: its type, its boundary, or a span missed or made up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nertrail.ner.documents import Span


class Mistakes(NamedTuple):
    """Counts of mistakes; every gold span is a hit or counted once, and so is every predicted one.

    Attributes:
        type: pairs of a gold and a predicted span that overlap and differ in type, whatever their boundaries.
        boundary: pairs of one type that overlap and differ in a boundary.
        missed: gold spans in no pair.
        spurious: predicted spans in no pair.
    """

    type: int = 0
    boundary: int = 0
    missed: int = 0
    spurious: int = 0

    def plus(self, other: Mistakes) -> Mistakes:
        return Mistakes(*(one + two for one, two in zip(self, other, strict=True)))


def mistakes(gold: Iterable[frozenset[Span]], predicted: Iterable[frozenset[Span]]) -> Mistakes:
    """Sort the mistakes of all texts.

    Pairs are made greedily within a text: first spans on the same characters, then spans of one type, of these and of
    the rest those that share most characters, then from left to right.
    """
    total = Mistakes()
    for expected, found in zip(gold, predicted, strict=True):
        if expected != found:
            total = total.plus(_of_text(expected - found, found - expected))
    return total


def _of_text(gold: frozenset[Span], predicted: frozenset[Span]) -> Mistakes:
    pairs = _paired(sorted(gold), sorted(predicted))
    types = sum(one.type != other.type for one, other in pairs)
    return Mistakes(types, len(pairs) - types, len(gold) - len(pairs), len(predicted) - len(pairs))


def _paired(gold: Sequence[Span], predicted: Sequence[Span]) -> list[tuple[Span, Span]]:
    candidates = [(_rank(one, other), one, other) for one in gold for other in predicted if _shared(one, other) > 0]
    pairs: list[tuple[Span, Span]] = []
    taken_gold, taken_predicted = set[Span](), set[Span]()
    for _, one, other in sorted(candidates):
        if one not in taken_gold and other not in taken_predicted:
            pairs.append((one, other))
            taken_gold.add(one)
            taken_predicted.add(other)
    return pairs


def _rank(one: Span, other: Span) -> tuple[bool, bool, int]:
    return one[:2] != other[:2], one.type != other.type, -_shared(one, other)


def _shared(one: Span, other: Span) -> int:
    return min(one.end, other.end) - max(one.start, other.start)
