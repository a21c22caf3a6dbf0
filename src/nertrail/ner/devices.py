"""Which file of a served model runs where: onnxruntime's execution providers, and the file that suits each."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nertrail.errors import ConfigError

DEVICES = ("cpu", "cuda", "auto")
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# int8 products need instructions that GPUs' providers do not use; fp16 is no faster than fp32 on a CPU (measured).
_FILES = {
    CPU: ("model_int8.onnx", "model_fp32.onnx", "model_fp16.onnx"),
    CUDA: ("model_fp16.onnx", "model_fp32.onnx", "model_int8.onnx"),
}

# On a CPU onnxruntime's kernel for both takes longer than an addition and a normalisation of their own: without it a
# MiniLM in int8 needs 0.88 to 0.93 of the time.
_SLOW_FUSIONS = {CPU: ("SkipLayerNormFusion",), CUDA: ()}


def providers(device: str, available: Collection[str]) -> list[str]:
    """The execution providers for a device, the first the one meant; the CPU takes what CUDA has no kernel for.

    Raises:
        ConfigError: no such device, or CUDA is asked for where this onnxruntime has none.
    """
    if device not in DEVICES:
        raise ConfigError(f"unknown device {device!r}", place="device", remedy=f"use one of {', '.join(DEVICES)}")
    if device == "cuda" and CUDA not in available:
        remedy = "install onnxruntime-gpu in the place of onnxruntime, or use device cpu"
        raise ConfigError("this onnxruntime knows no CUDA", place="device cuda", remedy=remedy)
    return [CUDA, CPU] if device != "cpu" and CUDA in available else [CPU]


def suited(files: Collection[str], chosen: Sequence[str]) -> str | None:
    """Of the model files in a folder, the one for the first of the chosen providers; None where there is none."""
    return next((name for name in _FILES[chosen[0]] if name in files), None)


def slow_fusions(chosen: Sequence[str]) -> list[str]:
    """The rewritings of a graph that onnxruntime is to leave out for the first of the chosen providers."""
    return list(_SLOW_FUSIONS[chosen[0]])
