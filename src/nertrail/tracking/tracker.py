"""What all trackers have in common: where runs go, who their parent is, and which of them are switched off."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from nertrail.records import RunRecord, RunRef
from nertrail.tracking.boundary import quietly, text_of
from nertrail.tracking.context import Context, inherited
from nertrail.tracking.link import Link
from nertrail.tracking.memory import NullBackend
from nertrail.tracking.names import run_name as fill_name
from nertrail.tracking.plain import plain_int, plain_values
from nertrail.tracking.protocol import PARENT_TAG, UID_TAG, Backend, RunStart, now_ms
from nertrail.tracking.provenance import source_tags
from nertrail.tracking.receipt import Receipt
from nertrail.tracking.run import Run
from nertrail.tracking.settings import Switches

Parent = Run | RunRef | str | None  # a str is a run id of the server, used as it is


class Tracker:
    """Base of the trackers: opens runs of one stage in one experiment.

    Args:
        experiment_name: the MLflow experiment of every run.
        tracking_uri: where runs are delivered; default MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the
            working directory.
        run_dir: the folder whose `journal/` holds the records; default runs/<experiment name>.
        switches: the stage's switches, as an object or a mapping; an unknown one is a ConfigError.
        parent: the run that runs are nested under, where a start method is not told otherwise.
        pipeline_uid: the uid of the pipeline run, where `parent` is a reference to another run than that.
        linger_s: how long delivery goes on alone after the end of the program.

    In a child process that was given `environment()` of its parent's tracker, the run dir, the server and the parent
    are those of the parent process.
    """

    stage: ClassVar[str]
    switches_type: ClassVar[type[Switches]] = Switches

    def __init__(
        self,
        experiment_name: str,
        *,
        tracking_uri: str | None = None,
        run_dir: str | Path | None = None,
        switches: Switches | Mapping[str, Any] | None = None,
        parent: Parent = None,
        pipeline_uid: str | None = None,
        linger_s: float = 30.0,
    ) -> None:
        self.switches = self.switches_type.parse(switches)
        context = quietly(inherited) or Context()
        name = text_of(experiment_name)
        places = (text_of(run_dir), context.run_dir, f"runs/{name}")
        uri = text_of(tracking_uri) or context.tracking_uri or None
        place = next(filter(None, places))
        self._link = quietly(Link.open, place, uri, linger_s) if self.switches.enabled else None
        if parent is None and context.parent:
            parent, pipeline_uid = RunRef(context.parent), text_of(pipeline_uid) or context.pipeline
        self._set(name, self._link.backend if self._link else NullBackend(), parent, pipeline_uid)

    @classmethod
    def over(
        cls, backend: Backend, *, parent: Parent = None, switches: Switches | Mapping[str, Any] | None = None
    ) -> Self:
        """A tracker that writes straight to `backend`, as tests do with a MemoryBackend."""
        tracker = cls.__new__(cls)
        tracker.switches = cls.switches_type.parse(switches)
        tracker._link = None
        tracker._set("experiment", backend if tracker.switches.enabled else NullBackend(), parent)
        return tracker

    @classmethod
    def off(cls) -> Self:
        """A tracker that records nothing, imports no mlflow and touches no file."""
        return cls.over(NullBackend())

    @property
    def records(self) -> bool:
        """Whether anything is written down: not where the tracker is off or its stage is switched off."""
        return not isinstance(self._backend, NullBackend)

    @property
    def experiment_name(self) -> str:
        """The MLflow experiment of every run."""
        return self._experiment

    def existing_run(self, uid: str) -> Run:
        """A handle of a run that this run dir knows, without reopening it: to tag it, for instance."""
        return self._handle(text_of(uid), text_of(uid))

    def environment(self, run: Run) -> dict[str, str]:
        """Variables for a child process whose trackers are to record below `run`."""
        return quietly(self._environment, run) or {}

    def flush(self, timeout: float | None = None) -> Receipt:
        """Wait for delivery, at most `timeout` seconds (default 10), and say what is delivered and what is pending.

        Does not wait while the server is known to be unreachable.
        """
        receipt = quietly(self._link.flush, timeout) if self._link else None
        return receipt or Receipt()

    def close(self) -> None:
        """Give up the journal. Once the run dir's other trackers have, too, runs still open are closed as KILLED."""
        if self._link:
            quietly(self._link.close, self._seat)

    def _environment(self, run: Run) -> dict[str, str]:
        if self._link is None:
            return {}
        place, uri = str(self._link.run_dir), self._link.launcher.uri
        return Context(place, uri, run.uid, run.pipeline_uid).environment()

    def _set(self, experiment: str, backend: Backend, parent: Parent, pipeline_uid: str | None = None) -> None:
        self._experiment, self._backend, self._parent = experiment, backend, parent
        self._pipeline_uid = text_of(pipeline_uid)
        self._seat = object()  # what the journal knows this tracker by
        self.run: Run | None = None
        self._enter()

    def _enter(self) -> None:
        if self._link:
            self._link.enter(self._seat)

    def _start(
        self,
        name: object,
        *,
        run_type: str,
        tags: Mapping[str, Any],
        params: Any = None,
        uid: str | None = None,
        parent: Parent = None,
        backend: Backend | None = None,
        at_ms: int | None = None,
        backbone: object = None,
    ) -> Run:
        """Open a run, or open the run `uid` again, and give its handle, whatever happens and whatever is given."""
        uid = text_of(uid) or uuid.uuid4().hex
        above = parent if parent is not None else self._parent
        run = self._handle(uid, self._pipeline_uid or _pipeline_uid(above, uid), backend)
        told = plain_values({**self._tags(run, run_type, above), **tags}, self._lose)
        named = fill_name(text_of(name) or run_type, uid, text_of(backbone))
        start = RunStart(uid, named, self._experiment, plain_int(at_ms, 0) or now_ms(), told)
        self._enter()  # closed trackers may go on
        quietly((backend or self._backend).start, start)
        if params is not None:
            run.log(RunRecord(params=params))
        return run

    def _tags(self, run: Run, run_type: str, parent: Parent) -> dict[str, Any]:
        """The tags that every run has."""
        base = {
            UID_TAG: run.uid,
            "pipeline.run_uid": run.pipeline_uid,
            "pipeline.stage": self.stage,
            "mlflow.runType": run_type,
        }
        above = {} if parent is None else {PARENT_TAG: parent.ref if isinstance(parent, Run) else parent}
        return {**(quietly(source_tags) or {}), **base, **above}

    def _handle(self, uid: str, pipeline_uid: str, backend: Backend | None = None) -> Run:
        return Run(
            uid,
            backend or self._backend,
            pipeline_uid=pipeline_uid,
            keeps=self.switches.keeps,
            run_id_of=self._link.run_id if self._link else None,
            lost=self._lose,
            spare=self._link.run_dir if self._link else None,
        )

    def _lose(self) -> None:
        if self._link:
            self._link.backend.lose()

    def _log(self, build: Callable[[], RunRecord]) -> None:
        """Add a record to the run that was started last. Building it may fail as freely as writing it."""
        run, record = quietly(self._current), quietly(build)
        if record is None:
            self._lose()
        elif run is not None:
            run.log(record)

    def _log_with_files(self, build: Callable[[Path], RunRecord]) -> None:
        """The same for a record with files that `build` writes into the folder it is given."""
        run = quietly(self._current)
        if run is not None:
            run.log_with_files(build)

    def _current(self) -> Run:
        if self.run is None:
            raise RuntimeError(f"{type(self).__name__}: no run was started, so there is none to log to")
        return self.run


def _pipeline_uid(parent: Parent, uid: str) -> str:
    """The pipeline run above: a handle knows it, a reference is taken for it, otherwise the run is its own."""
    if isinstance(parent, Run):
        return parent.pipeline_uid
    return parent.uid if isinstance(parent, RunRef) else uid
