"""Conversion: a checkpoint as ONNX, in fp32 and int8, run and compared before it counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ConversionError
from nertrail.numbers import CountOrZero, NotNegative, Positive
from nertrail.records import Artifact, ModelVersion, RunRecord, RunRef, run_reference
from nertrail.stages.attempt import FILES, Attempt, Texts
from nertrail.stages.place import Place
from nertrail.tracking.mlflow_tracker import MLflowConversionTracker
from nertrail.tracking.names import conversion_metrics, conversion_params

if TYPE_CHECKING:
    from nertrail.ner.onnx import Quantization

__all__ = ["STAGE", "ConversionConfig", "ConversionResult", "Target", "Texts", "convert_model"]

STAGE = "conversion"
Target = Literal["onnx_fp32", "onnx_fp16", "onnx_int8"]


def _each_once(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    if twice := sorted({target for target in targets if targets.count(target) > 1}):
        raise ValueError(f"{twice[0]} is named twice")
    return targets


class ConversionConfig(Model):
    """Which ONNX models are made, how, and what they must keep.

    `max_abs_diff` bounds the logits of fp32 against PyTorch. Every model must keep `min_f1_share` of PyTorch's entity
    F1 on the validation texts (where there are any at hand); for that int8 may leave `fp32_matmuls` products in fp32.
    """

    targets: Annotated[tuple[Target, ...], pydantic.AfterValidator(_each_once)] = ("onnx_fp32", "onnx_int8")
    opset: int = pydantic.Field(default=17, ge=14, le=20)
    exporter: Literal["auto", "torchscript", "dynamo"] = "auto"
    per_channel: bool = True
    quantize_embeddings: bool = True
    max_abs_diff: Positive = 1e-4
    min_f1_share: NotNegative = pydantic.Field(default=0.99, le=1)
    fp32_matmuls: CountOrZero = 4

    def quantization(self) -> Quantization:
        from nertrail.ner.onnx import Quantization

        return Quantization(self.per_channel, self.quantize_embeddings)


class ConversionResult(Model):
    """A converted model, or why there is none; `uid` is its run. `folder` serves the model: ONNX, tokenizer, labels."""

    uid: str
    target: Target
    backbone: str
    source: str
    source_uid: str | None
    success: bool
    folder: Path | None = None
    log_path: Path
    opset: int
    checkpoint_bytes: int = 0
    onnx_bytes: int = 0
    smoke_test_passed: bool = False
    max_abs_diff: float | None = None
    argmax_agreement: float | None = None
    gate: Literal["passed", "not compared", "switched off"] = "not compared"
    f1: float | None = None
    f1_drop: float | None = None
    f1_drop_low: float | None = None
    f1_drop_high: float | None = None
    changed_texts: float | None = None
    fp32_matmuls: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = {}
    test_f1: float | None = None
    test_f1_low: float | None = None
    test_f1_high: float | None = None
    data_version: str | None = None
    made_from: Mapping[str, tuple[str, ...]] = {}
    seconds: float = 0.0
    error: str | None = None

    @property
    def model(self) -> Path | None:
        return self.folder / FILES[self.target] if self.folder else None

    def record(self) -> RunRecord:
        """What the conversion run shows, success or not."""
        served = sorted(self.folder.iterdir()) if self.folder else []
        return RunRecord(
            params=conversion_params(self.source, self.target, _quantization(self.target), self.opset, self.backbone),
            metrics={
                **conversion_metrics(
                    self.success, self.onnx_bytes / 1e6, self.checkpoint_bytes / 1e6, self.smoke_test_passed
                ),
                **{name: float(value) for name, value in self._measured().items() if value is not None},
            },
            tags=run_reference("source_training_run", self.source_uid or ""),
            artifacts=(
                *(Artifact(path, path.name, reference=path.name == FILES[self.target]) for path in served),
                Artifact(self.log_path, "conversion_log.txt"),
                *self._registered(),
            ),
        )

    def _registered(self) -> tuple[Artifact, ...]:
        """The folder as a version of a model; one that passed the gate is the challenger of the one in production."""
        if self.folder is None:
            return ()
        numbers = {
            "f1": self.f1,
            "f1_drop": self.f1_drop,
            "test_f1": self.test_f1,
            "test_f1_low": self.test_f1_low,
            "test_f1_high": self.test_f1_high,
            "onnx_model_size_mb": self.onnx_bytes / 1e6,
        }
        tags = {
            "gate": self.gate,
            "conversion_type": self.target,
            "backbone": self.backbone,
            **({"data_version": self.data_version} if self.data_version else {}),
            **{name: f"{value:.6g}" for name, value in numbers.items() if value is not None},
        }
        runs = {**self.made_from, **({"source_training_run": (self.source_uid,)} if self.source_uid else {})}
        alias = "challenger" if self.gate == "passed" else None
        return (Artifact(self.folder, "model", True, ModelVersion(tags, runs, alias)),)

    def _measured(self) -> dict[str, float | None]:
        return {
            "max_abs_diff": self.max_abs_diff,
            "argmax_agreement": self.argmax_agreement,
            "f1_drop": self.f1_drop,
            "f1_drop_low": self.f1_drop_low,
            "f1_drop_high": self.f1_drop_high,
            "changed_texts": self.changed_texts,
            "fp32_matmuls": float(len(self.fp32_matmuls)),
            "test_micro-f1-span": self.test_f1,
            "test_micro-f1-span_low": self.test_f1_low,
            "test_micro-f1-span_high": self.test_f1_high,
            "conversion_seconds": self.seconds,
        }


def _quantization(target: Target) -> str:
    return {"onnx_int8": "int8", "onnx_fp16": "fp16"}.get(target, "none")


def convert_model(
    config: ConversionConfig,
    checkpoint_dir: Path,
    target: Target,
    folder: Path,
    *,
    texts: Texts | None = None,
    source_training_run: str | None = None,
    made_from: Mapping[str, tuple[str, ...]] | None = None,
    tracker: MLflowConversionTracker | None = None,
    uid: str | None = None,
) -> ConversionResult:
    """Convert a checkpoint to `target` in `folder`, load and run what was written, and compare it with PyTorch.

    Args:
        folder: gets `<target>/` (the servable files, all or none, in the place of an earlier model only once they have
            passed) and `<target>.log.txt`.
        texts: those on which entity F1 is compared, and on which a model that passed is scored once; without them int8
            passes on loading and running alone.
        source_training_run: uid of the run that trained the checkpoint; None for the one that the checkpoint names.
        made_from: uids of further runs behind the model, by the tag of the registered version that names them.

    Raises:
        ModelError: `checkpoint_dir` is no checkpoint.
        InputError: something else than an earlier model lies where the model is to go.
        ConversionError: the target could not be made or failed its check; the run has the log and all numbers.
    """
    from nertrail.ner.checkpoint import load_checkpoint

    tracker = tracker or MLflowConversionTracker.off()
    checkpoint = load_checkpoint(checkpoint_dir)
    source_uid = source_training_run or checkpoint.run_uid
    source = RunRef(source_uid) if source_uid else None
    Place(folder, target, FILES[target]).check(checkpoint.path)
    with tracker.start_conversion_run(f"convert-{target}", target, source, uid=uid) as run:
        attempt = Attempt(config, checkpoint, target, folder, texts or Texts())
        failure = attempt.run()
        result = _result(attempt, run.uid, source_uid, failure).model_copy(update={"made_from": made_from or {}})
        run.log(result.record())
        if failure is not None:
            raise ConversionError(f"{target}: {result.error}; see {result.log_path}") from failure
    return result


def _result(attempt: Attempt, uid: str, source_uid: str | None, failure: Exception | None) -> ConversionResult:
    from nertrail.ner.onnx import weight_bytes

    return ConversionResult(
        uid=uid,
        target=attempt.target,
        backbone=attempt.checkpoint.backbone_name,
        source=str(attempt.checkpoint.path),
        source_uid=source_uid,
        success=failure is None,
        folder=None if failure else attempt.place.path,
        log_path=attempt.log.close(),
        checkpoint_bytes=weight_bytes(attempt.checkpoint.path),
        seconds=attempt.seconds,
        data_version=attempt.texts.version,
        error=None if failure is None else f"{type(failure).__name__}: {failure}",
        **{"opset": attempt.config.opset, **attempt.numbers},
    )
