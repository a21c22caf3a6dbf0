"""Texts of any length as windows of pieces, and the windows' logits back as one row per word.

Windows overlap by `stride` pieces. Training labels the first piece of every word in each window that holds it;
scoring counts a word once, from the window where it lies farthest from an edge that cuts the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from tokenizers import Tokenizer

from nertrail.errors import ConfigError
from nertrail.ner.documents import Document, Span
from nertrail.ner.labels import Floats, Ints, LabelSet, Word, decode_all, snap, spans_of, tags_of
from nertrail.ner.pieces import Pieces, plain, specials, unknown_id, words_of

UNITS = ("pretokenizer", "whitespace")
IGNORED = -100  # the label that torch's cross-entropy leaves out
NO_CUT = 1 << 20  # a margin wider than any window: the text ends there, nothing is cut
NEVER = -1e9  # logit of what a word without pieces is not; finite, so that no arithmetic makes a NaN of it


@dataclass(frozen=True)
class WindowSettings:
    """How texts are cut.

    Attributes:
        max_length: pieces per window, special ones included.
        stride: pieces shared by neighbouring windows.
        words: what is a word in a text without given words: the backbone's own ("pretokenizer") or "whitespace".
    """

    max_length: int = 128
    stride: int = 32
    words: str = "pretokenizer"

    def __post_init__(self) -> None:
        if self.words not in UNITS:
            remedy = f"use one of {', '.join(UNITS)}"
            raise ConfigError(f"unknown word unit {self.words!r}", place="words", remedy=remedy)
        if not 0 <= self.stride < self.max_length:
            found = f"a stride of {self.stride} in windows of {self.max_length} pieces"
            raise ConfigError(found, place="stride", remedy="use a stride from 0 to less than max_length")


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


@dataclass(frozen=True)
class Window:
    """A run of pieces of one document; `first`, `words` and `margin` have one entry per word that begins in it.

    Attributes:
        document: index of its document.
        input_ids: ids of the pieces, special ones included.
        first: position of the word's first piece in `input_ids`.
        words: index of the word in its document.
        margin: pieces between the word and the nearer edge that cuts the text; negative if the edge cuts the word.
    """

    document: int
    input_ids: tuple[int, ...]
    first: tuple[int, ...]
    words: tuple[int, ...]
    margin: tuple[int, ...]

    def labels(self, tags: Sequence[int]) -> list[int]:
        """Training labels of the pieces: the word's tag on each first piece, IGNORED elsewhere."""
        labels = [IGNORED] * len(self.input_ids)
        for position, word in zip(self.first, self.words, strict=True):
            labels[position] = tags[word]
        return labels


@dataclass(frozen=True)
class Encoded:
    """Documents, and the windows that a model reads in their place.

    Attributes:
        unk_share: share of pieces the backbone does not know.
        pieces: pieces of all documents, each once, without special ones.
    """

    documents: tuple[TaggedDocument, ...]
    windows: tuple[Window, ...]
    unk_share: float
    pieces: int
    labels: LabelSet
    settings: WindowSettings

    @property
    def missed_spans(self) -> int:
        """Gold spans that no prediction can hit."""
        return sum(len(document.gold) - len(document.held) for document in self.documents)

    @property
    def silent_words(self) -> int:
        """Words that no piece stands for; they are predicted as O."""
        return int(self._offsets[-1]) - len(self._chosen[0])

    @cached_property
    def _offsets(self) -> Ints:
        """Number of the first word of every document, counted over all documents; one more at the end."""
        return np.cumsum([0, *(len(document.words) for document in self.documents)], dtype=np.int64)

    @cached_property
    def _chosen(self) -> tuple[Ints, Ints]:
        """Words that have a piece, as numbers over all documents, and the row of each in all windows' rows."""
        words = [self._offsets[window.document] + np.array(window.words, dtype=np.int64) for window in self.windows]
        number = np.concatenate([np.empty(0, dtype=np.int64), *words])
        margin = np.array([value for window in self.windows for value in window.margin], dtype=np.int64)
        order = np.lexsort((-margin, number))  # stable: of two equal margins the earlier window is taken
        found, position = np.unique(number[order], return_index=True)
        return found, order[position]


def encode(
    documents: Iterable[Document], tokenizer: Tokenizer, labels: LabelSet, settings: WindowSettings | None = None
) -> Encoded:
    """Cut documents into words, pieces and windows, and tag the words.

    The tokenizer's own truncation and padding are not used, and special tokens in a text are read as text.

    Raises:
        ConfigError: the stride leaves a window no room to advance.
    """
    settings, tokenizer = settings or WindowSettings(), plain(tokenizer)
    documents = list(documents)
    before, after = specials(tokenizer)
    room = settings.max_length - len(before) - len(after)
    if room <= settings.stride:
        found = f"windows of {settings.max_length} pieces with a stride of {settings.stride} hold no new piece"
        remedy = f"use at least {settings.max_length + settings.stride - room + 1}"
        raise ConfigError(found, place="max_length", remedy=remedy)
    encodings = tokenizer.encode_batch([document.text for document in documents], add_special_tokens=False)
    tagged, windows = [], []
    for number, (document, encoding) in enumerate(zip(documents, encodings, strict=True)):
        pieces = Pieces(document.text, encoding)
        words = document.words if document.words is not None else words_of(document.text, pieces, settings.words)
        tagged.append(_tag(document, words, labels))
        windows += _cut(number, encoding.ids, *pieces.extents(words), room, settings.stride, (before, after))
    total = sum(len(encoding.ids) for encoding in encodings)
    unknown = unknown_id(tokenizer)
    share = sum(encoding.ids.count(unknown) for encoding in encodings) / max(total, 1)
    return Encoded(tuple(tagged), tuple(windows), share, total, labels, settings)


def merge(encoded: Encoded, logits: Sequence[Floats]) -> list[Floats]:
    """One row of logits per word and document, [words, labels], from each window's [len(first), labels].

    A word without pieces gets a row that says O.
    """
    offsets, (number, row) = encoded._offsets, encoded._chosen
    merged = np.full((offsets[-1], len(encoded.labels)), NEVER, dtype=np.float32)
    merged[:, 0] = 0.0
    if len(number):
        merged[number] = np.concatenate(logits)[row]
    return [merged[start:end] for start, end in pairwise(offsets)]


def predictions(
    encoded: Encoded, logits: Sequence[Floats], method: str = "viterbi"
) -> tuple[list[frozenset[Span]], list[list[int]]]:
    """Spans and IOB2 ids of every document, from the windows' logits."""
    tags = decode_all(merge(encoded, logits), encoded.labels, method)
    documents = zip(tags, encoded.documents, strict=True)
    return [spans_of(found, document.words, encoded.labels) for found, document in documents], tags


def word_loss(encoded: Encoded, logits: Sequence[Floats]) -> float:
    """Mean negative log-likelihood of the gold tags over the words that have a piece, each once; 0.0 without words."""
    number, row = encoded._chosen
    if not len(number):
        return 0.0
    rows = np.concatenate(logits)[row].astype(np.float64)
    gold = np.array([tag for document in encoded.documents for tag in document.tags], dtype=np.int64)[number]
    rows -= rows.max(axis=1, keepdims=True)
    likelihood = rows[np.arange(len(rows)), gold] - np.log(np.exp(rows).sum(axis=1))
    return float(-likelihood.mean())


def pad_batch(windows: Sequence[Window], pad_id: int) -> tuple[Ints, Ints]:
    """Ids and attention mask of some windows, each [windows, pieces of the longest]."""
    longest = max(len(window.input_ids) for window in windows)
    ids = np.full((len(windows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(windows), longest), dtype=np.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window.input_ids)] = window.input_ids
        mask[row, : len(window.input_ids)] = 1
    return ids, mask


def _tag(document: Document, words: tuple[Word, ...], labels: LabelSet) -> TaggedDocument:
    extents = snap(document.spans, words)
    snapped = {
        span: Span(words[extents[span][0]][0], words[extents[span][1]][1], span.type) if span in extents else span
        for span in document.spans
    }
    tags, held = tags_of(snapped.values(), words, labels)
    return TaggedDocument(document, words, tuple(tags), frozenset(snapped.values()), held)


def _cut(
    document: int,
    ids: list[int],
    words: Ints,
    first: Ints,
    last: Ints,
    room: int,
    stride: int,
    specials: tuple[list[int], list[int]],
) -> list[Window]:
    """Windows of `room` pieces, each sharing `stride` pieces with the one before, until the text is covered."""
    windows, (before, after) = [], specials
    for start in range(0, max(len(ids) - stride, min(len(ids), 1)), room - stride):
        end = min(start + room, len(ids))
        part = slice(*np.searchsorted(first, [start, end]))
        left = first[part] - start if start else np.full_like(first[part], NO_CUT)
        right = end - 1 - last[part] if end < len(ids) else np.full_like(left, NO_CUT)
        windows.append(
            Window(
                document=document,
                input_ids=(*before, *ids[start:end], *after),
                first=tuple((first[part] - start + len(before)).tolist()),
                words=tuple(words[part].tolist()),
                margin=tuple(np.minimum(left, right).tolist()),
            )
        )
    return windows
