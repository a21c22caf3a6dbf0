"""Texts dealt to parts so that each part holds its share of every entity type.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011): the
rarest type is dealt first, each text to the part that lacks most of it. Texts that are equal stay together, so that no
part leaks into another.
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
    for index, label in _rarest_first(labels):
        part = _neediest(label, wanted, sizes)
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


def _rarest_first(labels: Sequence[Counter[str]]) -> list[tuple[int, str]]:
    """Groups in the order in which they are dealt, with the type that they are dealt for.

    The type with the fewest groups left comes first, and of its groups the fullest.
    """
    holders: dict[str, set[int]] = {}
    for index, counts in enumerate(labels):
        for label in counts:
            holders.setdefault(label, set()).add(index)
    order: list[tuple[int, str]] = []
    while holders:
        label = min(holders, key=lambda name: (len(holders[name]), name))
        chosen = sorted(holders.pop(label), key=lambda index: (-labels[index][label], index))
        order += [(index, label) for index in chosen]
        for other in holders.values():
            other.difference_update(chosen)
        holders = {name: left for name, left in holders.items() if left}
    return order


def _neediest(label: str, wanted: Sequence[Mapping[str, float]], sizes: Sequence[float]) -> int:
    """The part with room that lacks most of a type; of equals the one that lacks most texts."""
    return max(range(len(sizes)), key=lambda part: (sizes[part] > 0, wanted[part][label], sizes[part], -part))
