"""Logits of a model that knows other labels than the texts it is scored on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nertrail.ner.labels import Floats, LabelSet
from nertrail.ner.windows import NEVER


def relabelled(logits: Floats, known: LabelSet, wanted: LabelSet) -> Floats:
    """Logits [words, labels of `known`] as [words, labels of `wanted`], by name; what is not known is never chosen."""
    found = np.full((len(logits), len(wanted)), NEVER, dtype=logits.dtype)
    shared = [name for name in wanted.names if name in known.names]
    found[:, [wanted.index(name) for name in shared]] = logits[:, [known.index(name) for name in shared]]
    return found


def union(*types: Iterable[str]) -> LabelSet:
    """All types, each once, in the order in which they first come."""
    return LabelSet(tuple(dict.fromkeys(name for some in types for name in some)))
