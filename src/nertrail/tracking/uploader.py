"""Delivers a run dir: once, as `nertrail sync` does, or for as long as somebody writes, as a process of its own.

The process is `python -m nertrail.tracking.uploader --follow RUN_DIR`. It is started by `launcher.py`, finds the
tracking URI in MLFLOW_TRACKING_URI, says how it is in journal/.state/<destination>/health.json, and exits when nobody
writes any more and all is delivered, or `linger` seconds after the last writer, or when its run dir is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nertrail.tracking.breaker import Breaker
from nertrail.tracking.delivery import Delivery
from nertrail.tracking.destination import name_destination, named_destinations, resolve, state_folder
from nertrail.tracking.liveness import held
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_client import client_environment
from nertrail.tracking.protocol import Destination, Unreachable
from nertrail.tracking.receipt import Receipt, RunRow, is_delivered, receipt_of, run_rows, write_receipt
from nertrail.tracking.redaction import redact
from nertrail.tracking.state import Health, load_health, load_progress, save_health

INTERVAL_SECONDS = 1.0
_LOCK_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Uploader:
    """Delivers one run dir to one destination. Whoever makes one holds the destination's lock."""

    def __init__(self, run_dir: Path, folder: Path, destination: Destination) -> None:
        self.run_dir, self.folder = run_dir, folder
        self._breaker = Breaker()
        self._outage = load_health(folder).outage
        self._healthy = True
        self._delivery = Delivery(run_dir / "journal", destination, folder, load_progress(folder))

    @property
    def watched(self) -> bool:
        """Whether some writer lived at the last look."""
        return bool(self._delivery.living)

    def step(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Deliver what is there, unless it is too early to try again. True if all of it is delivered."""
        if self._breaker.is_open():
            return False
        delivered = self._delivery.progress.delivered
        try:
            self._delivery.drain(stop)
        except Unreachable as error:
            self._fail(error, progress=self._delivery.progress.delivered > delivered)
            return False
        self._breaker.worked()
        self._healthy = True
        self.say("delivering")
        return True

    def say(self, state: str, error: str = "") -> None:
        """Publish how it is, for the writers' WARNING and for `nertrail status`."""
        save_health(self.folder, Health(state, redact(error), self._outage, os.getpid()))

    def _fail(self, error: Unreachable, *, progress: bool) -> None:
        """The first failure after a success is an outage; those after it belong to the same."""
        self._breaker.failed(error.retry_after, progress=progress)
        self._outage += self._healthy
        self._healthy = False
        _log.warning("cannot deliver: %s", redact(str(error)))
        self.say("waiting", str(error))


def sync(
    run_dir: str | Path,
    to: str | None = None,
    on_progress: Callable[[Receipt], None] | None = None,
    *,
    backend: Destination | None = None,
) -> Receipt:
    """Deliver what a run dir holds, and say what is delivered. However often it is called, nothing comes twice.

    Args:
        to: a tracking URI; default every one that the run dir was recorded for, else as for the trackers.
        on_progress: called with the receipt before and after each destination.
        backend: deliver to this one instead, under the name `to`.
    """
    path = Path(run_dir).absolute()
    uris = [resolve(to)] if to or backend else named_destinations(path) or [resolve(None)]
    receipts = [_sync_one(path, uri, backend, on_progress or _silent) for uri in uris]
    return write_receipt(path, sum(receipts[1:], receipts[0]))


def _silent(receipt: Receipt) -> None:
    """Nobody wants to know."""


def _sync_one(run_dir: Path, uri: str, backend: Destination | None, tell: Callable[[Receipt], None]) -> Receipt:
    folder = state_folder(run_dir, uri)
    name_destination(run_dir, uri)
    tell(receipt_of(run_dir, folder))
    with held(folder / "lock") as mine, _short_tries():
        if mine:
            uploader = Uploader(run_dir, folder, backend or MlflowBackend(uri, overflow=folder / "overflow"))
            if uploader.step():
                uploader.say("stopped")
        else:
            wait_delivered(run_dir, folder, timeout=60.0)
    receipt = receipt_of(run_dir, folder)
    tell(receipt)
    return receipt


def status(run_dir: str | Path, to: str | None = None) -> dict[str, list[RunRow]]:
    """The runs of a run dir by destination. Reads files only; imports no mlflow and asks no server."""
    path = Path(run_dir).absolute()
    uris = [resolve(to)] if to else named_destinations(path) or [resolve(None)]
    return {uri: run_rows(path, state_folder(path, uri)) for uri in uris}


def wait_delivered(run_dir: Path, folder: Path, timeout: float) -> bool:
    """Wait until another process has delivered everything; not while it says that it cannot."""
    deadline = time.monotonic() + timeout
    while not (done := is_delivered(run_dir, folder)) and time.monotonic() < deadline:
        if load_health(folder).state in ("waiting", "unable"):
            break
        time.sleep(0.05)
    return done


def follow(run_dir: Path, uri: str, linger_s: float, stop: threading.Event, backend: Destination | None = None) -> None:
    """Deliver for as long as somebody writes, and a little longer."""
    folder = state_folder(run_dir, uri)
    with _eventually_held(folder / "lock") as mine:
        if mine:
            uploader = Uploader(run_dir, folder, backend or MlflowBackend(uri, overflow=folder / "overflow"))
            uploader.say("starting")
            _follow(uploader, linger_s, stop)
            if folder.exists():
                uploader.say("stopped", load_health(folder).error)


def _follow(uploader: Uploader, linger_s: float, stop: threading.Event) -> None:
    last_watched = time.monotonic()
    while not stop.is_set() and uploader.folder.exists():
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


@contextlib.contextmanager
def _short_tries() -> Iterator[None]:
    """MLflow's retries are settings of the process: short ones for the body, the caller's own again behind it."""
    wanted = client_environment()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def main(argv: list[str] | None = None) -> int:
    """The uploader process."""
    parser = argparse.ArgumentParser(prog="nertrail.tracking.uploader")
    parser.add_argument("--follow", type=Path, required=True, metavar="RUN_DIR")
    parser.add_argument("--linger", type=float, default=30.0, metavar="SECONDS")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it outlives the terminal
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    os.nice(10)
    with _short_tries():
        follow(arguments.follow, resolve(None), arguments.linger, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
