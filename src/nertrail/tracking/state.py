"""How far a journal is delivered to one destination. Only the uploader that holds the lock writes it.

Losing it loses nothing: delivery begins again from the first event, and every step of it can be repeated.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from nertrail.records import read_json, write_json
from nertrail.tracking.protocol import RUNNING, now_ms

_REJECTED = "rejected.jsonl"
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "list": (list,),
    "dict": (dict,),
}


@dataclass
class RunState:
    """What is known of one run at the destination."""

    run_id: str = ""
    name: str = ""
    stage: str = ""
    experiment: str = ""
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
class Upload:
    """An artifact, as the journal describes it, that waits for the store to take it. `place` is where it was logged."""

    run: str
    described: dict[str, Any]
    at_ms: int
    place: str
    failures: int = field(default=0, compare=False)


@dataclass
class Progress:
    """The content of state.json. `offsets`, `damage` and `passed` are by "<writer>/<segment>".

    `round` is when what was set aside was tried again, 0 as long as it was not. While that goes on, the runs in
    `again` are delivered from their first event on; of others, what lies before `passed` is there already.
    """

    offsets: dict[str, int] = field(default_factory=dict)
    damage: dict[str, str] = field(default_factory=dict)
    runs: dict[str, RunState] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    delivered: int = 0
    lost: int = 0
    round: int = 0
    again: list[str] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)


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
    try:
        return _progress(_read(folder / "state.json"))
    except (TypeError, AttributeError):
        return Progress()


def _progress(content: dict[str, Any]) -> Progress:
    """Raises TypeError or AttributeError where something in it is of another kind than it should be."""
    runs = {uid: RunState(**_known(RunState, run)) for uid, run in content.pop("runs", {}).items()}
    parked = [Parked(**_known(Parked, entry)) for entry in content.pop("parked", [])]
    uploads = [Upload(**_known(Upload, entry)) for entry in content.pop("uploads", [])]
    return Progress(runs=runs, parked=parked, uploads=uploads, **_known(Progress, content))


def _known(kind: type, content: dict[str, Any]) -> dict[str, Any]:
    """What this release knows; another may have kept more.

    Raises:
        TypeError: a value is of another kind than the field.
    """
    found = {field.name: (field.type, content[field.name]) for field in fields(kind) if field.name in content}
    for name, (wanted, value) in found.items():
        if not _fits(str(wanted), value):
            raise TypeError(f"{name} is no {wanted}")
    return {name: value for name, (_, value) in found.items()}


def _fits(wanted: str, value: Any) -> bool:
    """Whether the value is of the kind that a field's annotation names; of the elements, only numbers are looked at."""
    if not isinstance(value, _KINDS[wanted.partition("[")[0]]):
        return False
    elements = value.values() if isinstance(value, dict) and wanted.endswith(", int]") else ()
    return all(isinstance(each, int) for each in elements)


def save_progress(folder: Path, progress: Progress) -> None:
    """Replace the kept progress."""
    _replace(folder / "state.json", asdict(progress))


def load_health(folder: Path) -> Health:
    """What the uploader said last."""
    try:
        return Health(**_known(Health, _read(folder / "health.json")))
    except TypeError:
        return Health()


def save_health(folder: Path, health: Health) -> None:
    """Say it, with the time."""
    _replace(folder / "health.json", {**asdict(health), "at": time.time()})


def add_rejected(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Keep what the server refused, so that a person can look at it."""
    with (folder / _REJECTED).open("ab+") as file:
        if file.tell() and _last_byte(file) != b"\n":
            file.write(b"\n")  # the last line was torn when its writer was killed: it shall not spoil the next
        file.write(b"".join(json.dumps(entry, default=str).encode() + b"\n" for entry in entries))


def load_rejected(folder: Path, of_round: int = 0) -> list[dict[str, Any]]:
    """What the server refused in this round: {"at", "place", "why", "event", "round"}, each once.

    An uploader that is killed between keeping a refusal and noting that it did keeps it again.
    """
    path = folder / _REJECTED
    lines = path.read_bytes().splitlines() if path.exists() else []
    entries = [entry for line in lines if (entry := _entry(line)) and entry.get("round", 0) == of_round]
    return list({json.dumps((entry.get("place"), entry["event"])): entry for entry in entries}.values())


def count_rejected(folder: Path, of_round: int) -> Counter[str]:
    """How many records of each run were refused in this round, wholly or in part."""
    return Counter(run for run, _ in _rejected(folder, of_round))


def count_held_up(folder: Path, progress: Progress) -> Counter[str]:
    """How many records of each run were delivered but for an upload that waits; those refused in part not counted."""
    if not progress.uploads:  # nearly always: then what was refused need not be read once more
        return Counter()
    waiting = {(upload.run, upload.place) for upload in progress.uploads}
    return Counter(run for run, _ in waiting - _rejected(folder, progress.round))


def begin_round(folder: Path) -> None:
    """Have the runs delivered again of which something was set aside: in order, since a value that comes late could
    undo a later one. What is there already is not doubled. One write, so that being killed changes nothing.
    """
    progress = load_progress(folder)
    runs = count_rejected(folder, progress.round).keys()
    if runs:
        progress.again = sorted(runs | set(progress.again))
        names = progress.passed.keys() | progress.offsets.keys()
        progress.passed = {name: max(progress.passed.get(name, 0), progress.offsets.get(name, 0)) for name in names}
        progress.offsets, progress.damage, progress.delivered, progress.lost = {}, {}, 0, 0
        progress.uploads = [upload for upload in progress.uploads if upload.run not in progress.again]
        progress.round = now_ms()
        save_progress(folder, progress)


def begin_again(folder: Path) -> None:
    """Have everything delivered again, to a server that was made anew. Run ids of the old one would mislead."""
    save_progress(folder, Progress(round=now_ms()))


def _rejected(folder: Path, of_round: int) -> set[tuple[str, str]]:
    """Run and place of each record of which something was refused."""
    return {(entry["event"]["run"], entry.get("place", "")) for entry in load_rejected(folder, of_round)}


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    event = entry.get("event") if isinstance(entry, dict) else None
    return entry if isinstance(event, dict) and "run" in event else None


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
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
