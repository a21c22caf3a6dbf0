"""A file of annotated text, opened: its lines, its place in messages, and which labels are welcome in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from nertrail.errors import ConfigError, DataError
from nertrail.ner.quirks import REPAIR, Findings, check_policies

FORMATS = ("auto", "conll", "jsonl", "json", "huggingface")
ENDS = ("exclusive", "inclusive")
OUTSIDE = "O"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")  # gzip, zip, xz, zstd
# Where str.splitlines would cut, though texts hold them; a carriage return counts where no line feed follows.
ODD_BREAKS = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]|\r(?!$)")


@dataclass(frozen=True)
class SplitSettings:
    """How splits that the data lacks are made of its train split: their shares of the texts, and the seed."""

    validation: float = 0.1
    test: float = 0.1
    seed: int = 42

    def share(self, split: str) -> float:
        return self.validation if split == "validation" else self.test


@dataclass(frozen=True)
class DataSettings:
    """Where the data lies and how to read it.

    Attributes:
        path: the folder that holds the splits, or one file of which they are made.
        format: "auto" (by suffix, then content), "conll", "jsonl", "json" or "huggingface" (a dataset saved to disk).
        train, validation, test: file names inside `path`; None finds them by convention (train.*, dev.*, test.*).
        token_column, tag_column: of CoNLL-like data, counted from 0, negative from the end; None detects them.
        ends: whether a span's end is "exclusive" or "inclusive".
        source_field: key of a record that says where its text is from; dots lead into objects.
        label_map: label as found → type to use, or None to drop its entities.
        types: the types to expect, so that any other label is an error; None takes those of the data.
        policies: quirk → policy, where it is not the quirk's default.
        split: how missing splits are made; None makes a missing split an error.
    """

    path: Path
    format: str = "auto"
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    token_column: int | None = None
    tag_column: int | None = None
    ends: str = "exclusive"
    source_field: str = "source"
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    types: tuple[str, ...] | None = None
    policies: Mapping[str, str] = field(default_factory=dict)
    split: SplitSettings | None = None

    def __post_init__(self) -> None:
        for name, known in (("format", FORMATS), ("ends", ENDS)):
            value = getattr(self, name)
            if value not in known:
                remedy = f"use {', '.join(known)}"
                raise ConfigError(f"unknown {name} {value!r}", place=f"data.{name}", remedy=remedy)
        check_policies(self.policies)


@dataclass(frozen=True)
class Source:
    """One file being read. `findings` is filled while it is parsed."""

    path: Path
    text: str
    settings: DataSettings
    findings: Findings

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines with their numbers, counted from 1.

        Only a line feed ends a line: `str.splitlines` would also cut at characters that texts hold (U+0085, U+2028).
        """
        for number, line in enumerate(self.text.split("\n"), 1):
            yield number, line.removesuffix("\r")

    @cached_property
    def has_tabs(self) -> bool:
        return "\t" in self.text

    @cached_property
    def line_feeds(self) -> int:
        return self.text.count("\n")

    def place(self, line: int) -> str:
        return f"{self.path}:{line}"

    def meet(self, quirk: str, line: int, found: str = "", remedy: str = "") -> str:
        """Note a quirk at a line and return its policy; see `Findings.meet`."""
        return self.findings.meet(quirk, self.place(line), found, remedy)

    def error(self, line: int, problem: str, remedy: str) -> DataError:
        return DataError(problem, place=self.place(line), remedy=remedy)

    def type_of(self, label: str, line: int) -> str | None:
        """Return the type that a label stands for, None where the label map drops it.

        Raises:
            DataError: the label is unknown or can't name a type.
        """
        self.findings.labels.add(label)
        type_ = self.settings.label_map.get(label, label)
        if type_ is None:
            self.findings.dropped_labels += 1
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


def open_source(path: Path, settings: DataSettings, findings: Findings) -> Source:
    """Read a file as UTF-8, without its byte order mark; a folder is a source without text of its own.

    Raises:
        DataError: the file is missing or unreadable, or holds what the policies refuse.
    """
    if path.is_dir() and (path / "state.json").is_file():
        return Source(path, "", settings, findings)
    if path.exists() and not path.is_file():
        found = "is a folder, not a file" if path.is_dir() else "is no file but a pipe or a device"
        raise DataError(found, place=str(path), remedy="name a file of annotated text")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"can't read the file: {error.strerror}", place=str(path), remedy="check data.path") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the file is UTF-16", place=str(path), remedy="save it as UTF-8")
    if raw.startswith(COMPRESSED):
        raise DataError("the file is compressed", place=str(path), remedy="unpack it")
    if raw.startswith(BYTE_ORDER_MARK):
        findings.meet("byte_order_mark", f"{path}:1")
        raw = raw.removeprefix(BYTE_ORDER_MARK)
    source = Source(path, _decoded(raw, path, findings), settings, findings)
    _meet_line_ends(source)
    return source


def _decoded(raw: bytes, path: Path, findings: Findings) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "\n".join(_line(line, f"{path}:{number}", findings) for number, line in enumerate(raw.split(b"\n"), 1))


def _line(raw: bytes, place: str, findings: Findings) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        policy = findings.meet("not_utf8", place, found, "save the file as UTF-8")
        assert policy == REPAIR
        # five bytes mean nothing in Windows-1252; they stay the C1 characters they are in Latin-1
        return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in raw)


def _meet_line_ends(source: Source) -> None:
    returns, odd = "\r\n" in source.text, ODD_BREAKS.search(source.text) is not None
    if not (returns or odd):
        return
    for number, line in enumerate(source.text.split("\n"), 1):
        if line.endswith("\r"):
            source.meet("carriage_returns", number)
        if odd and ODD_BREAKS.search(line):
            source.meet("odd_line_breaks", number)
