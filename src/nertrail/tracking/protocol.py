"""What a place that records can do: four verbs, and three more for those that a journal is delivered to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from nertrail.errors import TrackingError
from nertrail.records import RunRecord, Value

UID_TAG = "nertrail.run_uid"
PARENT_TAG = "mlflow.parentRunId"
SUPERSEDED_TAG = "superseded_by_uid"
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"


class Unreachable(TrackingError):
    """The server cannot be reached or is busy: the same call may work later.

    `for_all`: it said so of itself (too many requests, unknown credentials), so the call is not to blame.
    """

    def __init__(self, problem: str, *, retry_after: float | None = None, for_all: bool = False) -> None:
        super().__init__(problem)
        self.retry_after, self.for_all = retry_after, for_all or retry_after is not None


class Stuck(Unreachable):
    """This one call fails, for the `tries`-th time in a row, while the server takes others."""

    def __init__(self, problem: str, tries: int) -> None:
        super().__init__(problem)
        self.tries = tries


class Rejected(TrackingError):
    """The server refuses this call; it would refuse it again."""


class Point(NamedTuple):
    """One value of one metric. `at_ms` is the wall clock when it was logged, in milliseconds."""

    key: str
    value: float
    step: int
    at_ms: int


@dataclass(frozen=True)
class RunStart:
    """A run that begins, or begins again when its uid is known: then it is reopened, never made twice."""

    uid: str
    name: str
    experiment: str
    start_ms: int
    tags: Mapping[str, Value] = field(default_factory=dict)


class Backend(Protocol):
    """A place where runs are recorded. Every verb may be repeated with the same arguments without a change."""

    def start(self, run: RunStart) -> None: ...

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None: ...

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None: ...

    def end(self, uid: str, status: str, at_ms: int) -> None: ...


class Destination(Backend, Protocol):
    """A backend that a journal can be delivered to. Its verbs raise `Unreachable` or `Rejected`, nothing else."""

    def run_id(self, uid: str) -> str | None:
        """The id that this place gave the run, None as long as it does not know the run."""

    def recall(self, run_ids: Mapping[str, str]) -> None:
        """Be reminded of the ids, by uid, that it gave runs in earlier deliveries."""

    def takes_writes(self, experiment: str, /) -> bool:
        """Whether it takes something else now, after a call about a run of this experiment failed. Never raises."""


def now_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def record_points(record: RunRecord, at_ms: int) -> list[Point]:
    """The metrics of a record as points at step 0."""
    return [Point(key, float(value), 0, at_ms) for key, value in record.metrics.items()]
