"""k-fold splits at document level, each fold with its share of every entity type."""

from __future__ import annotations

from collections.abc import Sequence

from nertrail.errors import ConfigError
from nertrail.ner.readers import Document
from nertrail.ner.splitting import deal

Fold = tuple[tuple[Document, ...], tuple[Document, ...]]


def make_folds(documents: Sequence[Document], count: int, seed: int) -> list[Fold]:
    """`count` pairs of (train, validation); each document validates once, equal texts in the same fold. Seeded.

    Raises:
        ConfigError: there are fewer different texts than folds.
    """
    texts = len({document.text for document in documents})
    if not 2 <= count <= texts:
        raise ConfigError(f"{count} folds of {texts} texts", place="sweep.k_folds", remedy=f"choose 2 to {texts} folds")
    fold_of = deal(documents, [1 / count] * count, seed)
    pairs = list(zip(documents, fold_of, strict=True))
    return [
        (
            tuple(document for document, fold in pairs if fold != number),
            tuple(document for document, fold in pairs if fold == number),
        )
        for number in range(count)
    ]
