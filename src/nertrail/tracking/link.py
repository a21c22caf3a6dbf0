"""What ties a tracker to its run dir: the journal it writes to, and the delivery that it looks after."""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from pathlib import Path

from nertrail.tracking.boundary import quietly
from nertrail.tracking.destination import resolve
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.launcher import Launcher, mode
from nertrail.tracking.receipt import Receipt, is_delivered, receipt_of, write_receipt
from nertrail.tracking.state import load_progress

FLUSH_SECONDS = 10.0
_INTERRUPTED_SECONDS = 1.0
_links: weakref.WeakValueDictionary[tuple[Path, str], Link] = weakref.WeakValueDictionary()
_journals: weakref.WeakValueDictionary[Path, JournalBackend] = weakref.WeakValueDictionary()
_opening = threading.Lock()


class Link:
    """A run dir and the place it is delivered to. All trackers of a process share it, as they share the journal."""

    def __init__(self, run_dir: Path, uri: str, linger_s: float) -> None:
        self.run_dir = run_dir
        self.backend = _journals.get(run_dir) or JournalBackend(run_dir)
        _journals[run_dir] = self.backend
        self.launcher = Launcher(run_dir, uri, linger_s)
        self._users = 0
        self.backend.watchers.append(weakref.WeakMethod(self.launcher.look))
        atexit.register(_leave, weakref.ref(self))

    @classmethod
    def open(cls, run_dir: str | Path, tracking_uri: str | None, linger_s: float) -> Link:
        """The link of this process to the run dir and destination, made at the first call."""
        key = (Path(run_dir).absolute(), resolve(tracking_uri))
        with _opening:
            link = _links.get(key) or cls(*key, linger_s)
            _links[key] = link
            link._users += 1
        link.launcher.look()
        return link

    def run_id(self, uid: str) -> str | None:
        """The server's id of a run that is delivered."""
        run = load_progress(self.launcher.folder).runs.get(uid)
        return run.run_id or None if run else None

    def flush(self, timeout: float | None) -> Receipt:
        """Wait for delivery and write tracking.json."""
        from nertrail.tracking.uploader import sync, wait_delivered

        if mode() == "inline":
            return sync(self.run_dir, self.launcher.uri)
        if mode() == "process":
            self.launcher.look()
            wait_delivered(self.run_dir, self.launcher.folder, FLUSH_SECONDS if timeout is None else timeout)
            self.launcher.look()
        return write_receipt(self.run_dir, receipt_of(self.run_dir, self.launcher.folder, self.backend.dropped))

    def close(self) -> None:
        """Let go of the journal with the last tracker that uses it."""
        self._users -= 1
        if self._users <= 0:
            self.backend.close()

    def leave(self) -> None:
        """At the end of the program: give delivery the time that a direct connection would have taken."""
        if mode() == "off" or is_delivered(self.run_dir, self.launcher.folder):
            return
        interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
        self.flush(_INTERRUPTED_SECONDS if interrupted else FLUSH_SECONDS)


def _leave(reference: weakref.ref[Link]) -> None:
    link = reference()
    if link is not None and link.run_dir.exists():
        quietly(link.leave)
