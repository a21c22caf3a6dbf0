"""What became of the records of a run dir, as counts."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nertrail.records import write_json
from nertrail.tracking import segments
from nertrail.tracking.liveness import holder
from nertrail.tracking.state import Parked, Progress, count_held_up, count_rejected, load_health, load_progress


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


def is_delivered(run_dir: Path, folder: Path, marks: Mapping[str, int] | None = None) -> bool:
    """Whether the journal is acknowledged up to the marks, its present ends if none are given, no upload waits, and no
    value is held back whose target is there. Cheap enough to be asked ten times a second.
    """
    progress = load_progress(folder)
    marks = segments.ends(run_dir / "journal") if marks is None else marks
    reached = all(progress.offsets.get(name, 0) >= end for name, end in marks.items())
    return reached and not progress.uploads and not any(_can_be_sent(entry, progress) for entry in progress.parked)


def _can_be_sent(entry: Parked, progress: Progress) -> bool:
    return entry.run in progress.runs and all(uid in progress.runs for uid in entry.uids)


def receipt_of(run_dir: Path, folder: Path, unwritten: int = 0) -> Receipt:
    """The receipt for one destination; `unwritten` adds records that are not noted in the journal as unwritten."""
    progress, health, journal = load_progress(folder), load_health(folder), run_dir / "journal"
    held_up = count_held_up(folder, progress).total()
    pending = sum(_unread(run_dir, progress).values()) + held_up
    unwritten += segments.unwritten(journal)
    newer = segments.newer(journal) if pending else ""
    refused = count_rejected(folder, progress.round).total()
    missing = _missing(journal, progress)
    dropped = refused + progress.lost + len(missing) + unwritten  # what a missing segment held, nobody can count
    delivered = max(progress.delivered - refused - held_up, 0)
    again = f"nertrail sync {run_dir} --retry-rejected"
    reasons = (
        health.error if pending else "",
        "an uploader is at work on them" if pending and not health.error and holder(folder / "lock") else "",
        f"{newer} was written by a newer nertrail: deliver it with that one" if newer else "",
        f"{refused} refused by the server (why: {folder / 'rejected.jsonl'}; once more: {again})" if refused else "",
        f"{progress.lost} in damaged parts of the journal" if progress.lost else "",
        f"missing from the journal: {', '.join(missing)}" if missing else "",
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


def _missing(journal: Path, progress: Progress) -> list[str]:
    """The segments that are gone and were not delivered. Looked up each time: one that is put back is delivered."""
    reached = progress.offsets.keys() | progress.passed.keys()
    return [name for name in segments.missing(journal) if not _was_delivered(name, reached)]


def _was_delivered(name: str, reached: Set[str]) -> bool:
    """Whether delivery went on behind the segment, which it does once it has read all of it."""
    writer = f"{name.rpartition('/')[0]}/"
    return name in reached and any(other > name for other in reached if other.startswith(writer))


def _unread(run_dir: Path, progress: Progress) -> dict[str, int]:
    return {
        str(segment): segments.unread(segment, progress.offsets.get(f"{writer.name}/{segment.name}", 0))
        for writer in segments.writers(run_dir / "journal")
        for segment in segments.segments(writer)
    }
