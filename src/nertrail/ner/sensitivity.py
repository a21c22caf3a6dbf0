"""Which products cost int8 most: each is left in fp32 once, and what that saves of the logits' error is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nertrail.ner.labels import Floats
from nertrail.ner.onnx import Log, Quantization, quantize_int8
from nertrail.ner.predictor import OnnxRecognizer, run
from nertrail.ner.windows import Encoded


def rank_by_error(
    fp32: Path, candidates: Sequence[str], sample: Encoded, log: Log, settings: Quantization | None = None
) -> tuple[str, ...]:
    """The candidates, the one whose rounding adds most to the mean logit error first.

    Args:
        fp32: the model before quantization.
        candidates: names of MatMul nodes, as from `narrowing_matmuls`.
        sample: validation texts; a few hundred tell the order.
    """
    reference = _logits(fp32, sample)
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as draft:
        for number, name in enumerate(candidates):
            folder = Path(draft) / str(number)
            path = quantize_int8(fp32, folder, lambda _line: None, exclude=(name,), settings=settings)
            errors[name] = float(np.abs(_logits(path, sample) - reference).mean())
            log(f"mean logit error on {len(sample.windows)} windows with {name} in fp32: {errors[name]:.5f}")
            path.unlink()  # of a large model the drafts would fill the disk
    return tuple(sorted(candidates, key=lambda name: errors[name]))


def _logits(path: Path, sample: Encoded) -> Floats:
    """Logits of the first pieces of all words: [words, labels]."""
    recognizer = OnnxRecognizer(path.parent, path.name)
    try:
        return np.concatenate(run(recognizer, sample))
    finally:
        recognizer.close()
