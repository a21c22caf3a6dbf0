"""Texts dealt to parts so that each part holds its share of every entity type.

After iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011):
the rarest type is dealt first, each text to the part that lacks most. There that is the part that lacks most of the one
type, in absolute numbers; here it is the one that lacks most of all the text's types, measured by its share, which left
a third of the deviation or less on parts of unequal size. Texts that are equal stay together, so that no part leaks
into another.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from nertrail.ner.documents import Document

NOTHING = ""  # stands for a text without entities, which is a stratum of its own


def deal(documents: Sequence[Document], shares: Sequence[float], seed: int) -> list[int]:
    """The number of its part for every document.

    Args:
        shares: of the documents, one per part; they sum to 1.
    """
    groups = _groups(documents)
    random.Random(seed).shuffle(groups)
    labels = [_labels(documents, group) for group in groups]
    sizes = [share * len(documents) for share in shares]
    totals = sum(labels, Counter[str]())
    wanted = [{label: share * count for label, count in totals.items()} for share in shares]
    part_of = [0] * len(documents)
    for index in _rarest_first(labels):
        weights = {label: count / totals[label] for label, count in labels[index].items()}
        part = _neediest(weights, wanted, sizes, shares)
        sizes[part] -= len(groups[index])
        for label, count in labels[index].items():
            wanted[part][label] -= count
        for member in groups[index]:
            part_of[member] = part
    return part_of


def _groups(documents: Sequence[Document]) -> list[list[int]]:
    """Indices of equal texts, together."""
    groups: dict[str, list[int]] = {}
    for index, document in enumerate(documents):
        groups.setdefault(document.text, []).append(index)
    return list(groups.values())


def _labels(documents: Sequence[Document], group: Sequence[int]) -> Counter[str]:
    """How many entities of each type a group holds; one without any counts its texts."""
    counts = Counter(span.type for index in group for span in documents[index].spans)
    return counts or Counter({NOTHING: len(group)})


def _rarest_first(labels: Sequence[Counter[str]]) -> list[int]:
    """Groups in the order in which they are dealt: those of the type with the fewest groups left, the fullest first."""
    holders: dict[str, set[int]] = {}
    for index, counts in enumerate(labels):
        for label in counts:
            holders.setdefault(label, set()).add(index)
    order: list[int] = []
    while holders:
        label = min(holders, key=lambda name: (len(holders[name]), name))
        chosen = sorted(holders.pop(label), key=lambda index: (-labels[index][label], index))
        order += chosen
        for other in holders.values():
            other.difference_update(chosen)
        holders = {name: left for name, left in holders.items() if left}
    return order


def _neediest(
    weights: Mapping[str, float],
    wanted: Sequence[Mapping[str, float]],
    sizes: Sequence[float],
    shares: Sequence[float],
) -> int:
    """The part with room that lacks most of what a group holds, for its share; of equals the one with most room."""

    def need(part: int) -> tuple[bool, float, float, int]:
        lack = sum(weight * wanted[part][label] for label, weight in weights.items()) / shares[part]
        return sizes[part] > 0, lack, sizes[part], -part

    return max(range(len(sizes)), key=need)
