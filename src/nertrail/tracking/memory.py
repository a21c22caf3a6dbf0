"""The backends that need no server: one that keeps nothing, and one that keeps everything where a test can see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nertrail.records import Artifact, DatasetInput, RunRecord, Value
from nertrail.tracking.protocol import RUNNING, Point, Rejected, RunStart, record_points


class NullBackend:
    """Keeps nothing: what a tracker writes to when tracking is off."""

    def start(self, run: RunStart) -> None:
        """Nothing."""

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        """Nothing."""

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        """Nothing."""

    def end(self, uid: str, status: str, at_ms: int) -> None:
        """Nothing."""

    def run_id(self, uid: str) -> str | None:
        """No run has an id here."""

    def recall(self, run_ids: Mapping[str, str]) -> None:
        """Nothing."""

    def takes_writes(self, _experiment: str) -> bool:
        """Always."""
        return True


@dataclass
class MemoryRun:
    """What a `MemoryBackend` knows of one run. `artifacts` maps each file's path below the root to its bytes."""

    start: RunStart
    run_id: str
    status: str = RUNNING
    end_ms: int | None = None
    params: dict[str, Value] = field(default_factory=dict)
    tags: dict[str, Value] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    datasets: list[DatasetInput] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name it was started with."""
        return self.start.name

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of every metric."""
        return {point.key: point.value for point in self.points}

    def add(self, points: Sequence[Point]) -> None:
        """Add the points that are not there yet. NaN differs from itself, so points are compared as text."""
        seen = {repr(point) for point in self.points}
        self.points.extend(point for point in points if repr(point) not in seen)


class MemoryBackend:
    """Keeps every run in `runs`, by uid, in the order in which they began."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}

    def start(self, run: RunStart) -> None:
        """Begin a run, or set a known one RUNNING again."""
        known = self.runs.setdefault(run.uid, MemoryRun(run, run_id=f"memory-{len(self.runs)}"))
        known.tags.update(run.tags)
        known.status = RUNNING

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        """Add a record; a param keeps its first value, as on a server."""
        run = self._run(uid)
        for key, value in record.params.items():
            run.params.setdefault(key, value)
        run.tags.update(record.tags)
        run.datasets.extend(dataset for dataset in record.datasets if dataset not in run.datasets)
        for artifact in record.artifacts:
            run.artifacts.update(_files(artifact))
        run.add(record_points(record, at_ms))

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        """Add the points that are not there yet."""
        self._run(uid).add(points)

    def end(self, uid: str, status: str, at_ms: int) -> None:
        """Close the run."""
        run = self._run(uid)
        run.status, run.end_ms = status, at_ms

    def run_id(self, uid: str) -> str | None:
        """The id that this backend gave the run."""
        run = self.runs.get(uid)
        return run.run_id if run else None

    def recall(self, run_ids: Mapping[str, str]) -> None:
        """Nothing: what it does not remember is not there."""

    def takes_writes(self, _experiment: str) -> bool:
        """Always."""
        return True

    def _run(self, uid: str) -> MemoryRun:
        if uid not in self.runs:
            raise Rejected(f"run {uid} was never started")
        return self.runs[uid]


def _files(artifact: Artifact) -> dict[str, bytes]:
    if artifact.path.is_dir():
        files = sorted(path for path in artifact.path.rglob("*") if path.is_file())
        return {f"{artifact.name}/{path.relative_to(artifact.path).as_posix()}": path.read_bytes() for path in files}
    return {artifact.name: artifact.path.read_bytes()}
