"""Compares what a run dir's journal tells with what a server holds: counts, and the sha256 of every artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nertrail.tracking import events
from nertrail.tracking.destination import state_folder
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_client import short_tries
from nertrail.tracking.mlflow_view import Held
from nertrail.tracking.protocol import KILLED, RUNNING
from nertrail.tracking.rows import journal_events
from nertrail.tracking.uploads import server_name


@dataclass
class Told:
    """What the journal tells of one run. `points` holds a hash per distinct row: 10^6 of them take 100 MB."""

    name: str = ""
    status: str = RUNNING
    params: set[str] = field(default_factory=set)
    points: set[int] = field(default_factory=set)
    artifacts: dict[str, str] = field(default_factory=dict)  # path → sha256
    versions: int = 0  # of a registered model, whose files lie with the model

    def take(self, event: events.Event) -> None:
        """Add what an event tells."""
        if event["op"] == "start":
            self.name, self.status = event["name"], RUNNING
        elif event["op"] == "end":
            self.status = event["status"]
        elif event["op"] == "metrics":
            self.points.update(hash(tuple(point)) for point in event["v"])
        else:
            self.params.update(event.get("params", {}))
            self.points.update(hash((key, value, 0, event["t"])) for key, value in event.get("metrics", {}).items())
            self.artifacts.update(_files(event))
            self.versions += sum("version" in described for described in event.get("artifacts", ()))


class Verified(NamedTuple):
    """One run: what was compared, and in what it differs, which is nothing where all is well."""

    uid: str
    name: str
    params: int
    points: int
    artifacts: int
    differences: tuple[str, ...]


def verify(run_dir: str | Path, uri: str) -> list[Verified]:
    """Compare every run of the journal with the server's. Downloads every artifact, one at a time.

    Raises:
        Unreachable: the server does not answer.
    """
    path = Path(run_dir).absolute()
    backend = MlflowBackend(uri, overflow=state_folder(path, uri) / "overflow")
    with short_tries():
        return [
            Verified(
                uid,
                told.name,
                len(told.params),
                len(told.points),
                len(told.artifacts),
                differences(told, backend.held(uid, tuple(told.artifacts), models=told.versions > 0)),
            )
            for uid, told in told_by(path / "journal").items()
        ]


def told_by(journal: Path) -> dict[str, Told]:
    """What the journal tells, by run, of the runs that it began."""
    runs: dict[str, Told] = {}
    for event, _, _ in journal_events(journal):
        runs.setdefault(event["run"], Told()).take(event)
    return {uid: told for uid, told in runs.items() if told.name}


def differences(told: Told, held: Held | None) -> tuple[str, ...]:
    """In what the server's run differs. Where names had no room on the server, counts say nothing."""
    if held is None:
        return ("it is not there",)
    models = [] if not told.versions or held.versions else ["its model is not registered"]
    files = _artifacts(told.artifacts, held.artifacts)
    return (*_status(told.status, held.status), *_counts(told, held), *files, *models)


def _status(told: str, held: str) -> list[str]:
    """A run that was left open is closed KILLED by delivery."""
    return [] if held == told or (told, held) == (RUNNING, KILLED) else [f"status {held}, not {told}"]


def _counts(told: Told, held: Held) -> list[str]:
    if held.overflow:
        return []
    return _count("params", held.params, len(told.params)) + _count("metric points", held.points, len(told.points))


def _count(what: str, there: int, wanted: int) -> list[str]:
    return [] if there == wanted else [f"{there} of {wanted} {what}"]


def _artifacts(wanted: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    gone = [f"{name} is not there" for name in wanted if name not in there]
    return gone + [f"{name} has another sha256" for name in wanted if there.get(name, wanted[name]) != wanted[name]]


def _files(event: events.Event) -> dict[str, str]:
    described = [one for one in event.get("artifacts", ()) if "version" not in one]
    return {_path(one, entry): entry["sha256"] for one in described for entry in one["files"]}


def _path(described: Mapping[str, str], entry: Mapping[str, str]) -> str:
    """The name under which the server holds the file."""
    return server_name(f"{described['name']}/{entry['path']}" if described["folder"] else described["name"])
