"""An onnxruntime session, opened in one way wherever a model is judged or served, and what tells its files apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nertrail.ner.devices import slow_fusions, thread_count

# All of a 23 MB model takes sha256 0.04 s, which a cold start would feel; these blocks 0.003 s, of any model.
_BLOCK, _BLOCKS = 1 << 17, 16


def open_session(path: Path, chosen: Sequence[str], threads: int | None = None) -> Any:
    """The session of an ONNX file on the chosen providers; `threads` within a product, None: see `thread_count`.

    What onnxruntime raises passes through: its errors have no base of their own.

    Raises:
        ConfigError: no such number of threads.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, too
    options.intra_op_num_threads = thread_count(threads)
    return onnxruntime.InferenceSession(
        str(path), options, providers=list(chosen), disabled_optimizers=slow_fusions(chosen)
    )


def fingerprint(path: Path) -> str:
    """sha256 of a JSON file's content; of a model's size and of 16 blocks of 128 KB spread from its start to its end.

    Two trainings differ in all weights, so that a sample tells them apart; it is no protection against deceit.
    """
    size, total = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        if path.suffix == ".json" or size <= _BLOCK * _BLOCKS:
            return hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{size} ".encode())
        for number in range(_BLOCKS):
            file.seek((size - _BLOCK) * number // (_BLOCKS - 1))
            total.update(file.read(_BLOCK))
    return total.hexdigest()
