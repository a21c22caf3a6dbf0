"""Which provider and which file are taken. No GPU is needed to choose one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

from nertrail.errors import ConfigError
from nertrail.ner.devices import CPU, CUDA, providers, slow_fusions, suited
from nertrail.ner.parity import onnx_run
from nertrail.ner.predictor import OnnxRecognizer


@pytest.mark.parametrize(
    "device, available, expected",
    [
        ("cpu", [CUDA, CPU], [CPU]),
        ("cpu", [CPU], [CPU]),
        ("auto", [CPU], [CPU]),
        ("auto", [CUDA, CPU], [CUDA, CPU]),
        ("cuda", [CUDA, CPU], [CUDA, CPU]),
    ],
)
def test_providers(device: str, available: list[str], expected: list[str]) -> None:
    assert providers(device, available) == expected


@pytest.mark.parametrize("device, message", [("cuda", "knows no CUDA"), ("tpu", "unknown device 'tpu'")])
def test_what_there_is_not(device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        providers(device, [CPU])


FP32, FP16, INT8 = "model_fp32.onnx", "model_fp16.onnx", "model_int8.onnx"


@pytest.mark.parametrize(
    "files, chosen, expected",
    [
        ({FP32, INT8}, [CPU], INT8),
        ({FP32, FP16}, [CPU], FP32),
        ({FP32, FP16, INT8}, [CUDA, CPU], FP16),
        ({FP32, INT8}, [CUDA, CPU], FP32),
        ({INT8}, [CUDA, CPU], INT8),
        ({"other.onnx"}, [CPU], None),
        (set(), [CPU], None),
    ],
)
def test_the_file_for_a_provider(files: set[str], chosen: list[str], expected: str | None) -> None:
    assert suited(files, chosen) == expected


def test_onnxruntime_knows_the_fusions_that_it_is_to_leave_out(tiny_served: Path, tmp_path: Path) -> None:
    fused = []
    for number, disabled in enumerate(([], slow_fusions([CPU]))):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(tmp_path / f"{number}.onnx")
        model = str(tiny_served / "model_int8.onnx")
        onnxruntime.InferenceSession(model, options, providers=[CPU], disabled_optimizers=disabled)
        kinds = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
        fused.append(kinds["SkipLayerNormalization"])
    assert fused[0] > 0
    assert fused[1] == 0
    assert slow_fusions([CUDA, CPU]) == []


def test_models_run_without_them_in_production_and_when_they_are_judged(
    tiny_served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = [], onnxruntime.InferenceSession

    def opened(*given: Any, **named: Any) -> Any:
        asked.append(named.get("disabled_optimizers"))
        return real(*given, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    OnnxRecognizer(tiny_served, "model_int8.onnx")
    onnx_run(tiny_served / "model_int8.onnx")
    assert asked == [slow_fusions([CPU])] * 2
