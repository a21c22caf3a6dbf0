"""The handle of one run: what a stage holds while it works."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking.boundary import quietly
from nertrail.tracking.files import in_folder, readable
from nertrail.tracking.plain import plain_int, plain_numbers, plain_record
from nertrail.tracking.protocol import FAILED, FINISHED, KILLED, Backend, Point, now_ms
from nertrail.tracking.status import final_status, known_status

_TRACEBACK_CHARACTERS = 100_000


class Run:
    """One run, open from its making until `end`, or until the `with` block that it opens is left.

    No method raises because of tracking; what goes wrong there is logged, and `lost` is called for every value that
    is not recorded. `spare` is a folder for files on their way where the system has no temporary place.
    """

    def __init__(
        self,
        uid: str,
        backend: Backend,
        *,
        pipeline_uid: str,
        keeps: Callable[[str], bool] = bool,
        run_id_of: Callable[[str], str | None] | None = None,
        lost: Callable[[], None] = lambda: None,
        spare: Path | None = None,
    ) -> None:
        self.uid = uid
        self.pipeline_uid = pipeline_uid
        self._backend, self._keeps, self._run_id_of = backend, keeps, run_id_of
        self._lost, self._spare = lost, spare
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
        return quietly(self._wait_run_id, timeout)

    def log(self, record: RunRecord) -> None:
        """Add params, metrics, tags, artifacts and datasets. Artifacts are safe to change or remove afterwards.

        All but the big files of a `reference`, such as a checkpoint: they are linked, not copied. Write new ones to new
        files.
        """
        self._try(self._log, record)

    def log_metrics(self, metrics: Mapping[str, SupportsFloat], step: int = 0) -> None:
        """Add one value per metric at this step, at 0 if that is no whole number."""
        self._try(self._log_metrics, metrics, step)

    def log_traceback(self, error: Exception) -> None:
        """Add the error's traceback as traceback.txt."""
        self.log_with_files(lambda folder: _traceback(error, folder))

    def log_with_files(self, build: Callable[[Path], RunRecord]) -> None:
        """Add a record whose artifacts are files that `build` writes into the folder it is given."""
        self._try(in_folder, lambda folder: self.log(build(folder)), self._spare)

    @property
    def ended(self) -> bool:
        """Whether it was closed."""
        return self._ended

    def end(self, status: str = FINISHED, *, at_ms: int | None = None) -> None:
        """Close the run, now or with the time at which it was over; a second call changes nothing.

        `status`: FINISHED, FAILED or KILLED, in any case. Another word, RUNNING too, is reported and taken for FAILED.
        """
        if not self._ended:
            self._ended = True
            self._try(self._end, status, at_ms)

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

    def _try(self, action: Callable[..., object], *args: Any) -> None:
        if not quietly(_done, action, *args):
            self._lost()

    def _wait_run_id(self, timeout: float) -> str | None:
        deadline = time.monotonic() + timeout
        while (run_id := self.run_id) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return run_id

    def _log(self, record: RunRecord) -> None:
        record = plain_record(record, self._lost)
        kept = tuple(artifact for artifact in record.artifacts if self._keeps(artifact.name) and self._reads(artifact))
        self._backend.log(self.uid, replace(record, artifacts=kept), now_ms())

    def _reads(self, artifact: Artifact) -> bool:
        found = quietly(readable, artifact.path) is not None
        if not found:
            self._lost()
        return found

    def _log_metrics(self, metrics: Mapping[str, SupportsFloat], step: int) -> None:
        at_ms, step = now_ms(), plain_int(step, 0)
        points = [Point(key, value, step, at_ms) for key, value in plain_numbers(metrics, self._lost).items()]
        self._backend.log_metrics(self.uid, points)

    def _end(self, status: str, at_ms: int | None) -> None:
        quietly(_check, status)
        self._backend.end(self.uid, final_status(status), plain_int(at_ms, 0) or now_ms())


def _done(action: Callable[..., object], *args: Any) -> bool:
    action(*args)
    return True


def _check(status: object) -> None:
    if known_status(status) is None:
        raise ValueError(f"a run cannot end as {status!r} but as FINISHED, FAILED or KILLED: it is shown as FAILED")


def _traceback(error: Exception, folder: Path) -> RunRecord:
    path = folder / "traceback.txt"
    text = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return RunRecord(artifacts=(Artifact(path, "traceback.txt"),))
