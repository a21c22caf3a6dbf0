"""The durable log of events: writing to it is all that a stage ever does for tracking.

<run dir>/journal/<writer>/000001.jnl    one writer per process, held locked while the process lives
<run dir>/journal/blobs/<sha256>         what was logged as an artifact
<run dir>/journal/unwritten/<backend>    how many records could not be written
<run dir>/journal/.state/<destination>/  how far it is delivered, see `state.py`
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nertrail.errors import TrackingError
from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking import blobs, events
from nertrail.tracking.boundary import quietly
from nertrail.tracking.protocol import KILLED, PARENT_TAG, Point, RunStart
from nertrail.tracking.redaction import redact_point, redact_record, redact_start
from nertrail.tracking.writer import Writer

WATCH_SECONDS = 3.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_log = logging.getLogger(__name__)


class JournalBackend:
    """Writes what a tracker is told to the run dir. Threads may share it; a forked child goes on in its own file.

    Where the disk is full or the folder cannot be written, records are dropped and counted, and one WARNING is
    logged; every record tries again.
    """

    def __init__(self, run_dir: Path) -> None:
        self.journal = run_dir / "journal"
        self.watchers: list[weakref.WeakMethod[Callable[[], None]]] = []
        self.users: set[object] = set()
        self._writer: Writer | None = None
        self._next_watch = time.monotonic() + WATCH_SECONDS
        self._begin()
        with self._lock:
            self._try(self._current)  # its header is to be on disk before anybody delivers
        _backends.add(self)

    def start(self, run: RunStart) -> None:
        """Open a run, or open it again."""
        parent = run.tags.get(PARENT_TAG)
        self._open[run.uid] = parent.uid if isinstance(parent, RunRef) else ""
        self.interrupted = False
        self._append(lambda: events.start_event(redact_start(run)))

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        """Add a record. An artifact that cannot be read is reported and does not take the others with it."""
        self._append(lambda: self._log_event(uid, redact_record(record), at_ms))

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        """Add values of metrics."""
        self._append(lambda: events.metrics_event(uid, [redact_point(point) for point in points]))

    def end(self, uid: str, status: str, at_ms: int) -> None:
        """Close a run, and before it the runs below it that this process has left open."""
        self._end_below(uid, at_ms)
        self.interrupted = status == KILLED
        self._append(lambda: events.end_event(uid, status, at_ms))

    def lose(self) -> None:
        """Count a value that could not be recorded."""
        with self._lock:
            self.dropped += 1

    def close(self) -> None:
        """Let go of the journal; a later event begins a new writer."""
        self.note_unwritten()
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            self._writer = None

    def note_unwritten(self) -> int:
        """Note in the journal how many records could not be written; how many of them could not even be noted."""
        if self.dropped > self._noted:
            with self._lock:
                self._try(self._note)
        return self.dropped - self._noted

    def watch(self) -> None:
        """Look after delivery, as is done every few seconds while events come."""
        self._next_watch = time.monotonic() + WATCH_SECONDS
        for reference in self.watchers:
            watcher = reference()
            if watcher is not None:
                watcher()

    def forget(self) -> None:
        """In a forked child: the parent's lock must die with the parent, so its files are closed here."""
        self._begin()
        self.watchers.clear()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _begin(self) -> None:
        """What a process has of its own."""
        self._lock = threading.RLock()
        self._open: dict[str, str] = {}  # run → the run above it
        self._token = uuid.uuid4().hex
        self.dropped, self._noted = 0, 0
        self.used = False  # whether this process recorded anything
        self.interrupted = False  # the last runs were ended by a signal: nobody wants to wait for delivery
        self._failing = False

    def _end_below(self, uid: str, at_ms: int) -> None:
        self._open.pop(uid, None)
        for child, parent in list(self._open.items()):
            if parent == uid:
                self.end(child, KILLED, at_ms)

    def _log_event(self, uid: str, record: RunRecord, at_ms: int) -> events.Event:
        kept = [quietly(self._keep, artifact) for artifact in record.artifacts]
        described = [entry for entry in kept if entry]
        for _ in range(len(kept) - len(described)):
            self.lose()
        return events.log_event(uid, record, described, at_ms)

    def _append(self, build: Callable[[], events.Event]) -> None:
        """Write the event; what cannot even be built or encoded is told, and counted like all that is not written."""
        self.used = True
        event = quietly(build)
        with self._lock:
            if event is None or not quietly(self._try, self._append_one, event):
                self.dropped += 1
        if time.monotonic() > self._next_watch and not self._failing:
            self.watch()

    def _append_one(self, event: events.Event) -> None:
        if self._writer is not None and self._writer.removed:
            self._leave_removed(event)
        self._current().append(event, barrier=event["op"] in ("start", "end") or "artifacts" in event)
        self._failing = False

    def _leave_removed(self, event: events.Event) -> None:
        """A removed journal takes nothing more of the runs that it knew; a run that begins is worth a new one."""
        if event["op"] != "start":
            raise FileNotFoundError(errno.ENOENT, "it was removed")
        assert self._writer is not None
        self._writer.close()
        self._writer = None

    def _current(self) -> Writer:
        if self._writer is None:
            self._writer = Writer(self.journal)
        return self._writer

    def _keep(self, artifact: Artifact) -> dict[str, Any]:
        """The artifact's description; an empty one where there is no room for it."""
        try:
            return blobs.store(self.journal / "blobs", artifact)
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._complain(error)
                return {}
            raise TrackingError(f"artifact {artifact.name!r} cannot be kept: {error.strerror}") from error

    def _note(self) -> None:
        if self.journal.is_dir():
            (self.journal / "unwritten").mkdir(exist_ok=True)
            (self.journal / "unwritten" / self._token).write_text(str(self.dropped), encoding="utf-8")
            self._noted = self.dropped

    def _try(self, action: Callable[..., object], *args: object) -> bool:
        """Whether the file system let it happen."""
        try:
            action(*args)
        except OSError as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: OSError) -> None:
        """One WARNING until the journal can be written again."""
        if not self._failing:
            self._failing = True
            _log.warning(
                "the journal %s cannot be written (%s). The stage goes on; what it records is lost until it can, and "
                "is counted in tracking.json",
                self.journal,
                error.strerror or error,
            )

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():  # the interpreter's end closes files, and has taken our names away already
            quietly(self.close)


_backends: weakref.WeakSet[JournalBackend] = weakref.WeakSet()


def _forget_all() -> None:
    for backend in list(_backends):
        backend.forget()


os.register_at_fork(after_in_child=_forget_all)
