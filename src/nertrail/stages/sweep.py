"""Sweep: search hyperparameters for one backbone, keep the best trial's checkpoint."""

from __future__ import annotations

import math
import shutil
import statistics
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import StageError, TrialError
from nertrail.execution.local import finished, run_trials
from nertrail.records import Artifact, RunRecord, run_reference
from nertrail.stages.folds import make_folds
from nertrail.stages.inputs import BackboneConfig, Hyperparameters, Inputs, Metric, Prepared, Progress, quiet
from nertrail.stages.search import Dimension, PrunerConfig, StorageConfig, sampler, startup_trials, suggest
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker
from nertrail.tracking.names import best_params, prefixed

if TYPE_CHECKING:
    import optuna

    from nertrail.ner.trainer import Epoch, FitSettings, Fitted
    from nertrail.tracking.mlflow_tracker import Run

STAGE = "sweep"


class ObjectiveConfig(Model):
    """The validation metric that trials compete in."""

    metric: Metric = "macro-f1-span"
    goal: Literal["maximize", "minimize"] = "maximize"


class SweepConfig(Model):
    """How one backbone's hyperparameters are searched."""

    max_trials: pydantic.PositiveInt = 10
    timeout_minutes: pydantic.PositiveFloat | None = None
    epochs: pydantic.PositiveInt = 3
    patience: pydantic.PositiveInt | None = None
    objective: ObjectiveConfig = ObjectiveConfig()
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: PrunerConfig = PrunerConfig()
    storage: StorageConfig = StorageConfig()
    k_folds: int | None = pydantic.Field(default=None, ge=2)
    search_space: Mapping[str, Dimension] = {}
    enqueue: tuple[Mapping[str, Any], ...] = ()

    @pydantic.model_validator(mode="after")
    def _names_are_hyperparameters(self) -> SweepConfig:
        known = set(Hyperparameters.model_fields)
        for name in {*self.search_space, *(key for trial in self.enqueue for key in trial)}:
            if name not in known:
                raise ValueError(f"{name!r} is no hyperparameter; known: {', '.join(sorted(known))}")
        return self

    def is_random_search(self) -> bool:
        """Whether every trial is drawn before the sampler has anything to learn from."""
        return self.sampler == "random" or self.max_trials <= startup_trials(self.max_trials)


class TrialSummary(Model):
    """One trial, as the study and the files remember it. `value` is None unless it completed."""

    number: int
    uid: str
    state: str
    params: Mapping[str, Any]
    value: float | None = None
    metrics: Mapping[str, float] = {}


class SweepResult(Model):
    """What a sweep found."""

    backbone: str
    study_name: str
    metric: str
    goal: str
    epochs: int
    trials: tuple[TrialSummary, ...]
    best_number: int
    checkpoints: Mapping[int, Path]
    random_search: bool = False
    pictures: tuple[Path, ...] = ()

    @property
    def best(self) -> TrialSummary:
        return next(trial for trial in self.trials if trial.number == self.best_number)

    @property
    def checkpoint(self) -> Path:
        """The best trial's."""
        return self.checkpoints[self.best_number]

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)

    def record(self) -> RunRecord:
        """What the sweep run shows at its end."""
        counts = {
            "n_trials": float(len(self.trials)),
            "n_completed_trials": float(self.count("COMPLETE")),
            "n_pruned_trials": float(self.count("PRUNED")),
            "n_failed_trials": float(self.count("FAIL")),
        }
        return RunRecord(
            params={**best_params(self.best.params), **run_reference("best_trial_run_id", self.best.uid)},
            metrics={**counts, **prefixed(self.best.metrics, "best_")},
            tags={**run_reference("best_trial_run_id", self.best.uid), "best_trial_number": str(self.best_number)},
            artifacts=(
                Artifact(self.checkpoint, "best_trial_checkpoint"),
                *(Artifact(picture, picture.name) for picture in self.pictures),
            ),
        )


def run_sweep(
    config: SweepConfig,
    hyperparameters: Hyperparameters,
    inputs: Inputs,
    backbone: BackboneConfig,
    folder: Path,
    *,
    tracker: MLflowSweepTracker | None = None,
    keep: int = 1,
    uid: str | None = None,
    progress: Progress = quiet,
) -> SweepResult:
    """Search `config.search_space` for the best validation score of `backbone`.

    Goes on in the study of `folder` where there is one: finished trials count, an interrupted one is taken up again.

    Args:
        folder: holds the study and the trials' checkpoints.
        keep: of how many of the best trials the checkpoints stay; the others' are removed as soon as they have lost.
        uid: the MLflow run to go on with, None for a new one.

    Raises:
        StageError: no trial completed.
        InputError: the data, the backbone or a value of the search space can't be used.
    """
    tracker = tracker or MLflowSweepTracker.off()
    study_name = f"{backbone.name}-{config.objective.metric}"
    study = open_study(config, folder, study_name, inputs.seed)
    with tracker.start_sweep_run(
        f"sweep-{backbone.name}",
        config.model_dump(mode="json"),
        backbone.name,
        study_name,
        checkpoint_config={"enabled": config.storage.type != "memory", "type": config.storage.type},
        storage_path=config.storage.path(folder, study_name),
        should_resume=finished(study) > 0,
        uid=uid,
    ) as run:
        sweep = _Sweep(config, hyperparameters, inputs.prepare(backbone), inputs, folder, keep, tracker, progress)
        seconds = config.timeout_minutes * 60 - _spent(study) if config.timeout_minutes else None
        run_trials(study, sweep.run_trial, config.max_trials, seconds)
        result = sweep.result(study, backbone.name)
        run.log(result.record())
    return result


def open_study(config: SweepConfig, folder: Path, study_name: str, seed: int) -> optuna.Study:
    """The study of this name, with the known-good trials enqueued when it is new."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=config.storage.build(folder, study_name),
        study_name=study_name,
        direction=config.objective.goal,
        load_if_exists=True,
        pruner=config.pruner.build(config.max_trials),
    )
    # a seeded sampler starts its sequence anew in each process: shifted, it does not repeat the earlier trials
    study.sampler = sampler(config.sampler, seed + len(study.trials), config.max_trials)
    if not study.trials:
        for values in config.enqueue:
            study.enqueue_trial(dict(values))
    return study


def _spent(study: optuna.Study) -> float:
    """Seconds that the study's finished trials took, over all sessions."""
    durations = (trial.duration for trial in study.get_trials(deepcopy=False) if trial.duration)
    return float(sum(duration.total_seconds() for duration in durations))


@dataclass(frozen=True)
class _Sweep:
    config: SweepConfig
    hyperparameters: Hyperparameters
    prepared: Prepared
    inputs: Inputs
    folder: Path
    keep: int
    tracker: MLflowSweepTracker
    progress: Progress

    def run_trial(self, trial: optuna.Trial) -> float:
        import optuna

        params = suggest(trial, self.config.search_space)
        pruned = None
        with self.tracker.start_trial_run(trial.number, self._shown(params), uid=_uid(trial)) as run:
            try:
                value = self._score(trial, params, run)
                run.log(RunRecord(tags={"trial_state": "COMPLETE"}))
            except optuna.TrialPruned as error:
                run.log(RunRecord(tags={"trial_state": "PRUNED"}))
                pruned = error
            except Exception:
                run.log(RunRecord(tags={"trial_state": "FAIL"}))
                raise
        self._drop_losers(trial, value if pruned is None else None)
        if pruned is not None:
            raise pruned
        return value

    def _shown(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {**params, "epochs": self.config.epochs, "backbone": self.prepared.backbone.name}

    def _score(self, trial: optuna.Trial, params: Mapping[str, Any], run: Run) -> float:
        settings = self._settings(params)
        if self.config.k_folds:
            metrics = self._cross_validate(trial, settings, run, self.config.k_folds)
        else:
            fitted = self._fit(settings, self.prepared, self._checkpoint(trial.number), _reporter(trial, run, self))
            metrics = fitted.scores.metrics()
        trial.set_user_attr("metrics", metrics)
        run.log(RunRecord(metrics=metrics))
        return objective_of(metrics, self.config.objective.metric)

    def _settings(self, params: Mapping[str, Any]) -> FitSettings:
        return self.hyperparameters.with_values(params).fit_settings(
            epochs=self.config.epochs,
            seed=self.inputs.seed,
            metric=self.config.objective.metric,
            decoding=self.inputs.decoding,
            patience=self.config.patience,
        )

    def _fit(
        self, settings: FitSettings, data: Prepared, folder: Path, on_epoch: Callable[[Epoch], None] | None
    ) -> Fitted:
        from nertrail.ner.trainer import fit

        shutil.rmtree(folder, ignore_errors=True)
        what = f"{self.prepared.backbone.name} {folder.name}"
        return fit(
            data.backbone,
            data.labels,
            data.train,
            data.validation,
            data.tokenizer,
            settings,
            folder,
            on_epoch=on_epoch,
            on_step=lambda done, total: self.progress(what, done, total),
        )

    def _cross_validate(self, trial: optuna.Trial, settings: FitSettings, run: Run, count: int) -> dict[str, float]:
        """Every fold's metrics, and mean and standard deviation of the objective; prunes between folds."""
        metrics: dict[str, float] = {}
        values: list[float] = []
        folds = make_folds(self.inputs.dataset.train, count, self.inputs.seed)
        for index, (train, validation) in enumerate(folds):
            data = replace(
                self.prepared, train=self.prepared.encode(train), validation=self.prepared.encode(validation)
            )
            scores = self._fold(trial, settings, data, index, run)
            values.append(objective_of(scores, self.config.objective.metric))
            metrics.update({f"fold_{index}_{name}": value for name, value in scores.items()})
            _report(trial, statistics.fmean(values), index)
        means = {name: statistics.fmean(metrics[f"fold_{i}_{name}"] for i in range(count)) for name in scores}
        spread = {"cv_mean": statistics.fmean(values), "cv_std": statistics.stdev(values)}
        return {**metrics, **means, **spread}

    def _fold(
        self, trial: optuna.Trial, settings: FitSettings, data: Prepared, index: int, run: Run
    ) -> dict[str, float]:
        uid = _uid(trial, f"fold_{index}_uid")
        with self.tracker.start_fold_run(run, index, uid=uid) as fold_run:
            folder = self.folder / "trials" / f"{trial.number}-fold-{index}"
            fitted = self._fit(settings, data, folder, lambda epoch: _log_epoch(fold_run, epoch))
            shutil.rmtree(folder)
            metrics = dict(fitted.scores.metrics())
            fold_run.log(RunRecord(metrics=metrics))
        return metrics

    def _checkpoint(self, number: int) -> Path:
        return self.folder / "trials" / str(number)

    def _drop_losers(self, trial: optuna.Trial, value: float | None) -> None:
        """Remove the checkpoints of trials that are no longer among the best; `value` is that of the running one."""
        values = {other.number: other.value for other in _completed(trial.study)}
        if value is not None:
            values[trial.number] = value
        kept = self._ranked(values)[: self.keep]
        for number in {trial.number, *values} - set(kept):
            shutil.rmtree(self._checkpoint(number), ignore_errors=True)

    def _ranked(self, values: Mapping[int, float]) -> list[int]:
        """Numbers of trials, the best first; of equals the earlier."""
        sign = -1.0 if self.config.objective.goal == "maximize" else 1.0
        return sorted(values, key=lambda number: (sign * values[number], number))

    def result(self, study: optuna.Study, backbone: str) -> SweepResult:
        trials = tuple(_summary(trial) for trial in study.get_trials(deepcopy=False))
        values = {trial.number: trial.value for trial in _completed(study)}
        if not values:
            raise StageError(f"none of the {len(trials)} trials of {backbone} completed; see the warnings above")
        ranked = self._ranked(values)[: self.keep]
        return SweepResult(
            backbone=backbone,
            study_name=study.study_name,
            metric=self.config.objective.metric,
            goal=self.config.objective.goal,
            epochs=self.config.epochs,
            trials=trials,
            best_number=ranked[0],
            checkpoints={number: self._kept(trials[number]) for number in ranked},
            random_search=self.config.is_random_search(),
            pictures=_pictures(study, trials, self.config.objective, self.folder),
        )

    def _kept(self, trial: TrialSummary) -> Path:
        """The trial's checkpoint; after k-fold, and where it was lost, refitted on the whole train split."""
        folder = self._checkpoint(trial.number)
        if not (folder / "best" / "nertrail.json").is_file():
            self._fit(self._settings(trial.params), self.prepared, folder, None)
        return folder / "best"


def _completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
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


def _reporter(trial: optuna.Trial, run: Run, sweep: _Sweep) -> Callable[[Epoch], None]:
    """What is done with each epoch's scores: shown, told to the study, judged by the pruner."""
    metric = sweep.config.objective.metric
    seen = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def on_epoch(epoch: Epoch) -> None:
        if epoch.number not in seen:  # a trial taken up again repeats its epochs, its run has them already
            _log_epoch(run, epoch)
        _report(trial, objective_of(epoch.metrics, metric), epoch.number)

    return on_epoch


def _report(trial: optuna.Trial, value: float, step: int) -> None:
    import optuna

    if step not in trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values:
        trial.report(value, step)
    if trial.should_prune():
        raise optuna.TrialPruned(f"pruned at step {step}")


def _log_epoch(run: Run, epoch: Epoch) -> None:
    shown = {f"eval_{name}": value for name, value in epoch.metrics.items()}
    run.log_metrics({**shown, "train_loss": epoch.train_loss}, step=epoch.number)


def _summary(trial: optuna.trial.FrozenTrial) -> TrialSummary:
    return TrialSummary(
        number=trial.number,
        uid=trial.user_attrs.get("uid", ""),
        state=trial.state.name,
        params=trial.params,
        value=trial.value if trial.state.name == "COMPLETE" else None,
        metrics=trial.user_attrs.get("metrics", {}),
    )


def _pictures(
    study: optuna.Study, trials: tuple[TrialSummary, ...], objective: ObjectiveConfig, folder: Path
) -> tuple[Path, ...]:
    from nertrail import plots

    history = [{"number": t.number, "value": t.value, "state": t.state} for t in trials]
    drawn = [plots.optimization_history(history, folder / "optimization_history.png", objective.metric, objective.goal)]
    weights = _importances(study)
    if weights:
        drawn.append(plots.param_importances(weights, folder / "param_importances.png"))
    return tuple(drawn)


def _importances(study: optuna.Study) -> dict[str, float]:
    """How much each hyperparameter mattered; empty where the trials are too few or too alike to tell."""
    import optuna

    try:
        return dict(optuna.importance.get_param_importances(study))
    except (RuntimeError, ValueError):
        return {}
