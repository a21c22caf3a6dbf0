"""Sweep runs, with a run per trial and per fold below them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from nertrail.records import Artifact, RunRecord, RunRef, Value
from nertrail.tracking import names
from nertrail.tracking.boundary import text_of
from nertrail.tracking.memory import NullBackend
from nertrail.tracking.protocol import Backend
from nertrail.tracking.run import Run
from nertrail.tracking.settings import SweepSwitches, Switches
from nertrail.tracking.tracker import Parent, Tracker

_SWEEP_TAGS: dict[str, Value] = {"azureml.runType": "sweep", "azureml.sweep": "true"}


class MLflowSweepTracker(Tracker):
    """Records a sweep, its trials and their folds."""

    stage = "sweep"
    switches_type: ClassVar[type[Switches]] = SweepSwitches

    def start_sweep_run(
        self,
        run_name: str,
        hpo_config: Any,
        backbone: str,
        study_name: str,
        checkpoint_config: Any = None,
        storage_path: str | Path | None = None,
        should_resume: bool = False,
        *,
        uid: str | None = None,
        parent: Parent = None,
    ) -> Run:
        """Open a sweep run. `hpo_config` has max_trials, metric and goal; the rest is about the study's storage."""
        self.run = self._start(run_name, run_type="sweep", tags=_SWEEP_TAGS, uid=uid, parent=parent)
        self._log(
            lambda: RunRecord(
                params=names.sweep_params(
                    hpo_config, backbone, study_name, checkpoint_config, storage_path, should_resume
                )
            )
        )
        return self.run

    def start_trial_run(
        self,
        number: int,
        params: Mapping[str, Value] | None = None,
        *,
        uid: str | None = None,
        parent: Parent = None,
        run_name: str | None = None,
        at_ms: int | None = None,
    ) -> Run:
        """Open a trial's run below the sweep run, or below the tracker's parent where this process opened no sweep.

        `at_ms` is when it began, in milliseconds, if that was not just now.
        """
        return self._start(
            text_of(run_name) or f"trial_{text_of(number)}",
            run_type="trial",
            tags={"azureml.trial": "true", "trial_number": number},
            params=params,
            uid=uid,
            parent=parent if parent is not None else self.run,
            backend=self._trials(),
            at_ms=at_ms,
        )

    def start_fold_run(
        self, trial: Run | RunRef | str, fold_idx: int, *, uid: str | None = None, run_name: str | None = None
    ) -> Run:
        """Open the run of one fold below its trial."""
        return self._start(
            text_of(run_name) or f"fold_{text_of(fold_idx)}",
            run_type="fold",
            tags={"fold_idx": fold_idx},
            uid=uid,
            parent=trial,
            backend=self._trials(),
        )

    def log_final_metrics(
        self,
        study: Any,
        objective_metric: str,
        *,
        best_trial_run: RunRef | None = None,
        best_checkpoint: Path | None = None,
        artifacts: tuple[Artifact, ...] = (),
    ) -> None:
        """Record what a finished Optuna study found. Without a completed trial only the counts are there."""
        self._log(lambda: _final_record(study, objective_metric, best_trial_run, best_checkpoint, artifacts))

    def _trials(self) -> Backend | None:
        log_trials = not isinstance(self.switches, SweepSwitches) or self.switches.log_trials
        return None if log_trials else NullBackend()


def _final_record(
    study: Any, metric: str, run: RunRef | None, checkpoint: Path | None, artifacts: tuple[Artifact, ...]
) -> RunRecord:
    record = RunRecord(metrics=names.study_metrics(study, metric), artifacts=artifacts)
    if not record.metrics["n_completed_trials"]:
        return record
    tags: dict[str, Value] = {"best_trial_number": study.best_trial.number}
    named: dict[str, Value] = {"best_trial_run_id": run, "best_trial_run_id_uid": run.uid} if run else {}
    folder = (Artifact(checkpoint, "best_trial_checkpoint"),) if checkpoint else ()
    params = {**names.best_params(study.best_params), **named}
    return record | RunRecord(params=params, tags={**tags, **named}, artifacts=folder)
