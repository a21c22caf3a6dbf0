"""Conversion: a model that passes, and every trace of one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nertrail.convert_to_onnx import main
from nertrail.errors import ConversionError, ModelError
from nertrail.experiment import Experiment
from nertrail.ner import onnx
from nertrail.stages.benchmark import candidates_in
from nertrail.stages.conversion import ConversionConfig, convert_model
from nertrail.stages.inputs import Inputs
from nertrail.stages.training import train_model
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowConversionTracker

LENIENT = ConversionConfig(min_f1_share=0.0)


@pytest.fixture(scope="module")
def checkpoint(experiment: Experiment, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    values = experiment.hyperparameters.with_values({"learning_rate": 5e-3})
    config = experiment.training.model_copy(update={"epochs": 1})
    return train_model(config, values, inputs, experiment.backbones[1], folder).checkpoint


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend()


@pytest.mark.parametrize("target", ["onnx_fp32", "onnx_int8"])
def test_a_conversion(checkpoint: Path, target: str, tmp_path: Path, experiment: Experiment, inputs: Inputs) -> None:
    validation = inputs.prepare(experiment.backbones[1]).validation
    result = convert_model(LENIENT, checkpoint, target, tmp_path, validation=validation)
    metrics = result.record().metrics
    assert (metrics["conversion_success"], metrics["smoke_test_passed"]) == (1.0, 1.0)
    assert metrics["compression_ratio"] == pytest.approx(result.checkpoint_bytes / result.onnx_bytes)
    assert abs(metrics["f1_drop"]) <= 1
    assert result.record().params["onnx_opset_version"] == 17
    assert "passed" in result.log_path.read_text(encoding="utf-8")
    assert [(c.backend, c.backbone) for c in candidates_in([tmp_path / target])] == [(target, "cut")]


def test_a_model_that_is_not_good_enough_leaves_its_numbers_and_its_log(
    checkpoint: Path, memory: MemoryBackend, tmp_path: Path
) -> None:
    config = ConversionConfig(max_abs_diff=1e-30)
    with pytest.raises(ConversionError, match="onnx_fp32: ConversionError: logits differ"):
        convert_model(config, checkpoint, "onnx_fp32", tmp_path, tracker=MLflowConversionTracker.over(memory))
    (run,) = memory.runs.values()
    assert run.status == "FAILED"
    assert (run.metrics["conversion_success"], run.metrics["smoke_test_passed"]) == (0.0, 1.0)
    assert run.metrics["max_abs_diff"] > 0
    assert "conversion_log.txt" in run.artifacts
    assert "model_fp32.onnx" not in run.artifacts
    assert not (tmp_path / "onnx_fp32").exists()


def test_what_an_exporter_raises_is_kept_as_the_cause(
    checkpoint: Path, memory: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boom = OSError("disk full")

    def export(*_: object) -> None:
        raise boom

    monkeypatch.setattr(onnx, "export_fp32", export)
    with pytest.raises(ConversionError) as caught:
        convert_model(LENIENT, checkpoint, "onnx_int8", tmp_path, tracker=MLflowConversionTracker.over(memory))
    (run,) = memory.runs.values()
    assert caught.value.__cause__ is boom
    assert (run.metrics["conversion_success"], run.metrics["smoke_test_passed"]) == (0.0, 0.0)
    assert "disk full" in (tmp_path / "onnx_int8.log.txt").read_text(encoding="utf-8")


def test_main_returns_its_exit_code(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "--target", "onnx_fp32", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "onnx_fp32" / "model_fp32.onnx")
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_folder_without_a_model_is_no_candidate(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nertrail\.json"):
        candidates_in([tmp_path])
