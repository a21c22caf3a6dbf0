"""Annotated text as the domain sees it, whatever file it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Span(NamedTuple):
    """One entity: characters `start` to `end` (exclusive) of its document's text."""

    start: int
    end: int
    type: str


@dataclass(frozen=True)
class Document:
    """One text and its entities.

    `words` holds the character ranges of the given tokens of CoNLL-like data and is None for character-span data,
    whose words are the backbone's own (see `windows`). `id` is the data's own, else the place it was read from.
    `origin` says where the text is from, if the data does; `place` where it was read, for messages.
    """

    id: str
    text: str
    spans: tuple[Span, ...]
    words: tuple[tuple[int, int], ...] | None = None
    origin: str | None = None
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Dataset:
    """Three splits that share one set of types; the test split may be empty.

    `counts` says how often each quirk was seen or repaired, under `<split>.<quirk>`. `word_unit` is the unit in which
    raw text is cut at prediction: "whitespace" where the data came as tokens, else "pretokenizer". `declared` is
    whether the types were named in the settings instead of being found in the texts.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]
    types: tuple[str, ...]
    counts: Mapping[str, int]
    source: str
    word_unit: str
    declared: bool = False

    @property
    def learned_types(self) -> tuple[str, ...]:
        """The types that training texts show, or that are declared, in their order."""
        shown = {span.type for document in self.train for span in document.spans}
        return self.types if self.declared else tuple(name for name in self.types if name in shown)

    @property
    def splits(self) -> dict[str, tuple[Document, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def data_version(documents_by_split: Mapping[str, Sequence[Document]]) -> str:
    """Name the data by what was learned and scored: 16 hex digits over split, text and sorted spans.

    Ids, file names and formats are left out: the same data in another file is the same version.
    """
    digest = hashlib.sha256()
    for split in sorted(documents_by_split):
        for document in documents_by_split[split]:
            digest.update(_canonical([split, document.text, sorted(document.spans)]) + b"\n")
    return digest.hexdigest()[:16]


def content_hash(document: Document) -> str:
    """Name one document by its text and sorted spans: 16 hex digits."""
    return hashlib.sha256(_canonical([document.text, sorted(document.spans)])).hexdigest()[:16]


def _canonical(row: Sequence[object]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode("ascii")
