"""What became of the records of a run dir, run by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nertrail.tracking import segments
from nertrail.tracking.events import Event
from nertrail.tracking.protocol import RUNNING, SUPERSEDED_TAG
from nertrail.tracking.state import count_held_up, count_rejected, load_progress


@dataclass(frozen=True)
class RunRow:
    """What is known of one run, in records: `written`, of these `delivered`, `pending` and `refused` by the server.

    `waiting` counts values that wait for another run's id. Of a `superseded` run the step was done again in another.
    """

    uid: str
    name: str
    stage: str
    status: str
    run_id: str
    written: int
    delivered: int
    pending: int
    refused: int
    waiting: int
    superseded: bool = False


@dataclass
class _Told:
    """What the journal tells of a run."""

    name: str = ""
    stage: str = ""
    status: str = RUNNING
    written: int = 0
    acknowledged: int = 0
    superseded: bool = False

    def take(self, event: Event, acknowledged: bool) -> None:
        self.written += 1
        self.acknowledged += acknowledged
        if event["op"] == "start":
            self.name, self.stage, self.status = event["name"], event["tags"].get("pipeline.stage", ""), RUNNING
        elif event["op"] == "end":
            self.status = event["status"]
        self.superseded |= SUPERSEDED_TAG in event.get("tags", {})


def run_rows(run_dir: Path, folder: Path) -> list[RunRow]:
    """Every run of the journal in the order in which they began, delivered or not."""
    progress = load_progress(folder)
    refused = count_rejected(folder, progress.round)
    held_up = count_held_up(folder, progress)
    waiting = Counter(entry.run for entry in progress.parked)
    rows = []
    for uid, told in _told(run_dir / "journal", progress.offsets).items():
        known = progress.runs.get(uid)
        unread = told.written - told.acknowledged
        status = told.status if unread or known is None else known.status  # the server may know it as KILLED
        arrived, pending = told.acknowledged - refused[uid] - held_up[uid], unread + held_up[uid]
        counts = (told.written, arrived, pending, refused[uid], waiting[uid])
        rows.append(RunRow(uid, told.name, told.stage, status, known.run_id if known else "", *counts, told.superseded))
    return rows


def journal_events(journal: Path) -> Iterator[tuple[Event, str, int]]:
    """Every event, with "<writer>/<segment>" and the offset behind it there."""
    for writer in segments.writers(journal):
        for segment in segments.segments(writer):
            offset = 0
            while (chunk := segments.read(segment, offset, complete=True)).offset > offset:
                found = (pair for pair in chunk.events if pair[0]["op"] != "header")
                yield from ((event, f"{writer.name}/{segment.name}", end) for event, end in found)
                offset = chunk.offset


def _told(journal: Path, offsets: dict[str, int]) -> dict[str, _Told]:
    runs: dict[str, _Told] = {}
    for event, name, end in journal_events(journal):
        runs.setdefault(event["run"], _Told()).take(event, end <= offsets.get(name, 0))
    return runs
