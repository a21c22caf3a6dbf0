"""Which provider and which file are taken. No GPU is needed to choose one."""

from __future__ import annotations

import pytest

from nertrail.errors import ConfigError
from nertrail.ner.devices import CPU, CUDA, providers, suited


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
