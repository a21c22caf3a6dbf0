"""Raw texts from a file or a pipe, one at a time: lines, JSON Lines, or the whole of it as one text."""

from __future__ import annotations

import codecs
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

from nertrail.errors import DataError

_LOGGER = logging.getLogger(__name__)
_JSONL_SUFFIXES = (".jsonl", ".ndjson")
# The longer mark first: it begins with the shorter one.
_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Text:
    """A text to be labelled; `id` is the record's own, else its number in the file, from 1. `meta` goes along."""

    id: str | int
    text: str
    meta: Mapping[str, Any] | None = None
    own_id: bool = False


def read_texts(stream: IO[bytes], place: str, kind: str = "auto") -> Iterator[Text]:
    """The texts of a stream, read as they are needed.

    Args:
        place: the file's name, for messages.
        kind: "lines" (every line is a text, an empty one too), "jsonl" (objects with a "text"), "text" (all of it is
            one text), or "auto": by the name's suffix, else lines, with a warning where the first is such an object.

    Raises:
        DataError: names file and line: not UTF-8, broken JSON, no text.
    """
    if kind == "auto":
        return (_records if PurePath(place).suffix.lower() in _JSONL_SUFFIXES else _doubted)(stream, place)
    return KINDS[kind](stream, place)


def _doubted(stream: IO[bytes], place: str) -> Iterator[Text]:
    """Lines, though nobody said so: a pipe has no suffix that would tell JSON Lines."""
    for text in _lines(stream, place):
        if text.id == 1 and _looks_like_record(text.text):
            _LOGGER.warning("%s: looks like JSON Lines, read as lines of plain text; if it is: --input jsonl", place)
        yield text


def _looks_like_record(line: str) -> bool:
    try:
        _record(line, "", 1)
    except DataError:
        return False
    return True


def _lines(stream: IO[bytes], place: str) -> Iterator[Text]:
    for number, line in enumerate(stream, start=1):
        yield Text(number, _decoded(line, place, number).removesuffix("\n").removesuffix("\r"))


def _whole(stream: IO[bytes], place: str) -> Iterator[Text]:
    yield Text(1, "".join(_decoded(line, place, number) for number, line in enumerate(stream, start=1)))


def _records(stream: IO[bytes], place: str) -> Iterator[Text]:
    for number, line in enumerate(stream, start=1):
        content = _decoded(line, place, number)
        if content.strip():
            yield _record(content, f"{place}:{number}", number)


def _record(line: str, place: str, number: int) -> Text:
    try:
        record = json.loads(line, parse_constant=_null, parse_float=_finite)
    except ValueError as error:
        remedy = "write one JSON object per line, or use --input lines"
        raise DataError(f"broken JSON: {error}", place=place, remedy=remedy) from None
    except RecursionError:
        raise DataError("JSON nested too deeply", place=place, remedy="write flat records") from None
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        found = f"keys {', '.join(map(str, record)) or 'none'}" if isinstance(record, dict) else type(record).__name__
        raise DataError(f'no "text" with a string in it ({found})', place=place, remedy='write {"text": "..."}')
    meta, own = record.get("meta"), record.get("id")
    named = isinstance(own, str | int) and not isinstance(own, bool)
    return Text(own if named else number, text, meta if isinstance(meta, dict) else None, named)


def _null(_constant: str) -> None:
    """NaN and Infinity, which Python writes, are no JSON: whoever reads our output need not know them."""


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _decoded(line: bytes, place: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        found = f"is not UTF-8: byte 0x{line[error.start]:02x} at {error.start + 1}"
        remedy = f"convert it first, for example with iconv -f {_encoding(line if number == 1 else b'')} -t utf-8"
        raise DataError(found, place=f"{place}:{number}", remedy=remedy) from None


def _encoding(line: bytes) -> str:
    """What a text that is not UTF-8 most likely is: its first bytes may tell."""
    return next((name for mark, name in _MARKS if line.startswith(mark)), "latin1")


KINDS: Mapping[str, Callable[[IO[bytes], str], Iterator[Text]]] = {
    "lines": _lines,
    "jsonl": _records,
    "text": _whole,
}
