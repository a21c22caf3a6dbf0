"""What ties a tracker to its run dir: the journal it writes to, and the delivery that it looks after."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from nertrail.tracking.boundary import quietly
from nertrail.tracking.destination import resolve
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.launcher import Launcher, mode
from nertrail.tracking.receipt import Receipt, is_delivered, receipt_of, write_receipt
from nertrail.tracking.segments import ends
from nertrail.tracking.state import UNWILLING, load_health, load_progress

FLUSH_SECONDS = 10.0
_INTERRUPTED_SECONDS = 1.0
_GLANCE_SECONDS = 0.05
_links: weakref.WeakValueDictionary[tuple[Path, str], Link] = weakref.WeakValueDictionary()
_journals: weakref.WeakValueDictionary[Path, JournalBackend] = weakref.WeakValueDictionary()
_opening = threading.Lock()
_parent: int | None = None  # of a forked child


class Link:
    """A run dir and the place it is delivered to. All trackers of a process share it, as they share the journal."""

    def __init__(self, run_dir: Path, uri: str, linger_s: float) -> None:
        self.run_dir = run_dir
        self.backend = _journals.get(run_dir) or JournalBackend(run_dir)
        _journals[run_dir] = self.backend
        self.launcher = Launcher(run_dir, uri, linger_s)  # after the journal's header is on disk
        self._owner = os.getpid()
        self.backend.watchers.append(weakref.WeakMethod(self.launcher.look))
        atexit.register(_leave, weakref.ref(self))

    @classmethod
    def open(cls, run_dir: str | Path, tracking_uri: str | None, linger_s: float) -> Link:
        """The link of this process to the run dir and destination, made at the first call."""
        key = (Path(run_dir).absolute(), resolve(tracking_uri))
        with _opening:
            link = _links.get(key) or cls(*key, linger_s)
            _links[key] = link
        link.look()
        return link

    def look(self) -> None:
        """Start the uploader if none lives, and warn of an outage."""
        if not self._is_cared_for():
            self.launcher.look()

    def run_id(self, uid: str) -> str | None:
        """The server's id of a run that is delivered."""
        run = load_progress(self.launcher.folder).runs.get(uid)
        return run.run_id or None if run else None

    def flush(self, timeout: float | None) -> Receipt:
        """Wait for delivery of what is written by now, and write tracking.json."""
        _deliver(self.launcher, FLUSH_SECONDS if timeout is None else timeout, self.look)
        receipt = receipt_of(self.run_dir, self.launcher.folder, self.backend.note_unwritten())
        with contextlib.suppress(OSError):  # a folder that cannot be written is reported by the journal
            write_receipt(self.run_dir, receipt)
        return receipt

    def enter(self, user: object) -> None:
        """Use the journal, whoever else does: trackers of a run dir share it, also those of another server."""
        self.backend.users.add(user)

    def close(self, user: object) -> None:
        """Let go of the journal with the last one that uses it."""
        self.backend.users.discard(user)
        if not self.backend.users:
            self.backend.close()

    def leave(self) -> None:
        """At the end of the program: give delivery the time that a direct connection would have taken.

        Not in a forked child that has recorded nothing, or whose parent delivers.
        """
        if self._is_inherited() and not self.backend.used:
            return
        if mode() == "off" or is_delivered(self.run_dir, self.launcher.folder) or self._is_cared_for():
            return
        self.flush(_INTERRUPTED_SECONDS if self._is_interrupted() else FLUSH_SECONDS)

    def _is_inherited(self) -> bool:
        return os.getpid() != self._owner

    def _is_cared_for(self) -> bool:
        """Whether we are forked from a process that lives and sees to delivery: it also warns, once for all of us."""
        if not self._is_inherited() or not _parent_lives():
            return False
        return self.launcher.lives() or load_health(self.launcher.folder).state in ("starting", "unable")

    def _is_interrupted(self) -> bool:
        """Whether somebody wants the program to end now: a run was stopped, or Ctrl-C was not caught."""
        return self.backend.interrupted or getattr(sys, "last_type", None) is KeyboardInterrupt


def deliver_left(run_dir: str | Path, tracking_uri: str | None, timeout: float, linger_s: float) -> Receipt:
    """Deliver what earlier programs left in a run dir, as `flush` would, without recording anything."""
    path = Path(run_dir).absolute()
    if not (path / "journal").is_dir():
        return Receipt()
    launcher = Launcher(path, resolve(tracking_uri), linger_s)
    if not is_delivered(path, launcher.folder):
        _deliver(launcher, timeout, launcher.look)
    receipt = receipt_of(path, launcher.folder)
    with contextlib.suppress(OSError):
        write_receipt(path, receipt)
    return receipt


def _deliver(launcher: Launcher, timeout: float, look: Callable[[], None]) -> None:
    if mode() == "inline":
        from nertrail.tracking.uploader import sync

        sync(launcher.run_dir, launcher.uri)
    elif mode() == "process":
        look()
        _wait(launcher, timeout)
        look()


def _wait(launcher: Launcher, timeout: float) -> None:
    """Not for what others write meanwhile, and not for an uploader that cannot live."""
    marks, folder = ends(launcher.run_dir / "journal"), launcher.folder
    deadline = time.monotonic() + timeout
    while not is_delivered(launcher.run_dir, folder, marks) and time.monotonic() < deadline:
        state = load_health(folder).state
        if state in UNWILLING or not (launcher.lives() or (state == "starting" and _parent_lives())):
            return
        time.sleep(_GLANCE_SECONDS)


def _leave(reference: weakref.ref[Link]) -> None:
    link = reference()
    if link is not None and link.run_dir.exists():
        link.backend.note_unwritten()
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C once more: no traceback for not waiting
            quietly(link.leave)


def _parent_lives() -> bool:
    """Whether this is a forked child whose parent is still there."""
    return _parent is not None and os.getppid() == _parent


def _forked() -> None:
    """In a forked child: another thread of the parent may have held the lock."""
    global _opening, _parent
    _opening, _parent = threading.Lock(), os.getppid()


os.register_at_fork(after_in_child=_forked)
