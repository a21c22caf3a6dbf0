"""A file of annotated text, opened: its lines, its place in messages, and which labels are welcome in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from nertrail.errors import ConfigError, DataError

FORMATS = ("auto", "conll", "jsonl", "json")
OUTSIDE = "O"


@dataclass(frozen=True)
class DataSettings:
    """Where the data lies and how to read it.

    Attributes:
        path: the folder that holds the splits.
        format: "auto" (by suffix, then content), "conll", "jsonl" or "json".
        train, validation, test: file names inside `path`; None finds them by convention (train.*, dev.*, test.*).
        token_column, tag_column: of CoNLL-like data, counted from 0, negative from the end; no tag column given
            means the last one.
        label_map: label as found → type to use, or None to drop its entities.
        types: the types to expect, so that any other label is an error; None takes those of the data.
    """

    path: Path
    format: str = "auto"
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    token_column: int = 0
    tag_column: int | None = None
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    types: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(
                f"unknown format {self.format!r}", place="data.format", remedy=f"use {', '.join(FORMATS)}"
            )


@dataclass(frozen=True)
class Source:
    """One file being read. `counts` is filled while it is parsed."""

    path: Path
    text: str
    settings: DataSettings
    counts: Counter[str]

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines with their numbers, counted from 1.

        Only a line feed ends a line: `str.splitlines` would also cut at characters that texts hold (U+0085, U+2028).
        """
        for number, line in enumerate(self.text.split("\n"), 1):
            yield number, line.removesuffix("\r")

    @cached_property
    def has_tabs(self) -> bool:
        return "\t" in self.text

    def place(self, line: int) -> str:
        return f"{self.path}:{line}"

    def error(self, line: int, problem: str, remedy: str) -> DataError:
        return DataError(problem, place=self.place(line), remedy=remedy)

    def type_of(self, label: str, line: int) -> str | None:
        """Return the type that a label stands for, None where the label map drops it.

        Raises:
            DataError: the label is unknown or can't name a type.
        """
        type_ = self.settings.label_map.get(label, label)
        if type_ is None:
            self.counts["dropped_by_label_map"] += 1
            return None
        if type_ in ("", OUTSIDE):
            raise self.error(line, f"the label {label!r} can't name an entity type", "rename it with data.label_map")
        if self.settings.types is not None and type_ not in self.settings.types:
            raise self.error(line, f"unknown label {label!r}", self._label_remedy(type_))
        return type_

    def _label_remedy(self, type_: str) -> str:
        known = self.settings.types or ()
        near = get_close_matches(type_, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return (
            f"{hint}expected one of {', '.join(known)}; add it to data.types, or rename or drop it with data.label_map"
        )


def open_source(path: Path, settings: DataSettings, counts: Counter[str]) -> Source:
    """Read a file as UTF-8, without its byte order mark.

    Raises:
        DataError: the file is missing, unreadable or not UTF-8.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"can't read the file: {error.strerror}", place=str(path), remedy="check data.path") from error
    if raw.startswith(b"\xef\xbb\xbf"):
        counts["byte_order_mark"] += 1
    if b"\r\n" in raw:
        counts["carriage_returns"] += 1
    return Source(path, _decoded(raw, path), settings, counts)


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte 0x{raw[error.start]:02x} is not UTF-8", place=f"{path}:{line}", remedy="save the file as UTF-8"
        ) from error
