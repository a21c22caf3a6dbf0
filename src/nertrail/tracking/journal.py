"""The durable log of events: writing to it is all that a stage ever does for tracking.

<run dir>/journal/<writer>/000001.jnl    one writer per process, held locked while the process lives
<run dir>/journal/blobs/<sha256>         what was logged as an artifact
<run dir>/journal/.state/<destination>/  how far it is delivered, see `state.py`
"""

from __future__ import annotations

import errno
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nertrail.records import RunRecord
from nertrail.tracking import blobs, events
from nertrail.tracking.boundary import quietly
from nertrail.tracking.liveness import identity, lock
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.redaction import environment_secrets, redact_record, redact_values

SEGMENT_BYTES = 4_000_000
WATCH_SECONDS = 3.0


class Writer:
    """One process's segments. What `append` has returned from survives the process; a barrier survives the machine."""

    def __init__(self, journal: Path) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.folder = journal / f"{stamp}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir(parents=True)
        self._number, self._size = 0, 0
        self._first = self._file = self._open_segment()
        _sync_folder(self.folder)
        _sync_folder(journal)

    def append(self, event: events.Event, *, barrier: bool = False) -> None:
        """Write one event, and see it on disk if it is a barrier.

        Raises:
            OSError: it could not be written; the journal is as it was before.
        """
        line = events.encode(event)
        if self._size + len(line) > SEGMENT_BYTES:
            self._rotate()
        self._write(line)
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
        path = self.folder / f"{self._number + 1:06d}.jnl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._number, self._size = self._number + 1, 0
        locked = lock(self._file) if self._number == 1 else True
        header = {"op": "header", "schema": events.SCHEMA, "writer": self.folder.name, "flock": locked, **identity()}
        self._write(events.encode(header))
        os.fsync(self._file)
        return self._file

    def _write(self, line: bytes) -> None:
        written = os.write(self._file, line)
        if written != len(line):  # a full disk: half a line would spoil the ones after it
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, "no space left for the journal", str(self.folder))
        self._size += written


class JournalBackend:
    """Writes what a tracker is told to the run dir. Threads may share it; a forked child goes on in its own file."""

    def __init__(self, run_dir: Path) -> None:
        self.journal = run_dir / "journal"
        self.dropped = 0
        self.watchers: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._writer: Writer | None = Writer(self.journal)
        self._next_watch = time.monotonic() + WATCH_SECONDS
        _backends.add(self)

    def start(self, run: RunStart) -> None:
        """Open a run, or open it again."""
        tags = redact_values(run.tags, environment_secrets())
        self._append(events.start_event(RunStart(run.uid, run.name, run.experiment, run.start_ms, tags)), barrier=True)

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        """Add a record. An artifact that cannot be read is reported and does not take the others with it."""
        record = redact_record(record)
        kept = [quietly(blobs.store, self.journal / "blobs", artifact) for artifact in record.artifacts]
        self.dropped += kept.count(None)
        described = [entry for entry in kept if entry is not None]
        self._append(events.log_event(uid, record, described, at_ms), barrier=bool(described))

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        """Add values of metrics."""
        self._append(events.metrics_event(uid, points))

    def end(self, uid: str, status: str, at_ms: int) -> None:
        """Close a run."""
        self._append(events.end_event(uid, status, at_ms), barrier=True)

    def close(self) -> None:
        """Let go of the journal; a later event begins a new writer."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            self._writer = None

    def forget(self) -> None:
        """In a forked child: the parent's lock must die with the parent, so its files are closed here."""
        self._lock = threading.Lock()
        self.watchers.clear()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _append(self, event: events.Event, *, barrier: bool = False) -> None:
        with self._lock:
            try:
                if self._writer is None:
                    self._writer = Writer(self.journal)
                self._writer.append(event, barrier=barrier)
            except (OSError, ValueError, TypeError):
                self.dropped += 1
                raise
        if time.monotonic() > self._next_watch:
            self.watch()

    def watch(self) -> None:
        """Look after delivery, as is done every few seconds while events come."""
        self._next_watch = time.monotonic() + WATCH_SECONDS
        for reference in self.watchers:
            watcher = reference()
            if watcher is not None:
                watcher()

    def __del__(self) -> None:
        quietly(self.close)


_backends: weakref.WeakSet[JournalBackend] = weakref.WeakSet()


def _forget_all() -> None:
    for backend in list(_backends):
        backend.forget()


os.register_at_fork(after_in_child=_forget_all)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
