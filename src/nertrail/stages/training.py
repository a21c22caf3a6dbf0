"""Training: the final model, or a model trained further, scored once on validation and on test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ModelError
from nertrail.records import Artifact, DatasetInput, RunRecord, read_json, write_json
from nertrail.stages.environment import environment
from nertrail.stages.inputs import BackboneConfig, Hyperparameters, Inputs, Metric, Prepared, Progress, quiet
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.names import prefixed

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.scoring import Scores
    from nertrail.ner.trainer import Epoch, Fitted
    from nertrail.ner.windows import Encoded
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
    dataset_digest: str
    dataset_source: str
    files: Mapping[str, Path]

    def record(self) -> RunRecord:
        """What the training run shows once the model is done."""
        test = prefixed({**self.test_metrics, **self.test_entity_metrics}, "test_")
        speed = {"tokens_per_second": self.tokens_per_second, "best_epoch": float(self.best_epoch)}
        return RunRecord(
            params=self.params,
            metrics={**self.metrics, **self.entity_metrics, **test, **speed},
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
    with tracker.start_training_run(f"{backbone.name}_{{run_id}}", backbone.name, start.training_type, uid=uid) as run:
        fitted = _fit(config, hyperparameters, inputs, prepared, folder / "fit", start, run, progress)
        result = _finish(config, hyperparameters, inputs, prepared, folder, start, fitted, run.uid)
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


def _fit(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    inputs: Inputs,
    prepared: Prepared,
    folder: Path,
    start: Start,
    run: Run,
    progress: Progress,
) -> Fitted:
    from nertrail.ner.trainer import fit

    settings = hyperparameters.fit_settings(
        epochs=config.epochs,
        seed=inputs.seed,
        metric=config.metric,
        decoding=inputs.decoding,
        patience=config.patience,
    )
    return fit(
        prepared.backbone,
        prepared.labels,
        prepared.train,
        prepared.validation,
        prepared.tokenizer,
        settings,
        folder,
        on_epoch=lambda epoch: _log_epoch(run, epoch),
        on_step=lambda done, total: progress(f"training {prepared.backbone.name}", done, total),
        start=start.checkpoint,
        resume=(folder / "resume").is_dir(),
        keep_resume=True,
    )


def _log_epoch(run: Run, epoch: Epoch) -> None:
    shown = {f"eval_{name}": value for name, value in epoch.metrics.items()}
    rate = {"train_loss": epoch.train_loss, "learning_rate_now": epoch.learning_rate}
    run.log_metrics({**shown, **rate}, step=epoch.number)


def _finish(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    inputs: Inputs,
    prepared: Prepared,
    folder: Path,
    start: Start,
    fitted: Fitted,
    uid: str,
) -> TrainingResult:
    """Score the best epoch's checkpoint, reloaded in fp32, and write the files that the run shows."""
    validation = _Scored.of(fitted.checkpoint, prepared.validation)
    test = _Scored.of(fitted.checkpoint, prepared.test) if prepared.test else None
    params = {
        **hyperparameters.model_dump(),
        "precision": fitted.precision,
        "score_precision": "fp32",
        "dropout": _dropout(hyperparameters, fitted.checkpoint),
        "epochs": config.epochs,
        "backbone": prepared.backbone.name,
        "data_version": inputs.version,
        "dataset_path": inputs.source,
        "training_type": start.training_type,
        **start.params(),
        "random_seed": inputs.seed,
        "max_length": inputs.windows.max_length,
        "stride": inputs.windows.stride,
        "decoding": inputs.decoding,
    }
    return TrainingResult(
        backbone=prepared.backbone.name,
        uid=uid,
        training_type=start.training_type,
        params=params,
        checkpoint=fitted.checkpoint.path,
        metrics=validation.scores.metrics(),
        entity_metrics=validation.scores.entity_metrics(),
        test_metrics=test.scores.metrics() if test else {},
        test_entity_metrics=test.scores.entity_metrics() if test else {},
        absent_types=validation.scores.absent_types,
        best_epoch=fitted.best_epoch,
        tokens_per_second=fitted.tokens_per_second,
        dataset_digest=inputs.version,
        dataset_source=inputs.source,
        files=_write_files(folder, params, validation, test, fitted, prepared, inputs.show_texts),
    )


def _dropout(hyperparameters: Hyperparameters, checkpoint: Checkpoint) -> float | None:
    """The dropout that was trained with: the one asked for, else the backbone's own."""
    if hyperparameters.dropout is not None:
        return hyperparameters.dropout
    config = read_json(checkpoint.path / "config.json")
    own: float | None = config.get("hidden_dropout_prob", config.get("dropout"))
    return own


@dataclass(frozen=True)
class _Scored:
    """A split's predictions and scores."""

    encoded: Encoded
    spans: list[frozenset[Any]]
    scores: Scores

    @classmethod
    def of(cls, checkpoint: Checkpoint, encoded: Encoded) -> _Scored:
        from nertrail.ner.evaluation import evaluate
        from nertrail.ner.predictor import TorchRecognizer, run
        from nertrail.ner.windows import predictions

        logits = run(TorchRecognizer(checkpoint), encoded)
        spans, _ = predictions(encoded, logits, checkpoint.decoding)
        return cls(encoded, spans, evaluate(encoded, logits, checkpoint.decoding))

    def errors(self) -> list[dict[str, Any]]:
        """The texts whose prediction differs from the gold, with what was missed and what was made up."""
        rows = []
        for document, predicted in zip(self.encoded.documents, self.spans, strict=True):
            if predicted != document.gold:
                text = document.document.text
                rows.append(
                    {
                        "id": document.document.id,
                        "missed": [[*span, text[span.start : span.end]] for span in sorted(document.gold - predicted)],
                        "spurious": [
                            [*span, text[span.start : span.end]] for span in sorted(predicted - document.gold)
                        ],
                    }
                )
        return rows


def _write_files(
    folder: Path,
    params: Mapping[str, Any],
    validation: _Scored,
    test: _Scored | None,
    fitted: Fitted,
    prepared: Prepared,
    show_texts: bool,
) -> dict[str, Path]:
    from nertrail import plots

    scores = {"validation": _document(validation.scores), "test": _document(test.scores) if test else None}
    history = [
        {"epoch": e.number, **e.metrics, "train_loss": e.train_loss, "learning_rate": e.learning_rate}
        for e in fitted.history
    ]
    files = {
        "metrics.json": write_json(
            folder / "metrics.json", {**scores, "history": history, "best_epoch": fitted.best_epoch}
        ),
        "config.yaml": _write_yaml(folder / "config.yaml", params),
        "label_map.json": write_json(folder / "label_map.json", prepared.labels.id2label),
        "environment.json": write_json(folder / "environment.json", environment()),
        "confusion_matrix.png": plots.confusion_matrix(validation.scores.confusion, folder / "confusion_matrix.png"),
    }
    if show_texts:
        files["errors.jsonl"] = _write_lines(folder / "errors.jsonl", validation.errors())
    return files


def _document(scores: Scores) -> dict[str, Any]:
    return {
        **scores.metrics(),
        "per_entity": {name: entity._asdict() for name, entity in scores.per_entity.items()},
        "absent_types": list(scores.absent_types),
        "confusion": scores.confusion,
    }


def _write_yaml(path: Path, values: Mapping[str, Any]) -> Path:
    import yaml

    path.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")
    return path


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
