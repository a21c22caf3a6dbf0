"""One token per line, its tag in a column, a blank line between texts: IOB1, IOB2 and BIOES.

The three are decoded by one rule: an entity starts at B or S, and at any tag that does not go on with an open entity
of its type. In IOB1 that is how entities start; in the other two it repairs a missing B.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nertrail.ner.documents import Document, Span
from nertrail.ner.sources import OUTSIDE, Source

log = logging.getLogger(__name__)

TAG = re.compile(r"([BIESLUM])-(.+)")
SECOND_TAG = re.compile(r"[,;|/][BIESLUM]-")
DOCUMENT_START = "-DOCSTART-"
# Not str.strip: it would also take tokens away that are a no-break space or U+0085.
BLANKS = " \t"


class Row(NamedTuple):
    token: str
    tag: str
    line: int


class Entity(NamedTuple):
    """A run of rows, `stop` exclusive."""

    start: int
    stop: int
    label: str


def parse(source: Source) -> Iterator[Document]:
    """Yield one document per sentence; its text is its tokens, joined by one blank each."""
    begins = Counter[str]()
    for rows in _sentences(source):
        document = _document(rows, _entities(rows, begins), source)
        if document.text:
            yield document
    if source.counts["rows_with_two_tag_columns"]:
        log.warning("%s: two columns look like tags, the last was read; data.tag_column chooses (from 0)", source.path)
    if begins["inside"]:
        scheme = "inside_without_begin" if begins["begin"] else "iob1_entities"
        source.counts[scheme] += begins["inside"]


def _sentences(source: Source) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for number, line in source.lines():
        row = _row(line, number, source)
        if row is not None and row.token != DOCUMENT_START:
            rows.append(row)
        elif rows and (row is not None or not line.strip(BLANKS)):
            yield rows
            rows = []
    if rows:
        yield rows


def _row(line: str, number: int, source: Source) -> Row | None:
    """Return the token and tag of a line, None for a blank line or a comment."""
    if not line.strip(BLANKS):
        source.counts["blank_line_with_whitespace"] += bool(line)
        return None
    if line.strip(BLANKS).startswith(DOCUMENT_START):
        source.counts["document_starts"] += 1
        return Row(DOCUMENT_START, OUTSIDE, number)
    cells = _cells(line)
    if _is_comment(cells, line, source):
        source.counts["comment_lines"] += 1
        return None
    return _checked(cells, number, source)


def _cells(line: str) -> list[str]:
    """Split at tabs where there are any: beside them a blank, or nothing at all, may be a token."""
    cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
    while len(cells) > 2 and not cells[-1].strip(BLANKS):
        cells.pop()
    return cells


def _is_comment(cells: list[str], line: str, source: Source) -> bool:
    """Tell `# source` lines from a token `#`, which has a tag."""
    if not line.startswith("#"):
        return False
    if source.has_tabs and "\t" not in line:
        return True
    if len(cells) > 1 and cells[0].strip(BLANKS) != "#":
        return False
    tag = _tag_column(source)
    return not (-len(cells) <= tag < len(cells) and _is_tag(cells[tag]))


def _checked(cells: list[str], number: int, source: Source) -> Row:
    columns = (source.settings.token_column, _tag_column(source))
    if len(cells) < 2 or not all(-len(cells) <= column < len(cells) for column in columns):
        found = f"{len(cells)} column(s), but the token is in column {columns[0]} and the tag in column {columns[1]}"
        remedy = "put token and tag on each line, or set data.token_column and data.tag_column (from 0)"
        raise source.error(number, found, remedy)
    token, tag = (cells[column] for column in columns)
    if not _is_tag(tag):
        raise source.error(number, *_bad_tag(tag))
    if source.settings.tag_column is None and sum(map(_is_tag, cells[1:])) > 1:
        source.counts["rows_with_two_tag_columns"] += 1
    stripped = token.strip(BLANKS)
    source.counts["token_with_edge_blank"] += stripped != token
    source.counts["empty_token"] += not stripped
    return Row(stripped, tag.strip(BLANKS), number)


def _tag_column(source: Source) -> int:
    return -1 if source.settings.tag_column is None else source.settings.tag_column


def _is_tag(cell: str) -> bool:
    tag = cell.strip(BLANKS)
    return tag == OUTSIDE or (TAG.fullmatch(tag) is not None and SECOND_TAG.search(tag) is None)


def _bad_tag(tag: str) -> tuple[str, str]:
    if SECOND_TAG.search(tag):
        return f"the tag {tag!r} holds more than one label", "read a file whose tags are decided, one per token"
    remedy = "tags are O, or B-, I-, E-, S- and a type; set data.tag_column if they are in another column (from 0)"
    return f"{tag!r} is not a tag", remedy


def _entities(rows: Sequence[Row], begins: Counter[str]) -> list[Entity]:
    """Decode tags to runs of rows; `begins` counts how entities that do not follow their own type began."""
    found: list[Entity] = []
    open_, before = None, None
    for index, row in enumerate(rows):
        match = TAG.fullmatch(row.tag)
        prefix, label = match.groups() if match else (OUTSIDE, None)
        begin = prefix in "BSU"
        if label is not None and (begin or label != open_):
            found.append(Entity(index, index + 1, label))
            begins["begin" if begin else "inside"] += label != before or not begin
        elif label is not None:
            found[-1] = found[-1]._replace(stop=index + 1)
        open_, before = (None if prefix in "ESLU" else label), label
    return found


def _document(rows: Sequence[Row], entities: Sequence[Entity], source: Source) -> Document:
    ranges, position = [], 0
    for row in rows:
        ranges.append((position, position + len(row.token)))
        position += len(row.token) + bool(row.token)
    spans = tuple(span for entity in entities for span in _spans(entity, rows, ranges, source))
    text = " ".join(row.token for row in rows if row.token)
    words = tuple((start, end) for start, end in ranges if end > start)
    return Document(source.place(rows[0].line), text, spans, words)


def _spans(entity: Entity, rows: Sequence[Row], ranges: Sequence[tuple[int, int]], source: Source) -> Iterator[Span]:
    """Yield the entity's span, or nothing if it is dropped or all its tokens are empty."""
    type_ = source.type_of(entity.label, rows[entity.start].line)
    held = [(start, end) for start, end in ranges[entity.start : entity.stop] if end > start]
    if not held:
        source.counts["entity_of_empty_tokens"] += 1
    elif type_ is not None:
        yield Span(held[0][0], held[-1][1], type_)
