"""Reads what writers have written: whole lines from an offset on, never half of one, never past damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nertrail.tracking.events import SCHEMA, BadLine, Event, decode
from nertrail.tracking.liveness import is_alive

CHUNK_BYTES = 1_000_000
_FIRST = "000001.jnl"
_SEGMENTS = "[0-9]" * 6 + ".jnl"  # a desktop may lay files of its own beside them


@dataclass(frozen=True)
class Chunk:
    """Events of one segment with the offset behind each. `damage` says why nothing behind the last one can be read.

    A segment of a newer nertrail has neither events nor damage: it waits for a release that can read it.
    """

    events: tuple[tuple[Event, int], ...]
    offset: int
    damage: str = ""
    lost_lines: int = 0


def writers(journal: Path) -> list[Path]:
    """The writers' folders, the oldest first, also those whose first segment is gone."""
    if not journal.is_dir():
        return []
    return sorted(path for path in journal.iterdir() if (path / _FIRST).exists() or _is_rest(path))


def _is_rest(path: Path) -> bool:
    """The digit keeps the folder of blobs, which may be long, from being searched each time."""
    return path.name[:1].isdigit() and any(path.glob(_SEGMENTS))


def segments(writer: Path) -> list[Path]:
    """A writer's segments in order."""
    return sorted(writer.glob(_SEGMENTS))


def missing(journal: Path) -> list[str]:
    """The segments that were there once, by "<writer>/<segment>": numbers below the last one's that no file has."""
    found: list[str] = []
    for writer in writers(journal):
        there = {path.name for path in segments(writer)}
        names = [f"{number:06d}.jnl" for number in range(1, int(max(there)[:6]))] if there else []
        found += [f"{writer.name}/{name}" for name in names if name not in there]
    return found


def writer_lives(writer: Path) -> bool:
    """Whether the process behind the folder lives. One that has not finished its first line is just beginning."""
    first = writer / _FIRST
    if not first.exists():
        return False  # whoever lives would hold it
    header = _header(first)
    return is_alive(first, header) if header else is_alive(first, {"flock": True})


def read(segment: Path, offset: int, *, complete: bool, limit: int = CHUNK_BYTES) -> Chunk:
    """The events from `offset` on, up to about `limit` bytes.

    `complete`: nobody will write to this segment any more, so half a line at its end is one that was torn.
    """
    with segment.open("rb") as file:
        file.seek(offset)
        content = file.read(limit)
        if b"\n" not in content:
            content += file.readline()  # a line longer than the limit
        if not complete:
            os.fsync(file.fileno())  # so that the stage need not: what a living writer wrote is on disk a second later
        at_end = file.tell() == os.fstat(file.fileno()).st_size
    found: list[tuple[Event, int]] = []
    for line, end in _lines(content, offset):
        event = _parse(line)
        if event is None:
            return _damaged(segment, found, offset)
        if _is_newer(event):
            return Chunk(tuple(found), offset)
        found.append((event, end))
        offset = end
    torn = len(content) > 0 and not content.endswith(b"\n")
    if complete and at_end and torn:
        return Chunk(tuple(found), segment.stat().st_size)
    return Chunk(tuple(found), offset)


def unread(segment: Path, offset: int) -> int:
    """How many whole lines lie behind the offset."""
    if segment.stat().st_size <= offset:
        return 0
    with segment.open("rb") as file:
        file.seek(offset)
        lines = sum(1 for line in file if line.endswith(b"\n"))
    return lines - 1 if offset == 0 and lines else lines  # the header is no record


def newer(journal: Path) -> str:
    """The first segment that a newer nertrail wrote, by "<writer>/<segment>"; empty where there is none."""
    for writer in writers(journal):
        for segment in segments(writer):
            header = _header(segment)
            if header is not None and _is_newer(header):
                return f"{writer.name}/{segment.name}"
    return ""


def ends(journal: Path) -> dict[str, int]:
    """The size of every segment now, by "<writer>/<segment>"."""
    found = (segment for writer in writers(journal) for segment in segments(writer))
    return {f"{segment.parent.name}/{segment.name}": segment.stat().st_size for segment in found}


def unwritten(journal: Path) -> int:
    """How many records could not be written, as their writers have noted."""
    notes = [note for note in (journal / "unwritten").glob("*") if note.is_file()]
    counts = [note.read_text(encoding="utf-8", errors="replace").strip() for note in notes]
    return sum(int(count) for count in counts if count.isdecimal())  # a desktop may lay files of its own there


def _lines(content: bytes, offset: int) -> Iterator[tuple[bytes, int]]:
    for line in content.split(b"\n")[:-1]:
        offset += len(line) + 1
        yield line, offset


def _parse(line: bytes) -> Event | None:
    try:
        return decode(line)
    except (BadLine, ValueError):
        return None


def _is_newer(event: Event) -> bool:
    return event.get("op") == "header" and int(event["schema"]) > SCHEMA


def _damaged(segment: Path, found: list[tuple[Event, int]], offset: int) -> Chunk:
    """Whole lines behind a damaged one make it damage; a damaged last line was torn, which loses nothing known."""
    lost = unread(segment, offset) if offset else unread(segment, 0) + 1
    return Chunk(tuple(found), segment.stat().st_size, "a line is damaged" if lost > 1 else "", lost)


def _header(segment: Path) -> dict[str, Any] | None:
    with segment.open("rb") as file:
        line = file.readline()
    return _parse(line) if line.endswith(b"\n") else None
