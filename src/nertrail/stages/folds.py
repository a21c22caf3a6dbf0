"""k-fold splits at document level."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nertrail.errors import ConfigError
from nertrail.ner.readers import Document

Fold = tuple[tuple[Document, ...], tuple[Document, ...]]


def make_folds(documents: Sequence[Document], count: int, seed: int) -> list[Fold]:
    """`count` pairs of (train, validation); each document validates once. Seeded, sizes differ by at most one."""
    if not 2 <= count <= len(documents):
        raise ConfigError(
            f"{count} folds of {len(documents)} texts",
            place="sweep.k_folds",
            remedy=f"choose 2 to {len(documents)} folds",
        )
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    parts = [set(order[start::count]) for start in range(count)]
    return [
        (
            tuple(document for index, document in enumerate(documents) if index not in part),
            tuple(document for index, document in enumerate(documents) if index in part),
        )
        for part in parts
    ]
