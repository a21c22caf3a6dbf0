"""How many threads a model computes with: one number, for torch and onnxruntime alike."""

from __future__ import annotations

import os

from nertrail.errors import ConfigError
from nertrail.ner.hardware import usable_cores

MOST_THREADS = 512  # far more than any machine has cores; ten thousand end the process


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


def _omp_threads() -> int:
    """OMP_NUM_THREADS, of a list for nested regions the outermost; 0 where it names no number, as OpenMP reads it."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() else 0
