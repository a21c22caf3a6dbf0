"""Entities with scores: what a predictor answers, and how its layout of batches is the one that was judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from nertrail.ner.documents import Document, Span
from nertrail.ner.labels import Floats, Ints, decode_rows, runs_of
from nertrail.ner.predictor import BATCH_PIECES, Recognizer, run
from nertrail.ner.tagging import TaggedDocument
from nertrail.ner.windows import Encoded, encode, merged_rows

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
    """Documents in groups that are labelled together, each of bounded size but never less than one document.

    Where reading a document fails, those before it come first, then the error.
    """
    chunk, characters = list[Document](), 0
    try:
        for document in documents:
            if chunk and (len(chunk) == CHUNK_TEXTS or characters + len(document.text) > CHUNK_CHARACTERS):
                yield chunk
                chunk, characters = [], 0
            chunk.append(document)
            characters += len(document.text)
    except Exception:
        if chunk:
            yield chunk
        raise
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
        rows = merged_rows(encoded, run(recognizer, encoded, batch_pieces))
        yield from zip(encoded.documents, _entities(encoded, rows, recognizer.decoding), strict=True)


def kept(entities: Iterable[Entity], min_score: float, thresholds: Mapping[str, float]) -> list[Entity]:
    """The entities that reach `min_score` and their type's threshold."""
    return [entity for entity in entities if entity.score >= max(min_score, thresholds.get(entity.label, 0.0))]


def spans(entities: Iterable[Entity]) -> frozenset[Span]:
    """The entities without their scores."""
    return frozenset(Span(entity.start, entity.end, entity.label) for entity in entities)


def _entities(encoded: Encoded, rows: Floats, method: str) -> list[list[Entity]]:
    """The entities of each document, from the logits [words, labels] of all."""
    offsets, types = encoded.offsets, encoded.labels.types
    tags = decode_rows(rows, np.diff(offsets), method)
    begins, ends = runs_of(tags, offsets)
    scores = _means(_probabilities(rows, tags), begins, ends)
    owners = offsets.searchsorted(begins, "right") - 1
    found: list[list[Entity]] = [[] for _ in encoded.documents]
    for begin, end, owner, tag, score in zip(
        (begins - offsets[owners]).tolist(),
        (ends - offsets[owners]).tolist(),
        owners.tolist(),
        tags[begins].tolist(),
        scores.tolist(),
        strict=True,
    ):
        words = encoded.documents[owner].words
        found[owner].append(Entity(words[begin][0], words[end - 1][1], types[tag // 2], round(score, 6)))
    return found


def _probabilities(rows: Floats, tags: Ints) -> Floats:
    """Probability of each word's decoded label: [words]."""
    exponents = np.exp(rows - rows.max(axis=1, keepdims=True))
    chosen: Floats = exponents[np.arange(len(rows)), tags] / exponents.sum(axis=1)
    return chosen


def _means(values: Floats, begins: Ints, ends: Ints) -> Floats:
    """The mean of each run of values, from itself alone: what is no number in one text spoils no other text's."""
    if not len(begins):
        return np.empty(0)
    sums = np.add.reduceat(np.append(values, 0.0), np.stack([begins, ends], axis=1).ravel())[::2]
    means: Floats = sums / (ends - begins)
    return means
