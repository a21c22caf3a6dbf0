"""Texts with character spans: one JSON object per line, or an array of them.

A record has a `text` and its entities under `entities`, `annotations`, `spans` (Prodigy) or `label` (doccano), each
`[start, end, label]` or `{"start", "end", "label"}`, ends exclusive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nertrail.ner.documents import Document, Span
from nertrail.ner.sources import Source

SPAN_KEYS = ("entities", "annotations", "spans", "label", "labels")
SHAPE = 'each record is {"text": "...", "entities": [[start, end, "TYPE"], ...]}'
SPAN_SHAPE = 'an entity is [start, end, "TYPE"] or {"start": 0, "end": 4, "label": "TYPE"}'
WHITESPACE = " \t\r\n"


def parse_lines(source: Source) -> Iterator[Document]:
    """Read one JSON object per line."""
    for number, line in source.lines():
        if line.strip(WHITESPACE):
            yield from _document(_decoded(line, number, source), number, source)


def parse_array(source: Source) -> Iterator[Document]:
    """Read an array of objects, one after the other so that each knows its line."""
    text = source.text
    at = _skip(text, 0, WHITESPACE)
    if text[at : at + 1] != "[":
        raise source.error(1, "the file does not begin with [", "give an array of records, or set data.format to jsonl")
    # The whole is checked first: a break in it is named at its own line.
    _decoded(text, 1, source)
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _skip(text, at + 1, WHITESPACE)
    while text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        record, end = decoder.raw_decode(text, at)
        yield from _document(record, line, source)
        at = _skip(text, end, WHITESPACE + ",")


def _decoded(text: str, line: int, source: Source) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = f"column {error.colno}"
        raise source.error(line + error.lineno - 1, f"broken JSON: {error.msg} at {at}", SHAPE) from error
    except (ValueError, RecursionError) as error:
        raise source.error(line, f"broken JSON: {error}", SHAPE) from error


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _document(record: Any, line: int, source: Source) -> Iterator[Document]:
    """Yield the record's document, nothing where it was rejected in annotation or has no text."""
    text = _text(record, line, source)
    if record.get("answer", "accept") != "accept":
        source.counts["answer_not_accept"] += 1
    elif not text.strip():
        source.counts["empty_text"] += 1
    else:
        found = [span for item in _items(record, line, source) for span in _span(item, text, line, source)]
        name = record.get("id")
        yield Document(source.place(line) if name is None else str(name), text, _cleaned(found, source))


def _text(record: Any, line: int, source: Source) -> str:
    if not isinstance(record, dict):
        raise source.error(line, f"the record is {_kind(record)}, not an object", SHAPE)
    text = record.get("text")
    if not isinstance(text, str):
        found = f"`text` is {_kind(text)}, not a string" if "text" in record else "the record has no `text`"
        raise source.error(line, found, SHAPE)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise source.error(
            line, "the text holds half of a surrogate pair", "write the file as UTF-8 without \\ud8xx escapes"
        )
    return text


def _items(record: Mapping[str, Any], line: int, source: Source) -> list[Any]:
    """Return the entities as they stand; a record may lack them, as Prodigy's do where nothing was found."""
    key = next((key for key in SPAN_KEYS if key in record), None)
    if key is None:
        source.counts["records_without_annotation"] += 1
        return []
    items = record[key]
    if not isinstance(items, list):
        raise source.error(line, f"`{key}` is {_kind(items)}, not a list", SPAN_SHAPE)
    return items


def _span(item: Any, text: str, line: int, source: Source) -> Iterator[Span]:
    """Yield the item's span without blanks at its edges, nothing where it is dropped."""
    start, end, label = _fields(item, line, source)
    _check_range(start, end, text, line, source)
    if isinstance(item, dict) and item.get("text", text[start:end]) != text[start:end]:
        source.counts["span_text_differs"] += 1
    type_ = source.type_of(label, line)
    inner = text[start:end].strip()
    if not inner:
        source.counts["span_of_blanks"] += 1
    elif type_ is not None:
        source.counts["span_with_edge_blanks"] += len(inner) < end - start
        first = start + len(text[start:end]) - len(text[start:end].lstrip())
        yield Span(first, first + len(inner), type_)


def _fields(item: Any, line: int, source: Source) -> tuple[int, int, str]:
    if isinstance(item, dict):
        item = [item.get("start"), item.get("end"), item.get("label", item.get("type"))]
    if not isinstance(item, list) or len(item) != 3:
        raise source.error(line, f"an entity is {json.dumps(item)}", SPAN_SHAPE)
    start, end, label = item
    for name, value, kind in (("start", start, int), ("end", end, int), ("label", label, str)):
        if type(value) is not kind:
            raise source.error(line, f"an entity's {name} is {_kind(value)}: {json.dumps(item)}", SPAN_SHAPE)
    return start, end, label


def _check_range(start: int, end: int, text: str, line: int, source: Source) -> None:
    if start >= end:
        raise source.error(line, f"an entity starts at {start} and ends at {end}", "ends are exclusive: start < end")
    if start < 0 or end > len(text):
        found = f"an entity at {start} to {end} is outside its text of {len(text)} characters"
        raise source.error(line, found, "offsets count characters of `text`, not bytes, from 0")


def _cleaned(spans: list[Span], source: Source) -> tuple[Span, ...]:
    """Sort and drop exact duplicates; overlaps are counted and stay, whoever builds the labels decides on them."""
    kept = sorted(set(spans))
    source.counts["duplicate_spans"] += len(spans) - len(kept)
    reach = 0
    for span in kept:
        source.counts["overlapping_spans"] += span.start < reach
        reach = max(reach, span.end)
    return tuple(kept)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
