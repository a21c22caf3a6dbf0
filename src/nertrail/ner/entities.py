"""Entities with scores: what a predictor answers, and how its layout of batches is the one that was judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nertrail.ner.documents import Document, Span
from nertrail.ner.labels import Floats, LabelSet, decode_all, spans_of
from nertrail.ner.predictor import BATCH_PIECES, Recognizer, run
from nertrail.ner.windows import Encoded, TaggedDocument, encode, merge

# Texts that are sorted by length and batched together. More gains no speed, and all of them are in memory.
CHUNK_TEXTS = 256
CHUNK_CHARACTERS = 200_000


class Entity(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text; `score` is the mean probability of its words' labels."""

    start: int
    end: int
    label: str
    score: float


def chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in groups that are labelled together, each of bounded size but never less than one document."""
    chunk, characters = list[Document](), 0
    for document in documents:
        if chunk and (len(chunk) == CHUNK_TEXTS or characters + len(document.text) > CHUNK_CHARACTERS):
            yield chunk
            chunk, characters = [], 0
        chunk.append(document)
        characters += len(document.text)
    if chunk:
        yield chunk


def label(
    recognizer: Recognizer, documents: Iterable[Document], batch_pieces: int = BATCH_PIECES
) -> Iterator[tuple[TaggedDocument, list[Entity]]]:
    """Every document with its entities from left to right, in the batches that production uses.

    Another layout of batches may give another answer: int8 models scale activations by what is in the batch. So what
    is judged is judged through here.
    """
    for chunk in chunks(documents):
        encoded = encode(chunk, recognizer.tokenizer, recognizer.labels, recognizer.windows)
        logits = merge(encoded, run(recognizer, encoded, batch_pieces))
        yield from zip(encoded.documents, _entities(encoded, logits, recognizer.decoding), strict=True)


def kept(entities: Iterable[Entity], min_score: float, thresholds: Mapping[str, float]) -> list[Entity]:
    """The entities that reach `min_score` and their type's threshold."""
    return [entity for entity in entities if entity.score >= max(min_score, thresholds.get(entity.label, 0.0))]


def spans(entities: Iterable[Entity]) -> frozenset[Span]:
    """The entities without their scores."""
    return frozenset(Span(entity.start, entity.end, entity.label) for entity in entities)


def _entities(encoded: Encoded, logits: Sequence[Floats], method: str) -> Iterator[list[Entity]]:
    tags = decode_all(logits, encoded.labels, method)
    for document, rows, found in zip(encoded.documents, logits, tags, strict=True):
        yield _scored(document, found, _probabilities(rows, found), encoded.labels)


def _probabilities(rows: Floats, tags: Sequence[int]) -> Floats:
    """Probability of each word's decoded label: [words]."""
    exponents = np.exp(rows - rows.max(axis=1, keepdims=True))
    chosen: Floats = exponents[np.arange(len(rows)), np.array(tags, dtype=np.int64)] / exponents.sum(axis=1)
    return chosen


def _scored(document: TaggedDocument, tags: Sequence[int], chances: Floats, labels: LabelSet) -> list[Entity]:
    spans = sorted(spans_of(tags, document.words, labels))
    if not spans:
        return []
    begins = {start: number for number, (start, _) in enumerate(document.words)}
    ends = {end: number for number, (_, end) in enumerate(document.words)}
    return [Entity(*span, round(float(chances[begins[span.start] : ends[span.end] + 1].mean()), 6)) for span in spans]
