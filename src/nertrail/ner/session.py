"""An onnxruntime session, opened in one way wherever a model is judged or served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nertrail.ner.devices import slow_fusions
from nertrail.ner.threads import thread_count


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
