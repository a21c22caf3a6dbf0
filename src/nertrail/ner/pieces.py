"""Pieces of a text and the words they belong to."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer

from nertrail.errors import ModelError
from nertrail.ner.labels import Ints, Word

PROBE = "a word"


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, as a copy if it cuts or pads: all-MiniLM's file does both at 128 pieces."""
    if tokenizer.truncation is None and tokenizer.padding is None and tokenizer.encode_special_tokens:
        return tokenizer  # a copy takes 0.1 s, too long for every prediction
    return clear(Tokenizer.from_str(tokenizer.to_str()))


def clear(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer itself, made to cut nothing, pad nothing and read special tokens in a text as text."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def check_offsets(tokenizer: Tokenizer, place: str) -> None:
    """Raise ModelError where pieces don't say which characters they stand for: no span could be found again."""
    encoding = tokenizer.encode(PROBE, add_special_tokens=False)
    covered = [end - start for start, end in encoding.offsets if 0 <= start < end <= len(PROBE)]
    if encoding.ids and not covered:
        remedy = "choose a backbone whose tokenizer.json keeps offsets"
        raise ModelError(f"its tokenizer gives no offsets: {encoding.offsets}", place=place, remedy=remedy)


def specials(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before and after a text."""
    encoding = tokenizer.encode("a")
    own = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]


def unknown_id(tokenizer: Tokenizer) -> int:
    """Id of the piece that stands for what the vocabulary lacks; -1, which no piece has, if there is none."""
    token = getattr(tokenizer.model, "unk_token", None) or "<unk>"
    found = tokenizer.token_to_id(token)
    return -1 if found is None else int(found)


class Pieces:
    """Where the pieces of one text lie: characters without surrounding blanks, and the pre-tokenizer's word of each."""

    def __init__(self, text: str, encoding: Encoding) -> None:
        spans = [_stripped(text, start, end) for start, end in encoding.offsets]
        self.starts, self.ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
        self.word_ids = encoding.word_ids

    def words(self) -> tuple[Word, ...]:
        """The backbone's own words: characters of the pieces that its pre-tokenizer kept together."""
        found: dict[int, Word] = {}
        for start, end, word in zip(self.starts.tolist(), self.ends.tolist(), self.word_ids, strict=True):
            if start < end and word is not None:
                found[word] = (min(start, found.get(word, (start, 0))[0]), max(end, found.get(word, (0, end))[1]))
        return _disjoint(sorted(found.values()))

    def extents(self, words: Sequence[Word]) -> tuple[Ints, Ints, Ints]:
        """Words that have a piece, and the first and the last piece of each."""
        starts, ends = np.array(words, dtype=np.int64).reshape(-1, 2).T
        word = starts.searchsorted(self.starts, "right") - 1
        inside = (word >= 0) & (self.starts < self.ends)
        inside[inside] = self.starts[inside] < ends[word[inside]]
        pieces = np.flatnonzero(inside)
        found, first = np.unique(word[pieces], return_index=True)
        last = np.searchsorted(word[pieces], found, side="right") - 1
        return found, pieces[first], pieces[last]


def words_of(text: str, pieces: Pieces, unit: str) -> tuple[Word, ...]:
    if unit == "whitespace":
        return tuple(match.span() for match in re.finditer(r"\S+", text))
    return pieces.words()


def _disjoint(words: Sequence[Word]) -> tuple[Word, ...]:
    """Byte-level pieces may share a character; the earlier word keeps it."""
    kept: list[Word] = []
    for start, end in words:
        begin = max(start, kept[-1][1]) if kept else start
        if begin < end:
            kept.append((begin, end))
    return tuple(kept)


def _stripped(text: str, start: int, end: int) -> Word:
    """Sentencepiece and byte-level pieces carry the blank before their word."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
