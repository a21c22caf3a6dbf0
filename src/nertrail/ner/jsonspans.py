"""Texts with character spans: one JSON object per line, or an array of them; `jsonrecords` knows their shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from nertrail.ner import conll
from nertrail.ner.documents import Document
from nertrail.ner.jsonrecords import SHAPE, has_tokens, kind, origin_of, read, tokens_and_tags
from nertrail.ner.sources import Source
from nertrail.ner.spans import sound

WHITESPACE = " \t\r\n"


def parse_lines(source: Source) -> Iterator[Document]:
    """Read one JSON object per line."""
    begins = conll.Begins()
    for number, line in source.lines():
        if line.strip(WHITESPACE):
            yield from document(_decoded(line, number, source), number, begins, source)
    begins.report(source)


def parse_array(source: Source) -> Iterator[Document]:
    """Read an array of objects, one after the other so that each knows its line."""
    text = source.text
    at = _skip(text, 0, WHITESPACE)
    if text[at : at + 1] != "[":
        raise source.error(1, "the file does not begin with [", "give an array of records, or set data.format to jsonl")
    # The whole is checked first: a break in it is named at its own line.
    _decoded(text, 1, source)
    decoder, begins, line, counted = json.JSONDecoder(), conll.Begins(), 1, 0
    at = _skip(text, at + 1, WHITESPACE)
    while text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        record, end = decoder.raw_decode(text, at)
        yield from document(record, line, begins, source)
        at = _skip(text, end, WHITESPACE + ",")
    begins.report(source)


def document(record: Any, line: int, begins: conll.Begins, source: Source) -> Iterator[Document]:
    """Yield the record's document, nothing where the policies leave it out."""
    if not isinstance(record, dict):
        raise source.error(line, f"the record is {kind(record)}, not an object", SHAPE)
    if has_tokens(record):
        pairs = tokens_and_tags(record, line, source)
        rows = [conll.row_of(token, [tag], line, source) for token, tag in pairs]
        made = [] if not rows else list(conll.document(rows, begins, source))
    else:
        made = list(_spanned(record, line, source))
    for each in made:
        yield _named(each, record, source)


def _spanned(record: Mapping[str, Any], line: int, source: Source) -> Iterator[Document]:
    annotated = read(record, line, source)
    if annotated is None:
        return
    if not annotated.text.strip():
        source.meet("empty_text", line)
        return
    place = source.place(line)
    yield Document(place, annotated.text, sound(annotated, line, source), place=place)


def _named(document_: Document, record: Mapping[str, Any], source: Source) -> Document:
    name = record.get("id")
    origin = origin_of(record, source.settings.source_field)
    return replace(document_, id=document_.id if name is None else str(name), origin=origin)


def _decoded(text: str, line: int, source: Source) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = f"column {error.colno}"
        if error.msg == "Extra data":
            found = f"more follows after the first value of {'the file' if error.lineno > 1 else 'the line'}, at {at}"
            raise source.error(line + error.lineno - 1, found, f"{SHAPE}, one per line, or all in one array") from error
        raise source.error(line + error.lineno - 1, f"broken JSON: {error.msg} at {at}", SHAPE) from error
    except (ValueError, RecursionError) as error:
        raise source.error(line, f"broken JSON: {error}", SHAPE) from error


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at
