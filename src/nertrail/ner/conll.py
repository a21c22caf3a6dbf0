"""One token per line, its tag in a column, a blank line between texts: IOB1, IOB2 and BIOES.

The three are decoded by one rule: an entity starts at B or S, and at any tag that does not go on with an open entity
of its type. In IOB1 that is how entities start; in the other two it repairs a missing B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nertrail.ner.columns import BLANKS, SECOND_TAG, TAG, Layout, could_be_tag, detect, is_tag
from nertrail.ner.documents import Document, Span
from nertrail.ner.quirks import DROP
from nertrail.ner.sources import OUTSIDE, Source

DOCUMENT_START = "-DOCSTART-"
BAD_TAG = "tags are O, or B-, I-, E-, S- and a type; set data.tag_column if they are in another column (from 0)"


class Row(NamedTuple):
    """A token, its tag, its line, and its tags in further columns; no tag where its text is left out."""

    token: str
    tag: str | None
    line: int
    further: tuple[str, ...] = ()


class Entity(NamedTuple):
    """A run of rows, `stop` exclusive."""

    start: int
    stop: int
    label: str


@dataclass
class Begins:
    """Lines of the entities that follow no entity of their type, by how they begin; they tell IOB1 from a mistake."""

    begin: int = 0
    inside: list[int] = field(default_factory=list)

    def report(self, source: Source) -> None:
        for line in self.inside:
            source.meet("inside_without_begin" if self.begin else "iob1_entities", line)


def parse(source: Source) -> Iterator[Document]:
    """Yield one document per sentence; its text is its tokens, joined by one blank each."""
    sentences = list(_sentences(source))
    layout = detect([[cells for _, cells in lines] for lines in sentences], source.settings)
    begins = Begins()
    for lines in sentences:
        yield from document(_rows(lines, layout, source), begins, source)
    begins.report(source)


def document(rows: Sequence[Row], begins: Begins, source: Source) -> Iterator[Document]:
    """Yield the rows as one document, nothing where they hold no character or are left out."""
    if any(row.tag is None for row in rows):
        return
    _meet_odd_tokens(rows, source)
    ranges, position = [], 0
    for row in rows:
        ranges.append((position, position + len(row.token)))
        position += len(row.token) + bool(row.token)
    words = tuple((start, end) for start, end in ranges if end > start)
    if words:
        spans = tuple(_all_spans(rows, ranges, begins, source))
        place = source.place(rows[0].line)
        yield Document(place, " ".join(row.token for row in rows if row.token), spans, words, place=place)


def row_of(token: str, tags: Sequence[str], line: int, source: Source) -> Row:
    """A row of a token and its tags, the first of them the one that counts.

    Raises:
        DataError: a tag is none, or holds several labels and the policy is to refuse those.
    """
    stripped = token.strip(BLANKS)
    if not stripped:
        source.meet("empty_token", line)
    elif stripped != token:
        source.meet("token_with_edge_blank", line)
    first, *further = (_checked_tag(tag, line, source) for tag in tags)
    return Row(stripped, first, line, tuple(tag or OUTSIDE for tag in further))


def _shortened(cell: str) -> str:
    """A cell as a message shows it."""
    return repr(cell if len(cell) <= 60 else f"{cell[:60]}...")


def _checked_tag(cell: str, line: int, source: Source) -> str | None:
    """The tag in a cell, None where the policy leaves its text out.

    Raises:
        DataError: it is no tag, or holds several labels and the policy is to refuse those.
    """
    tag = cell.strip(BLANKS)
    if is_tag(tag):
        return tag
    if not could_be_tag(tag):
        raise source.error(line, f"{_shortened(cell)} is not a tag", BAD_TAG)
    found = f"the tag {_shortened(tag)} holds more than one label"
    policy = source.meet("undecided_tag", line, found, "read a file whose tags are decided, one per token")
    return None if policy == DROP else SECOND_TAG.split(tag)[0]


Line = tuple[int, list[str]]


def _sentences(source: Source) -> Iterator[list[Line]]:
    """Yield the lines of each text: their numbers and cells."""
    lines: list[Line] = []
    for number, line in source.lines():
        kind = _kind(line, number, source, bool(lines))
        if kind == "row":
            lines.append((number, _cells(line)))
        elif kind == "end" and lines:
            yield lines
            lines = []
    if lines:
        yield lines


def _kind(line: str, number: int, source: Source, inside: bool) -> str:
    """Tell rows from ends of texts and from comments, and note what is odd about the latter two."""
    bare = line.strip(BLANKS)
    if not bare:
        if line:
            source.meet("blank_line_with_whitespace", number)
        if not inside and number <= source.line_feeds:  # what follows the last line feed is no line
            source.meet("extra_blank_lines", number)
        return "end"
    if bare.startswith(DOCUMENT_START):
        source.meet("document_starts", number)
        return "end"
    if _is_comment(line, source):
        source.meet("comment_lines", number)
        return "comment"
    return "row"


def _cells(line: str) -> list[str]:
    """Split at tabs where there are any: beside them a blank, or nothing at all, may be a token."""
    cells = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
    while len(cells) > 2 and not cells[-1].strip(BLANKS):
        cells.pop()
    return cells


def _is_comment(line: str, source: Source) -> bool:
    """Tell `# source` lines from a token `#`, which has a tag."""
    if not line.startswith("#"):
        return False
    if source.has_tabs and "\t" not in line:
        return True
    cells, tag = _cells(line), source.settings.tag_column
    if len(cells) > 1 and not f"{cells[0].strip(BLANKS)} ".startswith("# "):
        return False
    candidates = cells[1:] if tag is None else cells[tag : tag + 1 or None]
    return not any(map(could_be_tag, candidates))


def _rows(lines: Sequence[Line], layout: Layout, source: Source) -> list[Row]:
    return [_row(cells, number, layout, source) for number, cells in lines]


def _row(cells: list[str], number: int, layout: Layout, source: Source) -> Row:
    columns = (layout.token, layout.tag, *layout.further)
    if len(cells) < 2 or not all(-len(cells) <= column < len(cells) for column in columns):
        found = f"{len(cells)} column(s), but the token is in column {columns[0]} and the tag in column {columns[1]}"
        remedy = "put token and tag on each line, or set data.token_column and data.tag_column (from 0)"
        raise source.error(number, found, remedy)
    token, *tags = (cells[column] for column in columns)
    return row_of(token, tags, number, source)


def _meet_odd_tokens(rows: Sequence[Row], source: Source) -> None:
    for row in rows:
        if " " in row.token:
            source.meet("token_with_inner_blank", row.line)


def _all_spans(
    rows: Sequence[Row], ranges: Sequence[tuple[int, int]], begins: Begins, source: Source
) -> Iterator[Span]:
    """Yield the spans of the first tag column, then what the further ones add."""
    seen = set()
    for entity in _entities(rows, begins):
        for span in _spans(entity, rows, ranges, source):
            seen.add(span)
            yield span
    for column in range(len(rows[0].further)):
        for entity in _entities([row._replace(tag=row.further[column]) for row in rows], begins):
            policy = source.meet("second_tag_column", rows[entity.start].line)
            found = set() if policy == DROP else set(_spans(entity, rows, ranges, source)) - seen
            seen |= found
            yield from found


def _entities(rows: Sequence[Row], begins: Begins) -> list[Entity]:
    """Decode tags to runs of rows; `begins` notes how entities that do not follow their own type began."""
    found: list[Entity] = []
    open_, before = None, None
    for index, row in enumerate(rows):
        match = TAG.fullmatch(row.tag or OUTSIDE)
        prefix, label = match.groups() if match else (OUTSIDE, None)
        begin = prefix in "BSU"
        if label is not None and (begin or label != open_):
            found.append(Entity(index, index + 1, label))
            _note(begins, begin, label == before, row.line)
        elif label is not None:
            found[-1] = found[-1]._replace(stop=index + 1)
        open_, before = (None if prefix in "ESLU" else label), label
    return found


def _note(begins: Begins, begin: bool, follows_its_type: bool, line: int) -> None:
    if not begin:
        begins.inside.append(line)
    elif not follows_its_type:
        begins.begin += 1


def _spans(entity: Entity, rows: Sequence[Row], ranges: Sequence[tuple[int, int]], source: Source) -> Iterator[Span]:
    """Yield the entity's span, or nothing if it is dropped or all its tokens are empty."""
    line = rows[entity.start].line
    type_ = source.type_of(entity.label, line)
    held = [(start, end) for start, end in ranges[entity.start : entity.stop] if end > start]
    if not held:
        source.meet("entity_of_empty_tokens", line)
    elif type_ is not None:
        yield Span(held[0][0], held[-1][1], type_)
