"""Dies at any place where a process that delivers changes the world: a file, a rename, a transaction, a request.

The places are not listed by hand. Files are seen by an audit hook of the interpreter, transactions by SQLAlchemy,
requests below the `requests` library; each of the latter two is a place before it and one after it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests.adapters
import sqlalchemy.event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

_FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
_WRITES = ("INSERT", "UPDATE", "DELETE")


class Crash(BaseException):
    """The process is dead. No `except Exception` sees it."""


class Crashes:
    """Counts places while `watching`, and crashes at the one that is told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._folder, self._at = "", 0
        self._active = self._dirty = False

    @contextlib.contextmanager
    def watching(self, folder: Path, at: int = 0) -> Iterator[None]:
        """Crash at the `at`-th place below `folder`, counted from 1; 0: only count."""
        self.seen, self._folder, self._at = [], str(folder), at
        self._active, self._dirty = True, False
        try:
            yield
        finally:
            self._active = False

    def place(self, what: str) -> None:
        if self._active:
            self.seen.append(what)
            if len(self.seen) == self._at:
                self._active = False
                raise Crash(f"place {self._at}: {what}")

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._active and (event in _FILE_EVENTS or (event == "open" and _writes(*arguments[1:3]))):
            path = str(arguments[0])
            if path.startswith(self._folder):
                self.place(f"{event} {Path(path).name}")

    def statement(self, statement: str) -> None:
        self._dirty = self._dirty or statement.lstrip().upper().startswith(_WRITES)

    def before_commit(self) -> None:
        if self._dirty:
            self.place("before commit")

    def after_commit(self) -> None:
        if self._dirty:
            self._dirty = False
            self.place("after commit")


def _writes(mode: str | None, flags: int | None) -> bool:
    return any(letter in mode for letter in "wax+") if mode else bool((flags or 0) & 0b11)


crashes = Crashes()
sys.addaudithook(lambda event, arguments: crashes.audit(event, arguments))
sqlalchemy.event.listen(Engine, "before_cursor_execute", lambda c, cursor, text, *rest: crashes.statement(text))
sqlalchemy.event.listen(Engine, "commit", lambda connection: crashes.before_commit())
sqlalchemy.event.listen(Session, "after_commit", lambda session: crashes.after_commit())
_send = requests.adapters.HTTPAdapter.send


def _send_or_crash(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    what = f"{request.method} {str(request.url).rsplit('/mlflow', 1)[-1]}"
    crashes.place(f"before {what}")
    response = _send(self, request, *args, **kwargs)
    crashes.place(f"after {what}")
    return response


requests.adapters.HTTPAdapter.send = _send_or_crash  # type: ignore[method-assign]
