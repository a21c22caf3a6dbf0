"""Training: the final model, or a model trained further, scored once on validation and on test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.numbers import Count, FileName
from nertrail.records import Artifact, DatasetInput, RunRecord
from nertrail.stages.continuation import Source, Strategy, continued_types, locate
from nertrail.stages.data import DataConfig
from nertrail.stages.hyperparameters import Hyperparameters, Metric
from nertrail.stages.inputs import BackboneConfig, Inputs, Progress, quiet
from nertrail.stages.scored import write_files
from nertrail.stages.seeded import SeededTraining
from nertrail.stages.seeds import SeedScores, compared, summarize
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.names import prefixed

if TYPE_CHECKING:
    from nertrail.ner.trainer import Fitted
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
    metric: str = "macro-f1-span"  # that the best epoch was chosen by
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
    training = SeededTraining.of(config, hyperparameters, inputs, backbone, folder, _source(source_checkpoint), old)
    with tracker.start_training_run(
        f"{training.prepared.backbone.name}_{{run_id}}",
        training.prepared.backbone.name,
        training.kind,
        source_training_run=training.source.run if training.source else None,
        uid=uid,
    ) as run:
        result = _result(training, training.fit(run, progress, records=tracker.records), run.uid)
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
    training = SeededTraining.of(config, hyperparameters, inputs, backbone, folder, _source(source_checkpoint), old)
    for seeded in (training, *training.others()):
        run = MLflowTrainingTracker.off().start_training_run("", "")
        seeded.fit(run, quiet, records=False)


def check_source(config: TrainingConfig, inputs: Inputs, source: Source, old: Inputs | None) -> None:
    """Raise ModelError where the source can't be continued with this data."""
    continued_types(source, inputs, old, config.data_strategy, allow_removed=config.allow_removed_types)


def _source(given: Source | Path | None) -> Source | None:
    return locate(str(given), given) if isinstance(given, Path) else given


def _repeat(
    training: SeededTraining, result: TrainingResult, tracker: MLflowTrainingTracker, run: Run, progress: Progress
) -> tuple[SeedScores, ...]:
    """Every seed's scores, each in a run below the training run; a seed that is done is not done again."""
    scored = [SeedScores.of(training.seed, run.uid, result.scores())]
    scored += [other.scored(run.uid, progress) for other in training.others()]
    for each in scored:
        with tracker.start_seed_run(run, each.seed, uid=each.uid) as below:
            below.log(RunRecord(metrics=each.metrics))
    return tuple(scored)


def _result(training: SeededTraining, fitted: Fitted, uid: str) -> TrainingResult:
    """Score the best epoch's checkpoint, reloaded in fp32, and write the files that the run shows."""
    data, inputs = training.prepared, training.inputs
    validation, test = training.score(fitted.checkpoint)
    params = training.params(fitted)
    return TrainingResult(
        backbone=data.backbone.name,
        uid=uid,
        training_type=training.kind,
        params=params,
        checkpoint=fitted.checkpoint.path,
        metric=training.config.metric,
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
        source_dataset=(training.old.source, training.old.version) if training.old else None,
        comparison=training.comparison(fitted.checkpoint),
        files=write_files(training.folder, params, validation, test, fitted, show_texts=inputs.show_texts),
    )
