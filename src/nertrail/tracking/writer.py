"""One process's segments: whole lines, appended."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from nertrail.tracking import events
from nertrail.tracking.liveness import identity, lock

SEGMENT_BYTES = 4_000_000


class Writer:
    """One process's segments. What `append` has returned from survives the process; a barrier survives the machine.

    Raises:
        OSError: there is no room for a new writer; nothing is left of it.
    """

    def __init__(self, journal: Path) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.folder = journal / f"{stamp}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir(parents=True)
        self._number, self._size = 0, 0
        try:
            self._first = self._file = self._open_segment()
        except OSError:
            self.folder.rmdir()
            raise
        _sync_folder(self.folder)
        _sync_folder(journal)

    @property
    def removed(self) -> bool:
        """Whether somebody removed the journal: what is written now, nobody will ever read."""
        return os.fstat(self._first).st_nlink == 0

    def append(self, event: events.Event, *, barrier: bool = False) -> None:
        """Write one event, and see it on disk if it is a barrier.

        Raises:
            OSError: it could not be written; the journal is as it was before.
        """
        line = events.encode(event)
        if self._size + len(line) > SEGMENT_BYTES:
            self._rotate()
        _write(self._file, line, self._size)
        self._size += len(line)
        if barrier:
            os.fsync(self._file)

    def close(self) -> None:
        """Let go of the files and with them of the lock."""
        for file in {self._file, self._first}:
            os.close(file)

    def _rotate(self) -> None:
        """Begin the next segment. The first one stays open: its lock says that this writer lives."""
        full, self._file = self._file, self._open_segment()
        os.fsync(full)
        if full != self._first:
            os.close(full)

    def _open_segment(self) -> int:
        """The next segment, begun with its header; one that has no room for that is removed again."""
        path = self.folder / f"{self._number + 1:06d}.jnl"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        try:
            header = self._header(lock(file) if self._number == 0 else True)
            _write(file, header, 0)
            os.fsync(file)
        except OSError:
            os.close(file)
            path.unlink()
            raise
        self._number, self._size = self._number + 1, len(header)
        return file

    def _header(self, locked: bool) -> bytes:
        said = {"op": "header", "schema": events.SCHEMA, "writer": self.folder.name, "flock": locked}
        return events.encode({**said, **identity()})


def _write(file: int, line: bytes, size: int) -> None:
    """Append the whole line to a file of this size, or nothing: half a line would spoil the ones after it."""
    if os.write(file, line) != len(line):
        os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, "no space left for a whole line")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot, and only power loss is at stake
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
