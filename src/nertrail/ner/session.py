"""An onnxruntime session, opened in one way wherever a model is judged or served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nertrail.ner.devices import slow_fusions


def open_session(path: Path, chosen: Sequence[str], threads: int | None = None) -> Any:
    """The session of an ONNX file on the chosen providers; `threads` within a product, None for onnxruntime's choice.

    What onnxruntime raises passes through: its errors have no base of their own.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, too
    options.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(
        str(path), options, providers=list(chosen), disabled_optimizers=slow_fusions(chosen)
    )
