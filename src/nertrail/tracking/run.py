"""The handle of one run: what a stage holds while it works."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsFloat

from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking.boundary import quietly
from nertrail.tracking.protocol import FAILED, FINISHED, KILLED, Backend, Point, now_ms

_TRACEBACK_CHARACTERS = 100_000


class Run:
    """One run, open from its making until `end`, or until the `with` block that it opens is left.

    No method raises because of tracking; what goes wrong there is logged.
    """

    def __init__(
        self,
        uid: str,
        backend: Backend,
        *,
        pipeline_uid: str,
        keeps: Callable[[str], bool] = bool,
        run_id_of: Callable[[str], str | None] | None = None,
    ) -> None:
        self.uid = uid
        self.pipeline_uid = pipeline_uid
        self._backend, self._keeps, self._run_id_of = backend, keeps, run_id_of
        self._ended = False

    @property
    def ref(self) -> RunRef:
        """The run as a value for params and tags: delivery replaces it with the server's run id."""
        return RunRef(self.uid)

    @property
    def run_id(self) -> str | None:
        """The server's run id, None until the run is delivered."""
        return quietly(self._run_id_of, self.uid) if self._run_id_of else None

    def wait_run_id(self, timeout: float = 30.0) -> str | None:
        """The server's run id, waited for at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (run_id := self.run_id) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return run_id

    def log(self, record: RunRecord) -> None:
        """Add params, metrics, tags, artifacts and datasets. Artifacts are safe to change or remove afterwards."""
        quietly(self._log, record)

    def log_metrics(self, metrics: Mapping[str, SupportsFloat], step: int = 0) -> None:
        """Add one value per metric at this step."""
        quietly(self._log_metrics, metrics, step)

    def log_traceback(self, error: Exception) -> None:
        """Add the error's traceback as traceback.txt."""
        quietly(self._log_traceback, error)

    @property
    def ended(self) -> bool:
        """Whether it was closed."""
        return self._ended

    def end(self, status: str = FINISHED, *, at_ms: int | None = None) -> None:
        """Close the run, now or with the time at which it was over; a second call changes nothing."""
        if not self._ended:
            self._ended = True
            quietly(self._backend.end, self.uid, status, at_ms or now_ms())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        elif isinstance(error, Exception):
            self.log_traceback(error)
            self.end(FAILED)
        else:  # Ctrl-C, SystemExit, a generator given up: somebody stopped it, nothing failed
            self.end(KILLED)

    def _log(self, record: RunRecord) -> None:
        kept = tuple(artifact for artifact in record.artifacts if self._keeps(artifact.name))
        record = RunRecord(record.params, _numbers(record.metrics), record.tags, kept, record.datasets)
        self._backend.log(self.uid, record, now_ms())

    def _log_metrics(self, metrics: Mapping[str, SupportsFloat], step: int) -> None:
        at_ms = now_ms()
        points = [Point(key, value, step, at_ms) for key, value in _numbers(metrics).items()]
        self._backend.log_metrics(self.uid, points)

    def _log_traceback(self, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "traceback.txt"
            path.write_text(text, encoding="utf-8")
            self._log(RunRecord(artifacts=(Artifact(path, "traceback.txt"),)))


def _numbers(metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """The metrics that are numbers; one that is none is reported and does not take the others with it."""
    numbers = ((key, quietly(_number, key, value)) for key, value in metrics.items())
    return {key: number for key, number in numbers if number is not None}


def _number(key: str, value: SupportsFloat) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metric {key!r} is not a number: {value!r}") from error
