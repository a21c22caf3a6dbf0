"""Entities of a record made sound: inside their text, where their own text stands, trimmed, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from nertrail.ner.documents import Span
from nertrail.ner.jsonrecords import Annotated, Item
from nertrail.ner.quirks import DROP, LONG, REPAIR
from nertrail.ner.sources import Source

Range = tuple[int, int]


class Record(NamedTuple):
    """The text that spans are checked against, and its line in a source."""

    text: str
    line: int
    source: Source

    def meet(self, quirk: str, found: str = "", remedy: str = "") -> str:
        return self.source.meet(quirk, self.line, found, remedy)


def sound(annotated: Annotated, line: int, source: Source) -> tuple[Span, ...]:
    """The record's spans, sorted, after every repair that the policies ask for.

    Raises:
        DataError: a policy is to refuse what was met, or a label is unknown.
    """
    record = Record(annotated.text, line, source)
    found = [span for item in annotated.items for span in _span(item, record)]
    return tuple(_without_overlaps(_unique(found, record), record))


def _span(item: Item, record: Record) -> Iterator[Span]:
    """Yield the item's span without blanks at its edges, nothing where it is dropped."""
    type_ = record.source.type_of(item.label, record.line)
    range_ = _with_exclusive_end(item, record)
    range_ = range_ and _matched(range_, item.text or "", record)
    for step in (_inside, _trimmed, _whole_words, _meet_size):
        range_ = range_ and step(range_, record)
    if range_ is not None and type_ is not None:
        yield Span(*range_, type_)


def _with_exclusive_end(item: Item, record: Record) -> Range | None:
    start, end, text = item.start, item.end, record.text
    if record.source.settings.ends == "inclusive":
        return start, end + 1
    told = bool(item.text) and item.text == text[start : end + 1] and end < len(text)
    if not (item.inclusive or told):
        return start, end
    policy = record.meet("inclusive_end", f"the end of the entity {start} to {end} counts its last character")
    return None if policy == DROP else (start, end + (policy == REPAIR))


def _inside(range_: Range, record: Record) -> Range | None:
    start, end = range_
    if start >= end:
        found, remedy = f"an entity starts at {start} and ends at {end}", "ends are exclusive, start < end"
        record.meet("empty_span", found, f"{remedy} (or set data.ends to inclusive)")
        return None
    if start >= 0 and end <= len(record.text):
        return range_
    found = f"an entity at {start} to {end} is outside its text of {len(record.text)} characters"
    policy = record.meet("span_outside_text", found, "offsets count characters of `text`, not bytes, from 0")
    start, end = max(start, 0), min(end, len(record.text))
    return (start, end) if policy == REPAIR and start < end else None


def _matched(range_: Range, own: str, record: Record) -> Range | None:
    """Move a span to where its `own` text stands, if the record says what that is."""
    start, end = range_
    read = record.text[max(start, 0) : max(end, 0)]
    if (
        not own.strip() or own.strip() == read.strip() or own == record.text[start : end + 1]
    ):  # the last was decided before
        return range_
    nearest = _nearest(own, record.text, start)
    found = f"the entity {start} to {end} is {read[:40]!r}, its own text {own[:40]!r}"
    policy = record.meet("span_text_lost" if nearest is None else "span_text_moved", found)
    if policy == DROP:
        return None
    return range_ if nearest is None or policy != REPAIR else (nearest, nearest + len(own))


def _nearest(wanted: str, text: str, start: int) -> int | None:
    before = text.rfind(wanted, 0, max(start, 0) + len(wanted))
    after = text.find(wanted, max(start, 0))
    found = [place for place in (before, after) if place >= 0]
    return min(found, key=lambda place: abs(place - start), default=None)


def _trimmed(range_: Range, record: Record) -> Range | None:
    start, end = range_
    read = record.text[start:end]
    inner = read.strip()
    if not inner:
        record.meet("span_of_blanks")
        return None
    if len(inner) < len(read):
        record.meet("span_with_edge_blanks")
    start = end - len(read.lstrip())
    return start, start + len(inner)


def _whole_words(range_: Range, record: Record) -> Range | None:
    (start, end), text = range_, record.text
    if not (_inside_word(text, start) or _inside_word(text, end)):
        return range_
    policy = record.meet("span_cuts_word", f"the entity {start} to {end} cuts a word: {text[start:end][:40]!r}")
    if policy == REPAIR:
        while _inside_word(text, start):
            start -= 1
        while _inside_word(text, end):
            end += 1
    return None if policy == DROP else (start, end)


def _inside_word(text: str, position: int) -> bool:
    return 0 < position < len(text) and text[position - 1].isalnum() and text[position].isalnum()


def _meet_size(range_: Range, record: Record) -> Range | None:
    start, end = range_
    policies = []
    if "\n" in record.text[start:end]:
        policies.append(record.meet("span_across_lines"))
    if end - start > LONG:
        policies.append(record.meet("long_spans"))
    return None if DROP in policies else range_


def _unique(spans: Sequence[Span], record: Record) -> list[Span]:
    kept = sorted(set(spans))
    for _ in range(len(spans) - len(kept)):
        record.meet("duplicate_spans")
    return kept


def _without_overlaps(spans: Sequence[Span], record: Record) -> list[Span]:
    """Note what overlaps a longer span, or on equal terms an earlier one, and drop it where the policies say so."""
    if all(span.end <= after.start for span, after in pairwise(spans)):
        return list(spans)
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span)):
        over = [other for other in kept if other.start < span.end and span.start < other.end]
        nested = any(other.start <= span.start and span.end <= other.end for other in over)
        if not over or record.meet("nested_spans" if nested else "crossing_spans") != DROP:
            kept.append(span)
    return sorted(kept)
