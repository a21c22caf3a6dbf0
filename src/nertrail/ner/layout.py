"""Where words and pieces lie in some texts, the texts laid one after the other: arrays, no loop over pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding

from nertrail.ner.labels import Ints

Bools = npt.NDArray[np.bool_]
_NO_BLANK = 0x3001  # the last blank of Unicode is the one before


class Layout:
    """The pieces of some texts, and the words they make. Positions count the characters of all texts together.

    Attributes:
        bases: [texts + 1], number of the first character of every text, and of all characters.
        piece_bases: [texts + 1], the same of pieces.
        starts, ends: [pieces], without the blank that pieces of some vocabularies carry before their word.
    """

    def __init__(self, texts: Sequence[str], encodings: Sequence[Encoding]) -> None:
        self.bases, self.piece_bases = _cumulated(map(len, texts)), _cumulated(map(len, encodings))
        self._encodings, self._solid = encodings, _solid("".join(texts))
        pairs = chain.from_iterable(encoding.offsets for encoding in encodings)
        offsets = np.fromiter(chain.from_iterable(pairs), dtype=np.int64)
        text = np.repeat(self.bases[:-1], np.diff(self.piece_bases))
        self.starts, self.ends = self._stripped(*(offsets.reshape(-1, 2).T + text))

    def words(self, unit: str) -> tuple[Ints, Ints]:
        """First character and end of every word, [words] each, sorted: the backbone's own, or what blanks separate."""
        return self._between_blanks() if unit == "whitespace" else self._own_words()

    def extents(self, starts: Ints, ends: Ints) -> tuple[Ints, Ints, Ints]:
        """Of the words that have a piece: their numbers, and the numbers of the first and the last piece of each."""
        word = starts.searchsorted(self.starts, "right") - 1
        inside = (word >= 0) & (self.starts < self.ends)
        inside[inside] = self.starts[inside] < ends[word[inside]]
        pieces = np.flatnonzero(inside)
        found, first = np.unique(word[pieces], return_index=True)
        last = np.searchsorted(word[pieces], found, side="right") - 1
        return found, pieces[first], pieces[last]

    def _stripped(self, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        place = np.arange(len(self._solid), dtype=np.int64)
        following = np.minimum.accumulate(np.where(self._solid, place, len(place))[::-1])[::-1]
        behind = np.maximum.accumulate(np.where(self._solid, place + 1, 0))
        starts = np.minimum(np.append(following, len(place))[starts], ends)
        return starts, np.maximum(np.append(0, behind)[ends], starts)

    def _between_blanks(self) -> tuple[Ints, Ints]:
        begins, stops = self._solid.copy(), self._solid.copy()
        begins[1:] &= ~self._solid[:-1]
        stops[:-1] &= ~self._solid[1:]
        edges = self.bases[(self.bases > 0) & (self.bases < len(self._solid))]  # texts touch, their words do not
        begins[edges], stops[edges - 1] = self._solid[edges], self._solid[edges - 1]
        return np.flatnonzero(begins), np.flatnonzero(stops) + 1

    def _own_words(self) -> tuple[Ints, Ints]:
        """Characters of the pieces that the pre-tokenizer kept together; of a shared one the earlier word's."""
        numbers: Any = [*chain.from_iterable(encoding.word_ids for encoding in self._encodings)]
        numbers = np.array(numbers, dtype=np.float64)  # nan for a piece of no word
        pieces = np.flatnonzero((self.starts < self.ends) & ~np.isnan(numbers))
        if not len(pieces):
            return pieces, pieces
        text = np.repeat(np.arange(len(self._encodings)), np.diff(self.piece_bases))
        order = pieces[np.lexsort((numbers[pieces], text[pieces]))]
        new = (np.diff(text[order]) != 0) | (np.diff(numbers[order]) != 0)
        heads = np.flatnonzero(np.append(True, new))
        starts = np.minimum.reduceat(self.starts[order], heads)
        ends = np.maximum.reduceat(self.ends[order], heads)
        return _disjoint(starts, ends)


def _disjoint(starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Sorted, and what an earlier word holds taken from the later ones."""
    order = np.lexsort((ends, starts))
    starts, ends = starts[order], ends[order]
    starts = np.maximum(starts, np.append(0, np.maximum.accumulate(ends)[:-1]))
    return starts[starts < ends], ends[starts < ends]


def _cumulated(lengths: Iterable[int]) -> Ints:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _solid(text: str) -> Bools:
    """Whether each character is something other than a blank."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return _solid_codes()[np.minimum(codes, _NO_BLANK)]


@cache
def _solid_codes() -> Bools:
    return np.array([not chr(code).isspace() for code in range(_NO_BLANK + 1)])
