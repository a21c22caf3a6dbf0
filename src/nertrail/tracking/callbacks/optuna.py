"""Records an Optuna study: a sweep run, and below it a run per trial."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from nertrail.records import RunRecord, RunRef
from nertrail.tracking.boundary import quietly, text_of
from nertrail.tracking.memory import NullBackend
from nertrail.tracking.protocol import FAILED, FINISHED
from nertrail.tracking.run import Run
from nertrail.tracking.tracker import Parent
from nertrail.tracking.trackers.sweep import MLflowSweepTracker

_STATUS = {"COMPLETE": FINISHED, "PRUNED": FINISHED, "FAIL": FAILED}  # of the trials that are over


class OptunaCallback:
    """Records the trials of one study; nothing that goes wrong here reaches the study.

        with OptunaCallback(study, MLflowSweepTracker("my-experiment"), metric="f1") as callback:
            study.optimize(callback.watched(objective), n_trials=20, n_jobs=4, callbacks=[callback])

    `callbacks=[callback]` records what is over: pruned trials FINISHED, failed ones FAILED. A failure that ends
    `optimize` is never shown to callbacks: it is recorded when the block is left. `watched` is optional; it opens the
    run when the trial begins and adds the traceback of a failure.

    Args:
        study: of `optuna.create_study`; trials of earlier sessions are left alone.
        tracker: used for this study alone.
        metric: the name of the objective, or of each one.
        backbone: what is searched for, as the sweep run names it.
        parent: the run that the sweep run hangs below; default as for the tracker.
    """

    def __init__(
        self,
        study: Any,
        tracker: MLflowSweepTracker,
        *,
        metric: str | Sequence[str] = "objective",
        backbone: str = "",
        run_name: str | None = None,
        parent: Parent = None,
    ) -> None:
        self._study, self._tracker = study, tracker
        self._metrics = (metric,) if isinstance(metric, str) else tuple(quietly(_texts, metric) or ("objective",))
        self._lock = threading.Lock()
        self._opened: dict[int, Run] = {}
        self._over: set[int] = quietly(_finished, study) or set()
        config = {"metric": ",".join(self._metrics), "goal": quietly(_goal, study) or ""}
        study_name = text_of(quietly(getattr, study, "study_name"))
        self.run = tracker.start_sweep_run(
            text_of(run_name) or study_name, config, backbone, study_name, should_resume=bool(self._over), parent=parent
        )

    def __call__(self, _study: Any, trial: Any) -> None:
        """What Optuna calls behind every trial, from several threads at a time."""
        quietly(self._record, trial)

    def run_of(self, trial: Any) -> Run:
        """The run of a trial that is under way, to log to; the callback ends it."""
        return quietly(self._run_of, trial) or Run("", NullBackend(), pipeline_uid="")

    def watched(self, objective: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The objective, with a run that is open while it works and gets the traceback if it fails."""

        def watching(trial: Any) -> Any:
            from optuna import TrialPruned

            run = self.run_of(trial)
            try:
                return objective(trial)
            except TrialPruned:
                raise
            except Exception as error:
                run.log_traceback(error)
                raise

        return watching

    def end(self) -> None:
        """Record what is left and close the sweep run."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        quietly(self._record_rest)
        quietly(self._conclude)
        self.run.__exit__(kind, error, trace)

    def _run_of(self, trial: Any) -> Run:
        with self._lock:
            if trial.number not in self._opened:
                self._opened[trial.number] = self._open(trial)
            return self._opened[trial.number]

    def _open(self, trial: Any) -> Run:
        return self._tracker.start_trial_run(
            trial.number, trial.params, uid=self._uid(trial), parent=self.run, at_ms=_ms(trial.datetime_start)
        )

    def _uid(self, trial: Any) -> str:
        """The same for whoever records the trial: two workers that share a study do not double it."""
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{self._study.study_name}/{trial.number}/{trial.datetime_start}").hex

    def _record(self, trial: Any) -> None:
        with self._lock:
            if trial.number in self._over or trial.state.name not in _STATUS:
                return
            self._over.add(trial.number)
        run = self.run_of(trial)
        for step, value in sorted(trial.intermediate_values.items()):
            run.log_metrics({f"eval_{self._metrics[0]}": value}, step=step)
        run.log(_record_of(trial, self._metrics))
        run.end(_STATUS[trial.state.name], at_ms=_ms(trial.datetime_complete))

    def _record_rest(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            self._record(trial)

    def _conclude(self) -> None:
        if len(self._metrics) > 1:
            self.run.log(RunRecord(metrics={"n_trials": float(len(self._study.trials))}))
            return
        self._tracker.log_final_metrics(self._study, self._metrics[0], best_trial_run=self._best())

    def _best(self) -> RunRef | None:
        """The best trial, where it is one of this session."""
        completed = [trial for trial in self._study.trials if trial.state.name == "COMPLETE"]
        return self._opened[best].ref if completed and (best := self._study.best_trial.number) in self._opened else None


def _record_of(trial: Any, metrics: Sequence[str]) -> RunRecord:
    values = dict(zip(metrics, trial.values or (), strict=False)) if trial.state.name == "COMPLETE" else {}
    tags = {f"user.{key}": value for key, value in trial.user_attrs.items()}
    return RunRecord(trial.params, values, {"trial_state": trial.state.name, **tags})


def _finished(study: Any) -> set[int]:
    """The trials of earlier sessions. One that waits was enqueued for this one; one that runs is another worker's."""
    return {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.name in _STATUS}


def _goal(study: Any) -> str:
    return ",".join(direction.name.lower() for direction in study.directions)


def _texts(names: Sequence[str]) -> list[str]:
    return [str(name) for name in names]


def _ms(moment: datetime | None) -> int | None:
    return int(moment.timestamp() * 1000) if moment else None
