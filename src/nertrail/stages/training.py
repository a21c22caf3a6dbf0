"""Training: the final model, or a model trained further, scored once on validation and on test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.numbers import Count, FileName
from nertrail.records import Artifact, DatasetInput, RunRecord, read_json, write_json
from nertrail.stages.continuation import Source, Strategy, compare, continued_types, joined, locate
from nertrail.stages.data import DataConfig
from nertrail.stages.hyperparameters import Hyperparameters, Metric
from nertrail.stages.inputs import BackboneConfig, Inputs, Prepared, Progress, quiet
from nertrail.stages.scored import Scored, write_files
from nertrail.stages.seeds import SeedScores, compared, summarize
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.names import prefixed

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.trainer import FitSettings, Fitted
    from nertrail.tracking.mlflow_tracker import Run

STAGE = "training"


class TrainingConfig(Model):
    """How long the final model trains, on what its best epoch is judged, and what it may be the continuation of."""

    epochs: Count = 4
    patience: Count | None = 2
    metric: Metric = "macro-f1-span"
    seeds: Count = 1
    source: FileName | None = None
    data_strategy: Strategy = "new_only"
    source_data: DataConfig | None = None
    allow_removed_types: bool = False

    @pydantic.model_validator(mode="after")
    def _knows_old_texts(self) -> TrainingConfig:
        if self.data_strategy != "new_only" and self.source_data is None:
            raise ValueError(f"data_strategy {self.data_strategy} needs the old texts: name them with source_data")
        return self


class TrainingResult(Model):
    """What a training left: a checkpoint, its scores and the settings that made it."""

    backbone: str
    uid: str
    training_type: Literal["final", "continued"]
    params: Mapping[str, Any]
    checkpoint: Path
    metrics: Mapping[str, float]
    entity_metrics: Mapping[str, float]
    test_metrics: Mapping[str, float]
    test_entity_metrics: Mapping[str, float]
    absent_types: tuple[str, ...]
    best_epoch: int
    tokens_per_second: float
    data_metrics: Mapping[str, float] = {}
    dataset_digest: str
    dataset_source: str
    source_dataset: tuple[str, str] | None = None
    comparison: Mapping[str, float] = {}
    seeds: tuple[SeedScores, ...] = ()
    files: Mapping[str, Path]

    def record(self) -> RunRecord:
        """What the training run shows once the model is done."""
        test = prefixed({**self.test_metrics, **self.test_entity_metrics}, "test_")
        speed = {"tokens_per_second": self.tokens_per_second, "best_epoch": float(self.best_epoch)}
        more = {**self.comparison, **summarize(self.seeds)}
        read = [(self.dataset_source, self.dataset_digest), *filter(None, [self.source_dataset])]
        return RunRecord(
            params=self.params,
            metrics={**self.metrics, **self.entity_metrics, **test, **speed, **self.data_metrics, **more},
            tags={"absent_types": ", ".join(self.absent_types)} if self.absent_types else {},
            artifacts=(
                Artifact(self.checkpoint, "checkpoint", reference=True),
                *(Artifact(path, name) for name, path in self.files.items()),
            ),
            datasets=tuple(DatasetInput(Path(source).name or "data", digest, source) for source, digest in read),
        )

    def scores(self) -> dict[str, float]:
        """What the trainings of several seeds are compared by."""
        return compared(self.metrics, self.test_metrics)


def train_model(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    inputs: Inputs,
    backbone: BackboneConfig,
    folder: Path,
    *,
    source_checkpoint: Source | Path | None = None,
    old: Inputs | None = None,
    tracker: MLflowTrainingTracker | None = None,
    uid: str | None = None,
    progress: Progress = quiet,
) -> TrainingResult:
    """Train `backbone`, keep its best epoch, and score that in fp32 on validation and once on test.

    Goes on from the last epoch in `folder` where an earlier call was interrupted. With several seeds the first one's
    model is the result, the others say how far its scores depend on chance.

    Args:
        folder: gets `fit/best` (the checkpoint) and the files that the run shows.
        source_checkpoint: train this checkpoint further instead of the bare backbone.
        old: the texts that it was trained on; `config.data_strategy` says what becomes of them.
        uid: the MLflow run to go on with, None for a new one.

    Raises:
        ModelError: the backbone or the checkpoint can't be used, or knows types that the data has not.
        TrialError: the loss or the metric is not finite.
    """
    tracker = tracker or MLflowTrainingTracker.off()
    training = _Training.of(config, hyperparameters, inputs, backbone, folder, _source(source_checkpoint), old)
    with tracker.start_training_run(
        f"{training.prepared.backbone.name}_{{run_id}}",
        training.prepared.backbone.name,
        training.kind,
        source_training_run=training.source.run if training.source else None,
        uid=uid,
    ) as run:
        result = training.result(training.fit(run, progress, records=tracker.records), run.uid)
        run.log(result.record())
        if config.seeds > 1:
            result = result.model_copy(update={"seeds": _repeat(training, result, tracker, run, progress)})
            run.log(RunRecord(metrics=summarize(result.seeds)))
    shutil.rmtree(folder / "fit" / "resume", ignore_errors=True)
    return result


def follow_training(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    inputs: Inputs,
    backbone: BackboneConfig,
    folder: Path,
    *,
    source_checkpoint: Source | Path | None = None,
    old: Inputs | None = None,
) -> None:
    """The part of `train_model` that a process has that is not the first of several: it trains, and records nothing."""
    training = _Training.of(config, hyperparameters, inputs, backbone, folder, _source(source_checkpoint), old)
    for seeded in (training, *_others(training)):
        run = MLflowTrainingTracker.off().start_training_run("", "")
        seeded.fit(run, quiet, records=False)


def check_source(config: TrainingConfig, inputs: Inputs, source: Source, old: Inputs | None) -> None:
    """Raise ModelError where the source can't be continued with this data."""
    continued_types(source, inputs, old, config.data_strategy, allow_removed=config.allow_removed_types)


def _source(given: Source | Path | None) -> Source | None:
    return locate(str(given), given) if isinstance(given, Path) else given


def _others(training: _Training) -> list[_Training]:
    """The same training under the further seeds."""
    first = training.seed
    return [
        replace(training, seed=seed, folder=training.folder / "seeds" / str(seed))
        for seed in range(first + 1, first + training.config.seeds)
    ]


def _repeat(
    training: _Training, result: TrainingResult, tracker: MLflowTrainingTracker, run: Run, progress: Progress
) -> tuple[SeedScores, ...]:
    """Every seed's scores, each in a run below the training run; a seed that is done is not done again."""
    scored = [SeedScores.of(training.seed, run.uid, result.scores())]
    scored += [other.scored(run.uid, progress) for other in _others(training)]
    for each in scored:
        with tracker.start_seed_run(run, each.seed, uid=each.uid) as below:
            below.log(RunRecord(metrics=each.metrics))
    return tuple(scored)


@dataclass(frozen=True)
class _Training:
    """One training: what it is made of and where it goes."""

    config: TrainingConfig
    hyperparameters: Hyperparameters
    inputs: Inputs
    prepared: Prepared
    source: Source | None
    old: Inputs | None
    folder: Path
    seed: int

    @classmethod
    def of(
        cls,
        config: TrainingConfig,
        hyperparameters: Hyperparameters,
        inputs: Inputs,
        backbone: BackboneConfig,
        folder: Path,
        source: Source | None,
        old: Inputs | None,
    ) -> _Training:
        """The training with its data prepared: the source's tokenizer and the joined texts, if there is a source."""
        if source is not None:
            strategy, allowed = config.data_strategy, config.allow_removed_types
            types = continued_types(source, inputs, old, strategy, allow_removed=allowed)
            inputs, backbone = joined(inputs, old, strategy, types), source.backbone()
        prepared = inputs.prepare(backbone, hyperparameters.max_length)
        return cls(config, hyperparameters, inputs, prepared, source, old, folder, inputs.seed)

    @property
    def kind(self) -> Literal["final", "continued"]:
        return "final" if self.source is None else "continued"

    @property
    def settings(self) -> FitSettings:
        """How it trains; texts that are appended keep their order."""
        made = self.hyperparameters.fit_settings(
            epochs=self.config.epochs,
            seed=self.seed,
            metric=self.config.metric,
            decoding=self.inputs.decoding,
            patience=self.config.patience,
        )
        ordered = self.source is not None and self.config.data_strategy == "append"
        return replace(made, batching="sequential") if ordered else made

    def scored(self, uid: str, progress: Progress) -> SeedScores:
        """The scores of this seed; its checkpoint is not kept."""
        path = self.folder / "scores.json"
        if not path.is_file():
            run = MLflowTrainingTracker.off().start_training_run("", "")
            fitted = self.fit(run, progress, records=False)
            validation, test = self._score(fitted.checkpoint)
            write_json(path, compared(validation.scores.metrics(), test.scores.metrics() if test else {}))
            shutil.rmtree(self.folder / "fit")
        return SeedScores.of(self.seed, uid, read_json(path))

    def fit(self, run: Run, progress: Progress, *, records: bool) -> Fitted:
        """Train, or train on; each epoch is shown in `run`, which the checkpoint names if it is recorded."""
        name, folder = self.prepared.backbone.name, self.folder / "fit"
        return self.prepared.fit(
            self.settings,
            folder,
            on_epoch=lambda epoch: run.log_metrics(epoch.shown(), step=epoch.number),
            on_step=lambda done, total: progress(f"training {name}, seed {self.seed}", done, total),
            start=self.source.checkpoint if self.source else None,
            resume=(folder / "resume").is_dir(),
            keep_resume=True,
            run_uid=run.uid if records else None,
        )

    def result(self, fitted: Fitted, uid: str) -> TrainingResult:
        """Score the best epoch's checkpoint, reloaded in fp32, and write the files that the run shows."""
        data, inputs = self.prepared, self.inputs
        validation, test = self._score(fitted.checkpoint)
        params = self._params(fitted)
        return TrainingResult(
            backbone=data.backbone.name,
            uid=uid,
            training_type=self.kind,
            params=params,
            checkpoint=fitted.checkpoint.path,
            metrics=validation.scores.metrics(),
            entity_metrics=validation.scores.entity_metrics(),
            test_metrics=test.scores.metrics() if test else {},
            test_entity_metrics=test.scores.entity_metrics() if test else {},
            absent_types=validation.scores.absent_types,
            best_epoch=fitted.best_epoch,
            tokens_per_second=fitted.tokens_per_second,
            data_metrics=inputs.data_metrics(data),
            dataset_digest=inputs.version,
            dataset_source=inputs.source,
            source_dataset=(self.old.source, self.old.version) if self.old else None,
            comparison=self._comparison(fitted.checkpoint),
            files=write_files(self.folder, params, validation, test, fitted, show_texts=inputs.show_texts),
        )

    def _score(self, checkpoint: Checkpoint) -> tuple[Scored, Scored | None]:
        data = self.prepared
        return Scored.of(checkpoint, data.validation), Scored.of(checkpoint, data.test) if data.test else None

    def _comparison(self, trained: Checkpoint) -> dict[str, float]:
        """Scores before and after on the new test split and, where the old data is named, on the old one."""
        if self.source is None:
            return {}
        splits = {"new_test": self.inputs.dataset.test, "old_test": self.old.dataset.test if self.old else ()}
        known = {name: documents for name, documents in splits.items() if documents}
        return compare(self.source, trained, known)

    def _continued(self) -> dict[str, Any]:
        """The params that only a continued training has."""
        if self.source is None:
            return {}
        strategy = {"source_checkpoint": self.source.name, "data_strategy": self.config.data_strategy}
        return {**strategy, "source_data_version": self.old.version} if self.old else strategy

    def _params(self, fitted: Fitted) -> dict[str, Any]:
        inputs = self.inputs
        return {
            **self.hyperparameters.model_dump(),
            "batching": self.settings.batching,
            "precision": fitted.precision,
            "score_precision": "fp32",
            "dropout": _dropout(self.hyperparameters, fitted.checkpoint),
            "epochs": self.config.epochs,
            "backbone": self.prepared.backbone.name,
            "data_version": inputs.version,
            "dataset_path": inputs.source,
            "training_type": self.kind,
            **self._continued(),
            "random_seed": self.seed,
            "max_length": self.prepared.windows.max_length,
            "stride": self.prepared.windows.stride,
            "decoding": inputs.decoding,
        }


def _dropout(hyperparameters: Hyperparameters, checkpoint: Checkpoint) -> float | None:
    """The dropout that was trained with: the one asked for, else the backbone's own."""
    if hyperparameters.dropout is not None:
        return hyperparameters.dropout
    config = read_json(checkpoint.path / "config.json")
    own: float | None = config.get("hidden_dropout_prob", config.get("dropout"))
    return own
