"""What became of the records of a run dir: as counts, and run by run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nertrail.records import write_json
from nertrail.tracking import segments
from nertrail.tracking.state import Progress, RunState, load_health, load_progress


@dataclass(frozen=True)
class Receipt:
    """Counts of records, one per call that logged something.

    `waiting` counts values that name runs which the server does not know; `why` says what keeps the pending ones and
    what became of the dropped ones, `command` delivers what is pending.
    """

    written: int = 0
    delivered: int = 0
    pending: int = 0
    dropped: int = 0
    waiting: int = 0
    why: str = ""
    command: str = ""

    @property
    def complete(self) -> bool:
        """Whether all that was written is delivered."""
        return self.pending == 0 and self.dropped == 0

    def __add__(self, other: Receipt) -> Receipt:
        """Both counted together, as for two destinations of one run dir."""
        return Receipt(
            self.written + other.written,
            self.delivered + other.delivered,
            self.pending + other.pending,
            self.dropped + other.dropped,
            self.waiting + other.waiting,
            "; ".join(dict.fromkeys(text for text in (self.why, other.why) if text)),
            self.command or other.command,
        )

    def to_json(self) -> dict[str, Any]:
        """As written to tracking.json."""
        return asdict(self)


@dataclass(frozen=True)
class RunRow:
    """What is known of one run: `events` delivered and `pending`, values `waiting` for another run's id."""

    uid: str
    name: str
    stage: str
    status: str
    run_id: str
    events: int
    pending: int
    waiting: int


def is_delivered(run_dir: Path, folder: Path) -> bool:
    """Whether every byte of the journal is acknowledged: cheap enough to be asked ten times a second."""
    offsets = load_progress(folder).offsets
    return all(
        segment.stat().st_size <= offsets.get(f"{writer.name}/{segment.name}", 0)
        for writer in segments.writers(run_dir / "journal")
        for segment in segments.segments(writer)
    )


def receipt_of(run_dir: Path, folder: Path, unwritten: int = 0) -> Receipt:
    """The receipt for one destination; `unwritten` are records that could not even be written to the journal."""
    progress, health = load_progress(folder), load_health(folder)
    pending = sum(_unread(run_dir, progress).values())
    dropped = progress.rejected + progress.lost + unwritten
    delivered = max(progress.delivered - progress.rejected, 0)
    reasons = (
        health.error if pending else "",
        f"{progress.rejected} refused by the server, see {folder / 'rejected.jsonl'}" if progress.rejected else "",
        f"{progress.lost} in damaged parts of the journal" if progress.lost else "",
        f"{unwritten} could not be written" if unwritten else "",
    )
    return Receipt(
        written=delivered + pending + dropped,
        delivered=delivered,
        pending=pending,
        dropped=dropped,
        waiting=len(progress.parked),
        why="; ".join(reason for reason in reasons if reason),
        command=f"nertrail sync {run_dir}" if pending else "",
    )


def write_receipt(run_dir: Path, receipt: Receipt) -> Receipt:
    """Write it to the run dir's tracking.json."""
    write_json(run_dir / "tracking.json", receipt.to_json())
    return receipt


def run_rows(run_dir: Path, folder: Path) -> list[RunRow]:
    """Every run of the journal in the order in which they began, delivered or not."""
    progress = load_progress(folder)
    pending: dict[str, int] = {}
    runs: dict[str, RunState] = {}
    for writer in segments.writers(run_dir / "journal"):
        for segment in segments.segments(writer):
            _count(segment, progress.offsets.get(f"{writer.name}/{segment.name}", 0), pending, runs)
    runs |= progress.runs
    waiting = [entry.run for entry in progress.parked]
    return [
        RunRow(uid, run.name, run.stage, run.status, run.run_id, run.events, pending.get(uid, 0), waiting.count(uid))
        for uid, run in runs.items()
    ]


def _count(segment: Path, acknowledged: int, pending: dict[str, int], runs: dict[str, RunState]) -> None:
    offset = 0
    while (chunk := segments.read(segment, offset, complete=True)).offset > offset:
        for event, end in chunk.events:
            if event["op"] == "start":
                runs.setdefault(
                    event["run"], RunState(name=event["name"], stage=event["tags"].get("pipeline.stage", ""))
                )
            elif event["op"] == "end" and event["run"] in runs:
                runs[event["run"]].status = event["status"]
            if end > acknowledged and event["op"] != "header":
                pending[event["run"]] = pending.get(event["run"], 0) + 1
        offset = chunk.offset


def _unread(run_dir: Path, progress: Progress) -> dict[str, int]:
    return {
        str(segment): segments.unread(segment, progress.offsets.get(f"{writer.name}/{segment.name}", 0))
        for writer in segments.writers(run_dir / "journal")
        for segment in segments.segments(writer)
    }
