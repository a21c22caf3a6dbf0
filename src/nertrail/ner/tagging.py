"""Documents in words: given ones, the backbone's own, or what blanks separate; and their spans as tags on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nertrail.ner.documents import Document, Span
from nertrail.ner.labels import Ints, LabelSet, Word, snap, tags_of
from nertrail.ner.layout import Layout


@dataclass(frozen=True)
class TaggedDocument:
    """A document in words.

    Attributes:
        tags: IOB2 id per word.
        gold: all spans, snapped to words; what IOB2 cannot hold stays as it was.
        held: the part of `gold` that the tags express.
    """

    document: Document
    words: tuple[Word, ...]
    tags: tuple[int, ...]
    gold: frozenset[Span]
    held: frozenset[Span]


def words_of(documents: Sequence[Document], layout: Layout, unit: str) -> tuple[Ints, Ints]:
    """First character and end of the words of all documents, in characters of all texts together."""
    if all(document.words is None for document in documents):
        return layout.words(unit)
    starts, ends = layout.words(unit)
    found = [np.stack([starts, ends], axis=1)[slice(*part)] for part in pairwise(starts.searchsorted(layout.bases))]
    for number, document in enumerate(documents):
        if document.words is not None:
            found[number] = np.array(document.words, dtype=np.int64).reshape(-1, 2) + layout.bases[number]
    starts, ends = np.concatenate(found).T
    return starts, ends


def tagged(
    documents: Sequence[Document], starts: Ints, ends: Ints, bases: Ints, labels: LabelSet
) -> list[TaggedDocument]:
    """Each document in its words, which are given as `words_of` gives them, and with its tags."""
    bounds = starts.searchsorted(bases)
    base = np.repeat(bases[:-1], np.diff(bounds))
    words = [*zip((starts - base).tolist(), (ends - base).tolist(), strict=True)]
    return [
        _tag(document, tuple(words[start:end]), labels)
        for document, (start, end) in zip(documents, pairwise(bounds.tolist()), strict=True)
    ]


def _tag(document: Document, words: tuple[Word, ...], labels: LabelSet) -> TaggedDocument:
    if not document.spans:
        return TaggedDocument(document, words, (0,) * len(words), frozenset(), frozenset())
    extents = snap(document.spans, words)
    snapped = {
        span: Span(words[extents[span][0]][0], words[extents[span][1]][1], span.type) if span in extents else span
        for span in document.spans
    }
    tags, held = tags_of(snapped.values(), words, labels)
    return TaggedDocument(document, words, tuple(tags), frozenset(snapped.values()), held)
