"""Delivers a run dir once, as `nertrail sync` does, or tells what would be delivered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nertrail.tracking.carrier import Uploader
from nertrail.tracking.destination import name_destination, named_destinations, resolve, state_folder
from nertrail.tracking.liveness import held, holder
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_client import short_tries
from nertrail.tracking.protocol import Destination
from nertrail.tracking.receipt import Receipt, is_delivered, receipt_of, write_receipt
from nertrail.tracking.rows import RunRow, run_rows
from nertrail.tracking.segments import ends
from nertrail.tracking.state import UNWILLING, begin_again, begin_round, load_health, load_progress

Progress = Callable[[int, int], None]  # bytes of the journal that are acknowledged, and all of them
_GLANCE_SECONDS = 0.1


@dataclass(frozen=True)
class _Task:
    """One run dir, one destination."""

    run_dir: Path
    uri: str
    backend: Destination | None
    tell: Progress
    prepare: Callable[[Path], None] | None  # has more delivered than is pending

    @property
    def folder(self) -> Path:
        return state_folder(self.run_dir, self.uri)

    def receipt(self) -> Receipt:
        return receipt_of(self.run_dir, self.folder)

    def report(self) -> bool:
        """Tell how far it is. As a condition to stop delivery: never."""
        marks, reached = ends(self.run_dir / "journal"), load_progress(self.folder).offsets
        self.tell(sum(min(reached.get(name, 0), end) for name, end in marks.items()), sum(marks.values()))
        return False


def sync(
    run_dir: str | Path,
    to: str | None = None,
    on_progress: Progress | None = None,
    *,
    backend: Destination | None = None,
    retry_rejected: bool = False,
    again: bool = False,
) -> Receipt:
    """Deliver what a run dir holds, and say what is delivered. However often it is called, nothing comes twice.

    Where another process delivers to the same place already, this one waits for it and goes on behind it.

    Args:
        to: a tracking URI; default every one that the run dir was recorded for, else as for the trackers.
        on_progress: called again and again with the bytes of the journal that are acknowledged, and all of them.
        backend: deliver to this one instead, under the name `to`.
        retry_rejected: try once more what the server refused, or failed at, in earlier deliveries.
        again: deliver everything once more, from the first record on; for a server that was made anew.
    """
    path = Path(run_dir).absolute()
    uris = [resolve(to)] if backend else destinations(path, to)
    prepare = begin_again if again else begin_round if retry_rejected else None
    receipts = [_deliver(_Task(path, uri, backend, on_progress or _silent, prepare)) for uri in uris]
    return write_receipt(path, sum(receipts[1:], receipts[0]))


def destinations(run_dir: str | Path, to: str | None = None) -> list[str]:
    """The tracking URIs that `sync` would deliver to."""
    return [resolve(to)] if to else named_destinations(Path(run_dir).absolute()) or [resolve(None)]


def status(run_dir: str | Path, to: str | None = None) -> dict[str, list[RunRow]]:
    """The runs of a run dir by destination. Reads files only; imports no mlflow and asks no server."""
    path = Path(run_dir).absolute()
    return {uri: run_rows(path, state_folder(path, uri)) for uri in destinations(path, to)}


def outlook(run_dir: str | Path, to: str | None = None) -> Receipt:
    """The receipt as it stands, without delivering anything."""
    path = Path(run_dir).absolute()
    receipts = [receipt_of(path, state_folder(path, uri)) for uri in destinations(path, to)]
    return sum(receipts[1:], receipts[0])


def _silent(_done: int, _total: int) -> None:
    """Nobody wants to know."""


def _deliver(task: _Task) -> Receipt:
    name_destination(task.run_dir, task.uri)
    task.report()
    while not _try(task):
        if not _is_worth_waiting(task):
            return _held_up(task)
        task.report()
        time.sleep(_GLANCE_SECONDS)
    task.report()
    return task.receipt()


def _try(task: _Task) -> bool:
    """Deliver, unless another process does."""
    with held(task.folder / "lock") as mine, short_tries():
        if mine:
            if task.prepare:
                task.prepare(task.folder)
            backend = task.backend or MlflowBackend(task.uri, overflow=task.folder / "overflow")
            uploader = Uploader(task.run_dir, task.folder, backend)
            while not (done := uploader.step(task.report)) and uploader.retrying:
                time.sleep(_GLANCE_SECONDS)
            if done:
                uploader.say("stopped")
        return mine or (task.prepare is None and is_delivered(task.run_dir, task.folder))


def _is_worth_waiting(task: _Task) -> bool:
    return load_health(task.folder).state not in UNWILLING


def _held_up(task: _Task) -> Receipt:
    owner = holder(task.folder / "lock") or {}
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')} delivers this run dir and is waiting itself"
    receipt = task.receipt()
    return replace(receipt, why="; ".join(text for text in (receipt.why, who) if text))
