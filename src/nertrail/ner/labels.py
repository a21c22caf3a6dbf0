"""Labels in IOB2 on words: from spans to tags, from logits to legal tags, from tags to spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nertrail.errors import ConfigError
from nertrail.ner.documents import Span

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Word = tuple[int, int]
Extent = tuple[int, int]  # first and last word of a span

METHODS = ("viterbi", "argmax")


@dataclass(frozen=True)
class LabelSet:
    """The tags of a model: "O" is 0, "B-" of type i is 2i+1 and "I-" is 2i+2."""

    types: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return ("O", *(f"{prefix}-{name}" for name in self.types for prefix in "BI"))

    @cached_property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    def index(self, name: str) -> int:
        """Id of a tag such as "B-person"; KeyError if there is none."""
        return self._ids[name]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}


def snap(spans: Iterable[Span], words: Sequence[Word]) -> dict[Span, Extent]:
    """First and last word of every span whose edges are edges of words, characters outside of all words aside.

    A span that cuts a word, or covers none, is left out: IOB2 on these words cannot hold it.

    Args:
        words: sorted character ranges that do not overlap.
    """
    starts, ends = np.array(words, dtype=np.int64).reshape(-1, 2).T
    held = {}
    for span in spans:
        first, last = int(ends.searchsorted(span.start, "right")), int(starts.searchsorted(span.end, "left")) - 1
        if first <= last and span.start <= starts[first] and ends[last] <= span.end:
            held[span] = (first, last)
    return held


def tags_of(spans: Iterable[Span], words: Sequence[Word], labels: LabelSet) -> tuple[list[int], frozenset[Span]]:
    """One IOB2 id per word, and which of the spans the tags hold.

    Where spans overlap the outer one wins, then the one that starts first. A span of an unknown type, or one that cuts
    a word, is not held.
    """
    held, tags = [], [0] * len(words)
    extents = snap((span for span in spans if span.type in labels.types), words)
    for span, (first, last) in sorted(extents.items(), key=_outer_first):
        if any(tags[first : last + 1]):
            continue
        begin = labels.index(f"B-{span.type}")
        tags[first : last + 1] = [begin] + [begin + 1] * (last - first)
        held.append(span)
    return tags, frozenset(held)


def spans_of(tags: Sequence[int | str], words: Sequence[Word], labels: LabelSet) -> frozenset[Span]:
    """Spans of IOB2 tags, read strictly: an "I-" that continues nothing of its type is no part of any span."""
    spans, begin, kind = [], 0, -1  # kind: index of the open span's type, -1 if none is open
    for position, tag in enumerate([*tags, 0]):
        number = labels.index(tag) if isinstance(tag, str) else int(tag)
        if kind >= 0 and number == 2 * kind + 2:
            continue
        if kind >= 0:
            spans.append(Span(words[begin][0], words[position - 1][1], labels.types[kind]))
        begin, kind = position, (number - 1) // 2 if number % 2 else -1
    return frozenset(spans)


def decode(logits: Floats, labels: LabelSet, method: str = "viterbi") -> list[int]:
    """Tag ids of one text from its logits [words, labels]."""
    return decode_all([logits], labels, method)[0]


def decode_all(logits: Sequence[Floats], labels: LabelSet, method: str = "viterbi") -> list[list[int]]:
    """Tag ids of many texts, from the logits [words, labels] of each; see `decode_rows`."""
    lengths = np.array([len(rows) for rows in logits], dtype=np.int64)
    rows = np.concatenate([np.empty((0, len(labels))), *(rows.reshape(-1, len(labels)) for rows in logits)])
    tags = decode_rows(rows, lengths, method).tolist()
    return [tags[end - length : end] for length, end in zip(lengths, lengths.cumsum(), strict=True)]


def decode_rows(rows: Floats, lengths: Ints, method: str = "viterbi") -> Ints:
    """Tag ids [words] of texts that lie one after the other, the most probable legal sequence of each ("viterbi") or
    each word's own best tag ("argmax").

    Args:
        rows: logits [words, labels] of all texts.
        lengths: words of each text.

    Raises:
        ConfigError: unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown decoding {method!r}", remedy=f"use one of {', '.join(METHODS)}")
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    tags: Ints = rows.argmax(axis=1)
    if method == "viterbi":
        # Where each word's own best tag makes a legal sequence, no other sequence is better.
        broken = _broken(tags, lengths)
        again = np.repeat(broken, lengths)
        if broken.any():
            tags[again] = _viterbi(rows[again].astype(np.float64), lengths[broken])
    return tags


def _broken(tags: Ints, lengths: Ints) -> npt.NDArray[np.bool_]:
    """Whether each text has an "I-" that continues nothing of its type."""
    before = np.append(0, tags[:-1])
    heads = (lengths.cumsum() - lengths)[lengths > 0]
    before[heads] = 0
    stray = (tags > 0) & (tags % 2 == 0) & (before != tags) & (before != tags - 1)
    counts = np.append(0, stray.cumsum())
    ends = lengths.cumsum()
    found: npt.NDArray[np.bool_] = counts[ends] > counts[ends - lengths]
    return found


def runs_of(tags: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """First word and end of every span in IOB2 ids [words] of texts that lie one after the other; as `spans_of` reads.

    Args:
        offsets: number of the first word of every text.
    """
    before = np.append(0, tags[:-1])
    goes_on = (tags > 0) & (tags % 2 == 0) & ((before == tags) | (before == tags - 1))
    goes_on[offsets[offsets < len(tags)]] = False
    begins, breaks = np.flatnonzero(tags % 2), np.append(np.flatnonzero(~goes_on), len(tags))
    return begins, breaks[breaks.searchsorted(begins, "right")]


def _viterbi(scores: Floats, lengths: Ints) -> Ints:
    """Best path per text under IOB2, all texts at once, one step per position; `scores` lie one text after the other.

    Only "I-x" restricts its predecessor (to "B-x" and "I-x"), so a step costs O(labels), not O(labels squared). The
    logits stand for log-probabilities: they differ by a constant per word, which no path can avoid.
    """
    order = np.argsort(-lengths, kind="stable")  # longest first: the texts that reach a position are a prefix
    heads = (lengths.cumsum() - lengths)[order]
    reach = np.searchsorted(-lengths[order], -np.arange(lengths.max()), side="left")
    back = np.zeros(scores.shape, dtype=np.int64)
    best = scores[heads[: reach[0]]]
    best[:, 2::2] = -np.inf
    for position, alive in enumerate(reach[1:], start=1):
        rows, previous = heads[:alive] + position, best[:alive]
        back[rows], best[:alive] = _step(previous, scores[rows])
    path = np.zeros(len(scores), dtype=np.int64)
    last = heads[: reach[0]] + lengths[order][: reach[0]] - 1
    path[last] = best.argmax(axis=1)
    for position in range(len(reach) - 1, 0, -1):
        rows = heads[: reach[position]] + position
        path[rows - 1] = back[rows, path[rows]]
    return path


def _step(previous: Floats, emission: Floats) -> tuple[Ints, Floats]:
    """Predecessor and score of every label at one position: [texts, labels] each."""
    labels = emission.shape[1]
    came = np.repeat(previous.argmax(axis=1)[:, None], labels, axis=1)
    score = emission + previous.max(axis=1, keepdims=True)
    begin, inside = previous[:, 1::2], previous[:, 2::2]
    came[:, 2::2] = np.arange(1, labels, 2) + (inside > begin)
    score[:, 2::2] = emission[:, 2::2] + np.maximum(begin, inside)
    return came, score


def _outer_first(item: tuple[Span, Extent]) -> tuple[int, Span]:
    span, (first, last) = item
    return first - last, span
