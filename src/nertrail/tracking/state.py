"""How far a journal is delivered to one destination. Only the uploader that holds the lock writes it.

Losing it loses nothing: delivery begins again from the first event, and every step of it can be repeated.
"""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from nertrail.records import read_json, write_json
from nertrail.tracking.protocol import RUNNING

_REJECTED = "rejected.jsonl"


@dataclass
class RunState:
    """What is known of one run at the destination."""

    run_id: str = ""
    name: str = ""
    stage: str = ""
    status: str = RUNNING
    last_ms: int = 0
    events: int = 0
    writers: list[str] = field(default_factory=list)


@dataclass
class Parked:
    """A value that is held back until the runs that it names exist at the destination."""

    run: str
    kind: str  # params or tags
    key: str
    uids: list[str]
    at_ms: int


@dataclass
class Progress:
    """The content of state.json. `offsets` and `damage` are by "<writer>/<segment>"."""

    offsets: dict[str, int] = field(default_factory=dict)
    damage: dict[str, str] = field(default_factory=dict)
    runs: dict[str, RunState] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    delivered: int = 0
    rejected: int = 0
    lost: int = 0


UNWILLING = ("waiting", "unable")  # states of health in which waiting for delivery is no use


@dataclass(frozen=True)
class Health:
    """What the uploader says of itself. `outage` counts the times that the server went away."""

    state: str = "stopped"  # starting, delivering, waiting (for the server), stopped, unable
    error: str = ""
    outage: int = 0
    pid: int = 0
    at: float = 0.0


def load_progress(folder: Path) -> Progress:
    """The progress kept in this folder, a new one where there is none or it cannot be read."""
    content = _read(folder / "state.json")
    runs = {uid: RunState(**run) for uid, run in content.pop("runs", {}).items()}
    parked = [Parked(**entry) for entry in content.pop("parked", [])]
    return Progress(runs=runs, parked=parked, **content)


def save_progress(folder: Path, progress: Progress) -> None:
    """Replace the kept progress."""
    _replace(folder / "state.json", asdict(progress))


def load_health(folder: Path) -> Health:
    """What the uploader said last."""
    return Health(**_read(folder / "health.json"))


def save_health(folder: Path, health: Health) -> None:
    """Say it, with the time."""
    _replace(folder / "health.json", {**asdict(health), "at": time.time()})


def add_rejected(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Keep what the server refused, so that a person can look at it."""
    with (folder / _REJECTED).open("ab+") as file:
        if file.tell() and _last_byte(file) != b"\n":
            file.write(b"\n")  # the last line was torn when its writer was killed: it shall not spoil the next
        file.write(b"".join(json.dumps(entry, default=str).encode() + b"\n" for entry in entries))


def load_rejected(folder: Path) -> list[dict[str, Any]]:
    """What the server refused: {"at", "place", "why", "event"}, each once.

    An uploader that is killed between keeping a refusal and noting that it did keeps it again.
    """
    path = folder / _REJECTED
    lines = path.read_bytes().splitlines() if path.exists() else []
    entries = [entry for line in lines if (entry := _entry(line))]
    return list({json.dumps((entry.get("place"), entry["event"])): entry for entry in entries}.values())


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry


def _last_byte(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _replace(path: Path, value: Any) -> None:
    """Only below a run dir that is there: one that was removed shall not come back."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the run dir was removed", str(path.parent))
    write_json(path, value)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(path)
    except (OSError, ValueError):
        return {}
    return content
