"""Training: the final model, or a model trained further, scored once on validation and on test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ModelError
from nertrail.records import Artifact, DatasetInput, RunRecord, RunRef, read_json
from nertrail.stages.inputs import BackboneConfig, Hyperparameters, Inputs, Metric, Prepared, Progress, quiet
from nertrail.stages.scored import Scored, write_files
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.names import prefixed

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.trainer import Fitted
    from nertrail.tracking.mlflow_tracker import Run

STAGE = "training"


class TrainingConfig(Model):
    """How long the final model trains, and on what its best epoch is judged."""

    epochs: pydantic.PositiveInt = 4
    patience: pydantic.PositiveInt | None = 2
    metric: Metric = "macro-f1-span"


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
    files: Mapping[str, Path]

    def record(self) -> RunRecord:
        """What the training run shows once the model is done."""
        test = prefixed({**self.test_metrics, **self.test_entity_metrics}, "test_")
        speed = {"tokens_per_second": self.tokens_per_second, "best_epoch": float(self.best_epoch)}
        return RunRecord(
            params=self.params,
            metrics={**self.metrics, **self.entity_metrics, **test, **speed, **self.data_metrics},
            tags={"absent_types": ", ".join(self.absent_types)} if self.absent_types else {},
            artifacts=(
                Artifact(self.checkpoint, "checkpoint", reference=True),
                *(Artifact(path, name) for name, path in self.files.items()),
            ),
            datasets=(
                DatasetInput(Path(self.dataset_source).name or "data", self.dataset_digest, self.dataset_source),
            ),
        )


@dataclass(frozen=True)
class Start:
    """Where the weights come from: the backbone, or a checkpoint that is trained further."""

    checkpoint: Checkpoint | None
    source: str | None

    @property
    def training_type(self) -> Literal["final", "continued"]:
        return "final" if self.checkpoint is None else "continued"

    @property
    def source_run(self) -> RunRef | None:
        """The run that trained the checkpoint, where the checkpoint names it."""
        return RunRef(self.checkpoint.run_uid) if self.checkpoint and self.checkpoint.run_uid else None

    def params(self) -> dict[str, str]:
        if self.source is None:
            return {}
        return {"source_checkpoint": self.source, "data_strategy": "new_only"}


def train_model(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    inputs: Inputs,
    backbone: BackboneConfig,
    folder: Path,
    *,
    source_checkpoint: Path | None = None,
    tracker: MLflowTrainingTracker | None = None,
    uid: str | None = None,
    progress: Progress = quiet,
) -> TrainingResult:
    """Train `backbone`, keep its best epoch, and score that in fp32 on validation and once on test.

    Goes on from the last epoch in `folder` where an earlier call was interrupted.

    Args:
        folder: gets `fit/best` (the checkpoint) and the files that the run shows.
        source_checkpoint: train this checkpoint further instead of the bare backbone; its types must be the data's.
        uid: the MLflow run to go on with, None for a new one.

    Raises:
        ModelError: the backbone or the checkpoint can't be used.
        TrialError: the loss or the metric is not finite.
    """
    tracker = tracker or MLflowTrainingTracker.off()
    prepared = inputs.prepare(backbone)
    start = start_of(source_checkpoint, prepared)
    training = _Training(config, hyperparameters, inputs, prepared, start, folder)
    with tracker.start_training_run(
        f"{backbone.name}_{{run_id}}",
        backbone.name,
        start.training_type,
        source_training_run=start.source_run,
        uid=uid,
    ) as run:
        result = training.result(training.fit(run, progress, records=tracker.records), run.uid)
        run.log(result.record())
    shutil.rmtree(folder / "fit" / "resume", ignore_errors=True)
    return result


def start_of(source: Path | None, prepared: Prepared) -> Start:
    """Where a training starts: at the backbone, or at the checkpoint `source`.

    Raises:
        ModelError: `source` is no checkpoint, or one for other types than the data's.
    """
    if source is None:
        return Start(None, None)
    from nertrail.ner.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(source)
    if checkpoint.labels.types != prepared.labels.types:
        raise ModelError(
            f"knows the types {', '.join(checkpoint.labels.types)}, the data has {', '.join(prepared.labels.types)}",
            place=str(source),
            remedy="map the data's types with data.label_map, or name them with data.types",
        )
    return Start(checkpoint, str(source))


@dataclass(frozen=True)
class _Training:
    """One training: what it is made of and where it goes."""

    config: TrainingConfig
    hyperparameters: Hyperparameters
    inputs: Inputs
    prepared: Prepared
    start: Start
    folder: Path

    def fit(self, run: Run, progress: Progress, *, records: bool) -> Fitted:
        """Train, or train on; each epoch is shown in `run`, which the checkpoint names if it is recorded."""
        from nertrail.ner.trainer import fit

        settings = self.hyperparameters.fit_settings(
            epochs=self.config.epochs,
            seed=self.inputs.seed,
            metric=self.config.metric,
            decoding=self.inputs.decoding,
            patience=self.config.patience,
        )
        data, folder = self.prepared, self.folder / "fit"
        return fit(
            data.backbone,
            data.labels,
            data.train,
            data.validation,
            data.tokenizer,
            settings,
            folder,
            on_epoch=lambda epoch: run.log_metrics(epoch.shown(), step=epoch.number),
            on_step=lambda done, total: progress(f"training {data.backbone.name}", done, total),
            start=self.start.checkpoint,
            resume=(folder / "resume").is_dir(),
            keep_resume=True,
            run_uid=run.uid if records else None,
        )

    def result(self, fitted: Fitted, uid: str) -> TrainingResult:
        """Score the best epoch's checkpoint, reloaded in fp32, and write the files that the run shows."""
        data, inputs = self.prepared, self.inputs
        validation = Scored.of(fitted.checkpoint, data.validation)
        test = Scored.of(fitted.checkpoint, data.test) if data.test else None
        params = self._params(fitted)
        return TrainingResult(
            backbone=data.backbone.name,
            uid=uid,
            training_type=self.start.training_type,
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
            files=write_files(self.folder, params, validation, test, fitted, show_texts=inputs.show_texts),
        )

    def _params(self, fitted: Fitted) -> dict[str, Any]:
        inputs = self.inputs
        return {
            **self.hyperparameters.model_dump(),
            "precision": fitted.precision,
            "score_precision": "fp32",
            "dropout": _dropout(self.hyperparameters, fitted.checkpoint),
            "epochs": self.config.epochs,
            "backbone": self.prepared.backbone.name,
            "data_version": inputs.version,
            "dataset_path": inputs.source,
            "training_type": self.start.training_type,
            **self.start.params(),
            "random_seed": inputs.seed,
            "max_length": inputs.windows.max_length,
            "stride": inputs.windows.stride,
            "decoding": inputs.decoding,
        }


def _dropout(hyperparameters: Hyperparameters, checkpoint: Checkpoint) -> float | None:
    """The dropout that was trained with: the one asked for, else the backbone's own."""
    if hyperparameters.dropout is not None:
        return hyperparameters.dropout
    config = read_json(checkpoint.path / "config.json")
    own: float | None = config.get("hidden_dropout_prob", config.get("dropout"))
    return own
