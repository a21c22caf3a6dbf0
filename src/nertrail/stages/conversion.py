"""Conversion: a checkpoint as ONNX, in fp32 and int8, run and compared before it counts."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ConversionError
from nertrail.records import Artifact, RunRecord, RunRef, run_reference
from nertrail.stages.conversion_log import ConversionLog
from nertrail.tracking.mlflow_tracker import MLflowConversionTracker
from nertrail.tracking.names import conversion_metrics, conversion_params

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.windows import Encoded

STAGE = "conversion"
Target = Literal["onnx_fp32", "onnx_int8"]
_FILES: Mapping[Target, str] = {"onnx_fp32": "model_fp32.onnx", "onnx_int8": "model_int8.onnx"}


class ConversionConfig(Model):
    """Which ONNX models are made, and what they must keep.

    `max_abs_diff` bounds the logits of fp32 against PyTorch; int8 is judged by entity F1, of which it must keep
    `min_f1_share` of PyTorch's on the validation texts (where there are any at hand).
    """

    targets: tuple[Target, ...] = ("onnx_fp32", "onnx_int8")
    opset: int = pydantic.Field(default=17, ge=14, le=20)
    max_abs_diff: pydantic.PositiveFloat = 1e-4
    min_f1_share: float = pydantic.Field(default=0.95, ge=0, le=1)


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
    f1: float | None = None
    f1_drop: float | None = None
    seconds: float = 0.0
    error: str | None = None

    @property
    def model(self) -> Path | None:
        return self.folder / _FILES[self.target] if self.folder else None

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
                *(Artifact(path, path.name, reference=path.name == _FILES[self.target]) for path in served),
                Artifact(self.log_path, "conversion_log.txt"),
            ),
        )

    def _measured(self) -> dict[str, float | None]:
        return {
            "max_abs_diff": self.max_abs_diff,
            "argmax_agreement": self.argmax_agreement,
            "f1_drop": self.f1_drop,
            "conversion_seconds": self.seconds,
        }


def _quantization(target: Target) -> str:
    return "int8" if target == "onnx_int8" else "none"


def convert_model(
    config: ConversionConfig,
    checkpoint_dir: Path,
    target: Target,
    folder: Path,
    *,
    validation: Encoded | None = None,
    source_training_run: str | None = None,
    tracker: MLflowConversionTracker | None = None,
    uid: str | None = None,
) -> ConversionResult:
    """Convert a checkpoint to `target` in `folder`, load and run what was written, and compare it with PyTorch.

    Args:
        folder: gets `<target>/` (the servable files, all or none) and `<target>.log.txt`.
        validation: texts on which entity F1 is compared; without them int8 passes on loading and running alone.
        source_training_run: uid of the run that trained the checkpoint; None for the one that the checkpoint names.

    Raises:
        ModelError: `checkpoint_dir` is no checkpoint.
        ConversionError: the target could not be made or failed its check; the run has the log and all numbers.
    """
    from nertrail.ner.checkpoint import load_checkpoint

    tracker = tracker or MLflowConversionTracker.off()
    checkpoint = load_checkpoint(checkpoint_dir)
    source_uid = source_training_run or checkpoint.run_uid
    source = RunRef(source_uid) if source_uid else None
    with tracker.start_conversion_run(f"convert-{target}", target, source, uid=uid) as run:
        attempt = _Attempt(config, checkpoint, target, folder, validation)
        failure = attempt.run()
        result = attempt.result(run.uid, source_uid, failure)
        run.log(result.record())
        if failure is not None:
            raise ConversionError(f"{target}: {result.error}; see {result.log_path}") from failure
    return result


class _Attempt:
    """One try at one target: what was measured until it ended, well or not."""

    def __init__(
        self,
        config: ConversionConfig,
        checkpoint: Checkpoint,
        target: Target,
        folder: Path,
        validation: Encoded | None,
    ) -> None:
        self.config, self.checkpoint, self.target, self.validation = config, checkpoint, target, validation
        self.folder = folder / target
        self.log = ConversionLog(folder / f"{target}.log.txt")
        self.numbers: dict[str, Any] = {}
        self._began = time.perf_counter()

    def run(self) -> Exception | None:
        """Make the model, run it, compare it. Returns what it failed with; then no model is left."""
        try:
            model = self._make()
            self._measure(model)
            self._judge()
        except Exception as failure:  # noqa: BLE001 - told in the run's numbers first, then raised by convert_model
            self.log.traceback()
            self.log(f"FAILED: {failure}")
            shutil.rmtree(self.folder, ignore_errors=True)
            return failure
        except BaseException:  # stopped: what was not judged must not look like a model that passed
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.log("passed")
        return None

    def _make(self) -> Path:
        from nertrail.ner.onnx import export_fp32, quantize_int8

        shutil.rmtree(self.folder, ignore_errors=True)
        if self.target == "onnx_fp32":
            return export_fp32(self.checkpoint, self.folder, self.config.opset, self.log)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as draft:
            fp32 = export_fp32(self.checkpoint, Path(draft), self.config.opset, self.log)
            return quantize_int8(fp32, self.folder, self.log)

    def _measure(self, model: Path) -> None:
        from nertrail.ner.onnx import opset_of, parity, weight_bytes

        self.numbers.update(opset=opset_of(model), onnx_bytes=weight_bytes(model))
        parity_found = parity(self.checkpoint, model, log=self.log)
        self.numbers.update(
            max_abs_diff=parity_found.max_abs_diff,
            argmax_agreement=parity_found.argmax_agreement,
            smoke_test_passed=math.isfinite(parity_found.max_abs_diff),
        )
        if self.validation is not None:
            self._score(self.validation)

    def _score(self, validation: Encoded) -> None:
        """Entity F1 of both models on the validation texts."""
        from nertrail.ner.evaluation import evaluate
        from nertrail.ner.predictor import OnnxRecognizer, TorchRecognizer, run

        models = (TorchRecognizer(self.checkpoint), OnnxRecognizer(self.folder, _FILES[self.target]))
        before, after = (evaluate(validation, run(model, validation), self.checkpoint.decoding) for model in models)
        drop = before.micro_f1_span - after.micro_f1_span
        self.numbers.update(f1=after.micro_f1_span, f1_drop=drop)
        self.log(f"micro-f1-span on validation: PyTorch {before.micro_f1_span:.4f}, this {after.micro_f1_span:.4f}")

    def _judge(self) -> None:
        """Raise ConversionError where the model is not good enough."""
        diff, allowed = self.numbers["max_abs_diff"], self.config.max_abs_diff
        if not math.isfinite(diff):
            raise ConversionError("the smoke test gave logits that are not finite")
        if self.target == "onnx_fp32" and diff > allowed:
            raise ConversionError(f"logits differ from PyTorch by {diff:.3g}, more than max_abs_diff {allowed}")
        if "f1" not in self.numbers:
            self.log("no validation texts at hand: entity F1 was not compared")
            return
        kept, wanted = self.numbers["f1"], self.numbers["f1"] + self.numbers["f1_drop"]
        if kept < self.config.min_f1_share * wanted:
            raise ConversionError(
                f"micro-f1-span {kept:.4f} is below {self.config.min_f1_share:.0%} of PyTorch's {wanted:.4f}"
            )

    def result(self, uid: str, source_uid: str | None, failure: Exception | None) -> ConversionResult:
        from nertrail.ner.onnx import weight_bytes

        return ConversionResult(
            uid=uid,
            target=self.target,
            backbone=self.checkpoint.backbone_name,
            source=str(self.checkpoint.path),
            source_uid=source_uid,
            success=failure is None,
            folder=None if failure else self.folder,
            log_path=self.log.close(),
            checkpoint_bytes=weight_bytes(self.checkpoint.path),
            seconds=time.perf_counter() - self._began,
            error=None if failure is None else f"{type(failure).__name__}: {failure}",
            **{"opset": self.config.opset, **self.numbers},
        )
