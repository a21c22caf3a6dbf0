"""Sweep: search hyperparameters for one backbone, keep the best trial's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Misplaced, Model
from nertrail.errors import StageError
from nertrail.execution.clock import Clock
from nertrail.execution.local import finished, run_trials
from nertrail.execution.workers import run_in_workers
from nertrail.numbers import Count, Positive
from nertrail.records import Artifact, RunRecord, run_reference
from nertrail.stages.hyperparameters import Hyperparameters, Metric
from nertrail.stages.inputs import BackboneConfig, Inputs, Progress, quiet
from nertrail.stages.pictures import history, importances
from nertrail.stages.search import Choice, Dimension, PrunerConfig, StorageConfig, is_random, open_study
from nertrail.stages.trials import Trials, completed
from nertrail.stages.work import Work
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker
from nertrail.tracking.names import best_params, prefixed
from nertrail.yamlfile import Key

if TYPE_CHECKING:
    import optuna

STAGE = "sweep"


class ObjectiveConfig(Model):
    """The validation metric that trials compete in."""

    metric: Metric = "macro-f1-span"
    goal: Literal["maximize", "minimize"] = "maximize"

    @pydantic.model_validator(mode="after")
    def _goal_fits(self) -> ObjectiveConfig:
        if self.metric == "loss" and self.goal == "maximize":
            raise ValueError("the loss is to be minimized: write goal: minimize")
        return self


class SweepConfig(Model):
    """How one backbone's hyperparameters are searched."""

    max_trials: Count = 10
    timeout_minutes: Positive | None = pydantic.Field(default=None, ge=0.01)
    budget: str | None = pydantic.Field(default=None, pattern=r"^\d{1,9}(\.\d{1,9})?[smh]$")
    workers: Count = pydantic.Field(default=1, le=256)
    epochs: Count = 3
    patience: Count | None = None
    objective: ObjectiveConfig = ObjectiveConfig()
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: PrunerConfig = PrunerConfig()
    storage: StorageConfig = StorageConfig()
    k_folds: Count | None = pydantic.Field(default=None, ge=2)
    search_space: Mapping[str, Dimension] = {}
    enqueue: tuple[Mapping[str, Any], ...] = ()

    @pydantic.model_validator(mode="after")
    def _searches_hyperparameters(self) -> SweepConfig:
        for name, dimension in self.search_space.items():
            if name not in Hyperparameters.model_fields:
                raise Misplaced("is no hyperparameter", ("search_space", name), sorted(Hyperparameters.model_fields))
            for value in dimension.limits():
                _check_hyperparameter(name, value, ("search_space", name))
        for number, trial in enumerate(self.enqueue):
            for name, value in trial.items():
                self._check_enqueued(name, value, ("enqueue", number, name))
        return self

    def _check_enqueued(self, name: str, value: Any, place: Key) -> None:
        if name not in self.search_space:
            raise Misplaced("the search space has no such dimension", place, sorted(self.search_space))
        if not self.search_space[name].allows(value):
            limits = ", ".join(map(str, self.search_space[name].limits()))
            raise Misplaced(f"{value!r} lies outside of the search space: {limits}", place)

    @pydantic.model_validator(mode="after")
    def _workers_share_a_study(self) -> SweepConfig:
        if self.workers > 1 and self.storage.type == "memory":
            raise ValueError(f"{self.workers} workers can't share a study in memory: use the storage journal or sqlite")
        return self

    def window_lengths(self) -> tuple[int | None, ...]:
        """The lengths of windows that trials may draw, the ends of a range alone; None for that of the data."""
        return self.search_space["max_length"].limits() if "max_length" in self.search_space else (None,)

    def comparing(self, lengths: Sequence[int], own: Hyperparameters) -> SweepConfig:
        """The search with the lengths of windows that the texts leave open as a dimension, if they leave any.

        The first trials have one of them each and are otherwise alike: the first known-good one, or `own` values.
        """
        if len(lengths) < 2 or "max_length" in self.search_space:
            return self
        known = {
            name: getattr(own, name)
            for name, dimension in self.search_space.items()
            if dimension.allows(getattr(own, name))
        }
        first = self.enqueue[0] if self.enqueue else known
        space = {**self.search_space, "max_length": Choice(type="choice", values=tuple(lengths))}
        enqueue = (*({**first, "max_length": length} for length in lengths), *self.enqueue[1:])
        return self.model_copy(update={"search_space": space, "enqueue": enqueue})

    def is_random_search(self) -> bool:
        """Whether every trial is drawn before the sampler has anything to learn from."""
        return self.sampler == "random" or all(map(is_random, range(self.max_trials)))


def _check_hyperparameter(name: str, value: Any, place: Key) -> None:
    """Raise Misplaced for a value that no training can have, before the first trial draws it."""
    try:
        Hyperparameters.model_validate({name: value})
    except pydantic.ValidationError as error:
        raise Misplaced(f"{name} can't be {value!r}: {error.errors()[0]['msg']}", place) from None


class TrialSummary(Model):
    """One trial, as the study and the files remember it. `value` is None unless it completed."""

    number: int
    uid: str
    state: str
    params: Mapping[str, Any]
    value: float | None = None
    metrics: Mapping[str, float] = {}


class SweepResult(Model):
    """What a sweep found; `uid` is its run."""

    uid: str
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
        return self.trial(self.best_number)

    def trial(self, number: int) -> TrialSummary:
        return next(trial for trial in self.trials if trial.number == number)

    def trial_name(self, number: int) -> str:
        """What a trial is called where trials of several backbones are compared."""
        return f"{self.backbone}-trial-{number}"

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
    config = config.comparing(inputs.compared, hyperparameters)
    study_name = config.storage.study_name(folder, f"{backbone.name}-{config.objective.metric}")
    study = open_study(config, folder, study_name, inputs.seed)
    with tracker.start_sweep_run(
        f"sweep-{backbone.name}",
        config.model_dump(mode="json"),
        backbone.name,
        study_name,
        checkpoint_config={"enabled": config.storage.type != "memory", "type": config.storage.type},
        storage_path=None if config.storage.type == "memory" else config.storage.path(folder, study_name),
        should_resume=finished(study) > 0,
        uid=uid,
    ) as run:
        clock = Clock(study)
        seconds = config.timeout_minutes * 60 - clock.earlier() if config.timeout_minutes else None
        for length in config.window_lengths():
            inputs.prepare(backbone, length)
        trials = Trials(config, hyperparameters, inputs, backbone, folder, keep, tracker, progress, clock)
        if config.workers > 1:
            environment = tracker.environment(run)
            recipe = tracker.experiment_name if environment else None
            work = Work(config, hyperparameters, inputs, backbone, folder, keep, study_name, recipe, tracker.switches)
            run_in_workers(study, work, config.workers, config.max_trials, seconds, clock, folder, environment)
        else:
            run_trials(study, trials.run, config.max_trials, seconds, clock)
        result = _result(study, backbone.name, trials, run.uid)
        run.log(result.record())
    return result


def _result(study: optuna.Study, backbone: str, made: Trials, uid: str) -> SweepResult:
    ended = (trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished())
    trials = tuple(_summary(trial) for trial in ended)
    values = {trial.number: trial.value for trial in completed(study)}
    if not values:
        raise StageError(f"none of the {len(trials)} trials of {backbone} completed; see the warnings above")
    ranked = {trial.number: trial for number in made.best(values) for trial in trials if trial.number == number}
    made.drop_all_but(ranked)
    return SweepResult(
        uid=uid,
        backbone=backbone,
        study_name=study.study_name,
        metric=made.config.objective.metric,
        goal=made.config.objective.goal,
        epochs=made.config.epochs,
        trials=trials,
        best_number=next(iter(ranked)),
        checkpoints={number: made.kept(number, trial.params, trial.uid) for number, trial in ranked.items()},
        random_search=made.config.is_random_search(),
        pictures=(
            history(study, made.config.objective.metric, made.folder),
            importances(study, made.folder),
        ),
    )


def _summary(trial: optuna.trial.FrozenTrial) -> TrialSummary:
    return TrialSummary(
        number=trial.number,
        uid=trial.user_attrs.get("uid", ""),
        state=trial.state.name,
        params=trial.params,
        value=trial.value if trial.state.name == "COMPLETE" else None,
        metrics=trial.user_attrs.get("metrics", {}),
    )
