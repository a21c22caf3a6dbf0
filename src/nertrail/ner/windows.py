"""Texts of any length as windows of pieces, and the windows' logits back as one row per word.

Windows overlap by `stride` pieces. Training labels the first piece of every word in each window that holds it;
scoring counts a word once, from the window where it lies farthest from an edge that cuts the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
from tokenizers import Tokenizer

from nertrail.errors import ConfigError
from nertrail.ner.documents import Document, Span
from nertrail.ner.labels import Floats, Ints, LabelSet, decode_all, spans_of
from nertrail.ner.layout import Layout
from nertrail.ner.pieces import plain, specials, unknown_id
from nertrail.ner.tagging import TaggedDocument, tagged, words_of

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
        return int(self.offsets[-1]) - len(self._chosen[0])

    @cached_property
    def offsets(self) -> Ints:
        """Number of the first word of every document, counted over all documents; one more at the end."""
        return np.cumsum([0, *(len(document.words) for document in self.documents)], dtype=np.int64)

    @cached_property
    def _chosen(self) -> tuple[Ints, Ints]:
        """Words that have a piece, as numbers over all documents, and the row of each in all windows' rows."""
        words = _flat(window.words for window in self.windows)
        margin = _flat(window.margin for window in self.windows)
        document = np.array([(window.document, len(window.words)) for window in self.windows], dtype=np.int64)
        owner, length = document.reshape(-1, 2).T
        number = words + np.repeat(self.offsets[owner], length)
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
    texts = [document.text for document in documents]
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    ids, layout = [encoding.ids for encoding in encodings], Layout(texts, encodings)
    starts, ends = words_of(documents, layout, settings.words)
    in_words = tagged(documents, starts, ends, layout.bases, labels)
    windows = _windows(layout, ids, starts, ends, room, settings.stride, (before, after))
    total, unknown = int(layout.piece_bases[-1]), unknown_id(tokenizer)
    share = sum(found.count(unknown) for found in ids) / max(total, 1)
    return Encoded(tuple(in_words), tuple(windows), share, total, labels, settings)


def merge(encoded: Encoded, logits: Sequence[Floats]) -> list[Floats]:
    """As `merged_rows`, the rows of each document apart."""
    rows = merged_rows(encoded, logits)
    return [rows[start:end] for start, end in pairwise(encoded.offsets)]


def merged_rows(encoded: Encoded, logits: Sequence[Floats]) -> Floats:
    """One row of logits per word of all documents, [words, labels], from each window's [len(first), labels].

    A word without pieces gets a row that says O.
    """
    number, row = encoded._chosen
    merged = np.full((encoded.offsets[-1], len(encoded.labels)), NEVER, dtype=np.float32)
    merged[:, 0] = 0.0
    if len(number):
        merged[number] = np.concatenate(logits)[row]
    return merged


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


def _flat(parts: Iterable[Iterable[int]]) -> Ints:
    return np.fromiter(chain.from_iterable(parts), dtype=np.int64)


def _windows(
    layout: Layout,
    ids: Sequence[list[int]],
    starts: Ints,
    ends: Ints,
    room: int,
    stride: int,
    specials: tuple[list[int], list[int]],
) -> list[Window]:
    """The windows of all documents; nearly all texts fit into one, whose words no edge cuts."""
    found, first, last = layout.extents(starts, ends)
    bounds, (before, after) = first.searchsorted(layout.piece_bases), specials
    counts = np.diff(bounds)
    words = found - np.repeat(starts.searchsorted(layout.bases[:-1]), counts)
    first, last = (pieces - np.repeat(layout.piece_bases[:-1], counts) for pieces in (first, last))
    number, position = words.tolist(), (first + len(before)).tolist()
    windows = list[Window]()
    for document, (own, (start, end)) in enumerate(zip(ids, pairwise(bounds.tolist()), strict=True)):
        part = slice(start, end)
        if len(own) > room:
            windows += _cut(document, own, words[part], first[part], last[part], room, stride, specials)
        elif own:
            uncut = (NO_CUT,) * (end - start)
            pieces = (*before, *own, *after)
            windows.append(Window(document, pieces, tuple(position[part]), tuple(number[part]), uncut))
    return windows


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
    for start in range(0, len(ids) - stride, room - stride):
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
