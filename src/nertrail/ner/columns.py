"""Which columns of CoNLL-like rows hold the token and the tags, where nobody said so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nertrail.ner.sources import OUTSIDE, DataSettings

TAG = re.compile(r"([BIESLUM])-(.+)")
SECOND_TAG = re.compile(r"[,;|/][BIESLUM]-")
# Not str.strip: it would also take tokens away that are a no-break space or U+0085.
BLANKS = " \t"
NUMBER = re.compile(r"\d{1,9}(?:[-.]\d+)?(?!\d)")
# Phrases of CoNLL-2000: tags in B- and I-, but of syntax.
PHRASES = frozenset(["ADJP", "ADVP", "CONJP", "INTJ", "LST", "NP", "PP", "PRT", "SBAR", "UCP", "VP"])
# A column may hold a few bad cells, which are told where they stand; with more it is another kind of column.
ENOUGH = 0.95


class Layout(NamedTuple):
    """Column of the token, of the tag, and of further tags."""

    token: int
    tag: int
    further: tuple[int, ...] = ()


def is_tag(cell: str) -> bool:
    """Whether a cell is O, or a prefix and one type."""
    tag = cell.strip(BLANKS)
    return tag == OUTSIDE or (TAG.fullmatch(tag) is not None and SECOND_TAG.search(tag) is None)


def could_be_tag(cell: str) -> bool:
    """As `is_tag`, but for tags of several labels too."""
    tag = cell.strip(BLANKS)
    return tag == OUTSIDE or TAG.fullmatch(tag) is not None


def detect(sentences: Sequence[Sequence[Sequence[str]]], settings: DataSettings) -> Layout:
    """Find the columns that the settings leave open.

    The token is in the first column, or in the second where the first counts the rows. The tag is in the last column
    of tags; where several hold entities other than syntactic phrases, in the first of them, the others being `further`.

    Args:
        sentences: the cells of every row of every sentence.
    """
    token = settings.token_column
    if token is None:
        token = 1 if _counts_rows(sentences) else 0
    if settings.tag_column is not None:
        return Layout(token, settings.tag_column)
    width = Counter(len(row) for rows in sentences for row in rows).most_common(1)
    last = width[0][0] - 1 if width else 0
    rows = [row for sentence in sentences for row in sentence if len(row) == last + 1]
    tagged = [column for column in range(1, last + 1) if column != token and _holds_entities(rows, column)]
    if not tagged or tagged == [last]:
        return Layout(token, -1)  # from the end: right even in rows whose token holds blanks
    return Layout(token, tagged[0], tuple(tagged[1:]))


def _counts_rows(sentences: Sequence[Sequence[Sequence[str]]]) -> bool:
    """Whether the first of three or more columns numbers the rows of every sentence from 1."""
    numbers = list(_numbering(sentences))
    return bool(numbers) and sum(numbers) >= ENOUGH * len(numbers)


def _numbering(sentences: Sequence[Sequence[Sequence[str]]]) -> Iterator[bool]:
    for rows in sentences:
        wanted = 1
        for row in rows:
            found = NUMBER.match(row[0]) if len(row) > 2 else None
            yield found is not None and int(re.split("[-.]", row[0])[0]) in (wanted, wanted - 1)
            wanted += 1


def _holds_entities(rows: Sequence[Sequence[str]], column: int) -> bool:
    cells = Counter(row[column].strip(BLANKS) for row in rows)
    if sum(count for cell, count in cells.items() if could_be_tag(cell)) < ENOUGH * len(rows):
        return False
    types = {cell.split("-", 1)[1] for cell in cells if TAG.fullmatch(cell)}
    return bool(types - PHRASES)
