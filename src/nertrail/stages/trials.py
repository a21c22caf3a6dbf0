"""The trials of a sweep: each trains, is scored and judged in a run of its own, and goes when it has lost."""

from __future__ import annotations

import math
import shutil
import statistics
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nertrail.errors import TrialError
from nertrail.execution.clock import Clock
from nertrail.records import RunRecord
from nertrail.stages.folds import Fold, make_folds
from nertrail.stages.hyperparameters import Hyperparameters
from nertrail.stages.inputs import BackboneConfig, Inputs, Prepared, Progress
from nertrail.stages.search import suggest

if TYPE_CHECKING:
    import optuna

    from nertrail.ner.trainer import Epoch, Fitted
    from nertrail.stages.sweep import SweepConfig
    from nertrail.tracking.mlflow_tracker import MLflowSweepTracker, Run


@dataclass(frozen=True)
class Trials:
    """What the trials of one sweep share: the data, prepared once per window, and where they go.

    `keep` is of how many of the best trials the checkpoints stay.
    """

    config: SweepConfig
    hyperparameters: Hyperparameters
    inputs: Inputs
    backbone: BackboneConfig
    folder: Path
    keep: int
    tracker: MLflowSweepTracker
    progress: Progress
    clock: Clock
    _folds: dict[int, list[Prepared]] = field(default_factory=dict, compare=False, repr=False)

    def data(self, made: Hyperparameters) -> Prepared:
        """The texts in the windows of a trial."""
        return self.inputs.prepare(self.backbone, made.max_length)

    def folds(self, data: Prepared) -> list[Prepared]:
        """The folds of the train split, tokenized once for all trials of one window."""
        length = data.windows.max_length
        if length not in self._folds:
            self._folds[length] = [
                replace(data, train=data.encode(train), validation=data.encode(rest)) for train, rest in self._dealt
            ]
        return self._folds[length]

    @cached_property
    def _dealt(self) -> list[Fold]:
        assert self.config.k_folds is not None
        return make_folds(self.inputs.dataset.train, self.config.k_folds, self.inputs.seed)

    def run(self, trial: optuna.Trial) -> float:
        """One trial in a run of its own: its objective, or whatever it failed with."""
        import optuna

        params = suggest(trial, self.config.search_space)
        pruned = None
        name = f"{self.backbone.name}-trial-{trial.number}"
        with self.tracker.start_trial_run(trial.number, self._shown(params), uid=_uid(trial), run_name=name) as run:
            try:
                value = self._score(trial, params, run)
                run.log(RunRecord(tags={"trial_state": "COMPLETE"}))
            except optuna.TrialPruned as error:
                run.log(RunRecord(tags={"trial_state": "PRUNED"}))
                pruned = error
            except Exception:
                run.log(RunRecord(tags={"trial_state": "FAIL"}))
                self._drop(trial.number)
                raise
        self._drop_losers(trial, value if pruned is None else None)
        if pruned is not None:
            raise pruned
        return value

    def _shown(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {**params, "epochs": self.config.epochs, "backbone": self.backbone.name}

    def _score(self, trial: optuna.Trial, params: Mapping[str, Any], run: Run) -> float:
        made = self.hyperparameters.with_values(params)
        if self.config.k_folds:
            metrics = self._cross_validate(trial, made, run)
        else:
            folder = self._checkpoint(trial.number)
            fitted = self._fit(made, self.data(made), folder, _reporter(trial, run, self), _uid(trial))
            metrics = fitted.scores.metrics()
        trial.set_user_attr("metrics", metrics)
        run.log(RunRecord(metrics=metrics))
        return objective_of(metrics, self.config.objective.metric)

    def _fit(
        self,
        made: Hyperparameters,
        data: Prepared,
        folder: Path,
        on_epoch: Callable[[Epoch], None] | None,
        run_uid: str,
    ) -> Fitted:
        def tick(epoch: Epoch) -> None:
            self.clock.tick()
            if on_epoch is not None:
                on_epoch(epoch)

        shutil.rmtree(folder, ignore_errors=True)
        what = f"{self.backbone.name} {folder.name}"
        settings = made.fit_settings(
            epochs=self.config.epochs,
            seed=self.inputs.seed,
            metric=self.config.objective.metric,
            decoding=self.inputs.decoding,
            patience=self.config.patience,
        )
        return data.fit(
            settings,
            folder,
            on_epoch=tick,
            on_step=lambda done, total: self.progress(what, done, total),
            run_uid=run_uid if self.tracker.records else None,
        )

    def _cross_validate(self, trial: optuna.Trial, made: Hyperparameters, run: Run) -> dict[str, float]:
        """Every fold's metrics, and mean (under its own name) and standard deviation of each; prunes between folds."""
        metrics: dict[str, float] = {}
        values: list[float] = []
        for index, data in enumerate(self.folds(self.data(made))):
            scores = self._fold(trial, made, data, index, run)
            values.append(objective_of(scores, self.config.objective.metric))
            metrics.update({f"fold_{index}_{name}": value for name, value in scores.items()})
            _report(trial, statistics.fmean(values), index)
        by_name = {name: [metrics[f"fold_{i}_{name}"] for i in range(len(values))] for name in scores}
        means = {name: statistics.fmean(found) for name, found in by_name.items()}
        spread = {f"cv_std_{name}": statistics.stdev(found) for name, found in by_name.items()}
        objective = {"cv_mean": statistics.fmean(values), "cv_std": statistics.stdev(values)}
        return {**metrics, **means, **spread, **objective}

    def _fold(
        self, trial: optuna.Trial, made: Hyperparameters, data: Prepared, index: int, run: Run
    ) -> dict[str, float]:
        uid = _uid(trial, f"fold_{index}_uid")
        with self.tracker.start_fold_run(run, index, uid=uid) as fold_run:
            folder = self.folder / "trials" / f"{trial.number}-fold-{index}"
            fitted = self._fit(made, data, folder, lambda epoch: fold_run.log_metrics(epoch.shown(), epoch.number), uid)
            shutil.rmtree(folder)
            metrics = dict(fitted.scores.metrics())
            fold_run.log(RunRecord(metrics=metrics))
        return metrics

    def _checkpoint(self, number: int) -> Path:
        return self.folder / "trials" / str(number)

    def _drop_losers(self, trial: optuna.Trial, value: float | None) -> None:
        """Remove the checkpoints of trials that are no longer among the best; `value` is that of the running one."""
        values = {other.number: other.value for other in completed(trial.study)}
        if value is not None:
            values[trial.number] = value
        for number in {trial.number, *values} - set(self.best(values)):
            self._drop(number)

    def _drop(self, number: int) -> None:
        """Remove what a trial wrote, and its folds."""
        for folder in (self._checkpoint(number), *self._checkpoint(number).parent.glob(f"{number}-fold-*")):
            shutil.rmtree(folder, ignore_errors=True)

    def drop_all_but(self, kept: Collection[int]) -> None:
        """Remove what is left of all other trials: of several workers none knows when the last of another has lost."""
        for folder in (self.folder / "trials").glob("*"):
            if int(folder.name.split("-", 1)[0]) not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def best(self, values: Mapping[int, float]) -> list[int]:
        """Numbers of the trials whose checkpoints stay, the best first; of equals the earlier."""
        sign = -1.0 if self.config.objective.goal == "maximize" else 1.0
        return sorted(values, key=lambda number: (sign * values[number], number))[: self.keep]

    def kept(self, number: int, params: Mapping[str, Any], uid: str) -> Path:
        """The trial's checkpoint; after k-fold, and where it was lost, refitted on the whole train split."""
        folder = self._checkpoint(number)
        if not (folder / "best" / "nertrail.json").is_file():
            made = self.hyperparameters.with_values(params)
            self._fit(made, self.data(made), folder, None, uid)
        return folder / "best"


def completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that ended with a score."""
    from optuna.trial import TrialState

    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def objective_of(metrics: Mapping[str, float], name: str) -> float:
    """The objective among `metrics`.

    Raises:
        TrialError: it is missing or not finite. It never becomes 0.0.
    """
    value = metrics.get(name)
    if value is None or not math.isfinite(value):
        raise TrialError(f"the objective {name} is {'missing' if value is None else value}")
    return float(value)


def _uid(trial: optuna.Trial, key: str = "uid") -> str:
    """The trial's run, the same one after an interruption."""
    if key not in trial.user_attrs:
        trial.set_user_attr(key, uuid.uuid4().hex)
    return str(trial.user_attrs[key])


def _reporter(trial: optuna.Trial, run: Run, trials: Trials) -> Callable[[Epoch], None]:
    """What is done with each epoch's scores: shown, told to the study, judged by the pruner."""
    metric = trials.config.objective.metric
    seen = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def on_epoch(epoch: Epoch) -> None:
        if epoch.number not in seen:  # a trial taken up again repeats its epochs, its run has them already
            run.log_metrics(epoch.shown(), epoch.number)
        _report(trial, objective_of(epoch.metrics, metric), epoch.number)

    return on_epoch


def _report(trial: optuna.Trial, value: float, step: int) -> None:
    import optuna

    if step not in trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
        trial.report(value, step)
    if trial.should_prune():
        raise optuna.TrialPruned(f"pruned at step {step}")
