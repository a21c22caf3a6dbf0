"""What a model runs on: onnxruntime's execution providers, the file that suits each, and how many threads."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from nertrail.errors import ConfigError

MOST_THREADS = 512  # far more than any machine has cores; ten thousand end the process
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


def thread_count(wanted: object = None) -> int:
    """The number that was asked for; None: OMP_NUM_THREADS where it is set, else a thread per usable core.

    Left to themselves onnxruntime takes every core of the machine, torch those of the process: two numbers, of which
    the first leaves a container's share.

    Raises:
        ConfigError: no whole number from 1 to 512.
    """
    if wanted is None:
        return min(_omp_threads() or usable_cores(), MOST_THREADS)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= MOST_THREADS:
        remedy = f"give a whole number from 1 to {MOST_THREADS}, or none for as many as there are cores"
        raise ConfigError(f"found {wanted!r} where a number of threads is wanted", place="threads", remedy=remedy)
    return wanted


def usable_cores() -> int:
    """Cores this process may run on; in a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _omp_threads() -> int:
    """OMP_NUM_THREADS, of a list for nested regions the outermost; 0 where it names no number, as OpenMP reads it."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() else 0
