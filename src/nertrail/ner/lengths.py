"""Which lengths of windows texts call for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from nertrail.ner.labels import Ints
from nertrail.ner.pieces import plain, specials

SHORTEST, LONGEST, STEP = 32, 256, 16  # of the window that the texts' lengths alone decide
SHORTEST_COMPARED = 64  # half a window that is shorter yet gives a word too little context to be worth a trial
WORTH = 0.05  # share of texts that another window must cut otherwise: with fewer, scores would tell chance


def pieces_of_texts(texts: Sequence[str], tokenizer: Tokenizer) -> Ints:
    """Pieces of each text, special ones included."""
    before, after = specials(tokenizer := plain(tokenizer))
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return np.array([len(encoding.ids) + len(before) + len(after) for encoding in encodings], dtype=np.int64)


def fitting(pieces: Ints) -> int:
    """Pieces per window that hold 99 of 100 texts whole, from 32 to 256 in steps of 16."""
    if not len(pieces):
        return SHORTEST
    needed = int(np.percentile(pieces, 99, method="inverted_cdf"))
    return min(max(_rounded(needed), SHORTEST), LONGEST)


def candidates(pieces: Ints, room: int) -> tuple[int, ...]:
    """Lengths of windows to be compared on validation: the fitting one first, then half of it and twice as much.

    Batches are padded to their own longest window, so to a text that fits, a longer window changes nothing. Half and
    double are candidates only where they cut at least one text of twenty otherwise: short texts leave one.

    Args:
        room: positions of the backbone, which no window may exceed.
    """
    length = min(fitting(pieces), room)
    half, double = _rounded(length // 2), min(2 * length, room)
    found = [length]
    if SHORTEST_COMPARED <= half < length and _share_beyond(half, pieces) >= WORTH:
        found.append(half)
    if length < double and _share_beyond(length, pieces) >= WORTH:
        found.append(double)
    return tuple(found)


def _share_beyond(length: int, pieces: Ints) -> float:
    """Share of texts that a window of this length cuts."""
    return float(np.mean(pieces > length)) if len(pieces) else 0.0


def _rounded(pieces: int) -> int:
    """Up to whole steps."""
    return -(-pieces // STEP) * STEP
