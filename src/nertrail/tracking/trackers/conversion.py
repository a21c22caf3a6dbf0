"""Conversion runs, one per target."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking import names
from nertrail.tracking.boundary import quietly
from nertrail.tracking.run import Run
from nertrail.tracking.settings import ConversionSwitches, Switches
from nertrail.tracking.tracker import Parent, Tracker

_MB = 1_000_000


class MLflowConversionTracker(Tracker):
    """Records a conversion to ONNX."""

    stage = "conversion"
    switches_type: ClassVar[type[Switches]] = ConversionSwitches

    def start_conversion_run(
        self,
        run_name: str,
        conversion_type: str,
        source_training_run: Run | RunRef | str | None = None,
        *,
        uid: str | None = None,
        parent: Parent = None,
    ) -> Run:
        """Open a conversion run. `conversion_type`: onnx_int8 or onnx_fp32; the source: handle, reference or id."""
        tags = {"conversion_type": conversion_type, **(quietly(names.source_run, source_training_run) or {})}
        self.run = self._start(run_name, run_type="conversion", tags=tags, uid=uid, parent=parent)
        return self.run

    def log_conversion_parameters(
        self,
        checkpoint_path: str | Path,
        conversion_target: str,
        quantization: str | None,
        opset_version: int,
        backbone: str,
    ) -> None:
        """Record the params of the contract."""
        self._log(
            lambda: RunRecord(
                params=names.conversion_params(
                    checkpoint_path, conversion_target, quantization, opset_version, backbone
                )
            )
        )

    def log_conversion_results(
        self,
        conversion_success: bool,
        onnx_model_path: str | Path | None = None,
        original_checkpoint_size: float | None = None,
        smoke_test_passed: bool | None = None,
        conversion_log_path: str | Path | None = None,
    ) -> None:
        """Record the outcome. `original_checkpoint_size`: bytes of the checkpoint's weight files."""
        self._log(
            lambda: _record(
                conversion_success,
                Path(onnx_model_path) if onnx_model_path else None,
                original_checkpoint_size,
                smoke_test_passed,
                Path(conversion_log_path) if conversion_log_path else None,
            )
        )


def _record(success: bool, model: Path | None, size: float | None, smoke: bool | None, log: Path | None) -> RunRecord:
    files = _model_files(model) if model and model.exists() else []
    model_mb = sum(path.stat().st_size for path in files) / _MB
    metrics = names.conversion_metrics(success, model_mb, size / _MB if size else None, smoke)
    artifacts = [Artifact(path, path.name) for path in files]
    if log and log.exists():
        artifacts.append(Artifact(log, "conversion_log.txt"))
    return RunRecord(metrics=metrics, artifacts=tuple(artifacts))


def _model_files(model: Path) -> list[Path]:
    """The ONNX file and its external data, which exporters write beside it as <name>.data or <name>_data."""
    beside = (model.with_name(model.name + end) for end in (".data", "_data"))
    return [model, *(path for path in beside if path.exists())]
