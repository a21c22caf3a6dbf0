"""Delivers a run dir for as long as somebody writes, as a process of its own.

The process is `python -m nertrail.tracking.uploader --follow RUN_DIR`. It is started by `launcher.py`, finds the
tracking URI in MLFLOW_TRACKING_URI, says how it is in journal/.state/<destination>/health.json, and exits when nobody
writes any more and all is delivered, or `linger` seconds after the last writer, or when its run dir is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from nertrail.tracking.carrier import Uploader
from nertrail.tracking.destination import resolve, state_folder
from nertrail.tracking.liveness import held
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_client import short_tries
from nertrail.tracking.protocol import Destination
from nertrail.tracking.redaction import environment_secrets, redact
from nertrail.tracking.state import load_health
from nertrail.tracking.sync import status, sync

__all__ = ["Uploader", "follow", "main", "status", "sync"]
INTERVAL_SECONDS = 1.0
_LOCK_SECONDS = 2.0


def follow(run_dir: Path, uri: str, linger_s: float, stop: threading.Event, backend: Destination | None = None) -> None:
    """Deliver for as long as somebody writes, and a little longer; not into a run dir that was removed."""
    folder = state_folder(run_dir, uri)
    if not folder.is_dir():
        return
    with _eventually_held(folder / "lock") as mine:
        if mine:
            uploader = Uploader(run_dir, folder, backend or MlflowBackend(uri, overflow=folder / "overflow"))
            with _unless_removed(folder):
                uploader.say("starting")
                _follow(uploader, linger_s, stop)
                uploader.say("stopped", load_health(folder).error)


@contextlib.contextmanager
def _unless_removed(folder: Path) -> Iterator[None]:
    """The body meets files that are not there once somebody removes the run dir: then nothing is left to do."""
    try:
        yield
    except FileNotFoundError:
        if folder.is_dir():
            raise


def _follow(uploader: Uploader, linger_s: float, stop: threading.Event) -> None:
    last_watched = time.monotonic()
    while not stop.is_set() and uploader.folder.is_dir():
        done = uploader.step(stop.is_set)
        if uploader.watched:
            last_watched = time.monotonic()
        elif done or time.monotonic() - last_watched > linger_s:
            return
        stop.wait(INTERVAL_SECONDS)


@contextlib.contextmanager
def _eventually_held(lock: Path) -> Iterator[bool]:
    """The lock, waited for a moment: writers that look whether it is held hold it themselves while they look."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        with held(lock) as mine:
            if mine or time.monotonic() > deadline:
                yield mine
                return
        time.sleep(0.05)


class _Clean(io.TextIOBase):
    """Passes whole lines on, without secrets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._rest, self._lock = stream, "", threading.RLock()

    def write(self, text: str) -> int:
        """Keep what is no whole line yet: a secret may be half written."""
        with self._lock:
            lines, end, self._rest = (self._rest + text).rpartition("\n")
            if end:
                self._stream.write(redact(lines, environment_secrets()) + end)
        return len(text)

    def flush(self) -> None:
        """What was passed on is flushed."""
        with self._lock:
            self._stream.flush()


def _log_clean() -> None:
    """Whatever is printed goes to uploader.log through `_Clean`: mlflow, which logs past our handlers, warnings,
    threads that fail, and the failure of the process itself.
    """
    sys.stdout = sys.stderr = _Clean(sys.stderr)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.excepthook = lambda *error: logging.critical("the uploader failed", exc_info=error)


def main(argv: list[str] | None = None) -> int:
    """The uploader process."""
    parser = argparse.ArgumentParser(prog="nertrail.tracking.uploader")
    parser.add_argument("--follow", type=Path, required=True, metavar="RUN_DIR")
    parser.add_argument("--linger", type=float, default=30.0, metavar="SECONDS")
    arguments = parser.parse_args(argv)
    _log_clean()
    stop = threading.Event()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it outlives the terminal
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    os.nice(10)
    with short_tries():
        follow(arguments.follow, resolve(None), arguments.linger, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
