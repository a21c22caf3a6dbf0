"""How fast a backbone trains and is scored here, measured on a few texts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer

from nertrail.ner.backbone import Backbone
from nertrail.ner.history import Epoch
from nertrail.ner.trainer import FitSettings, fit
from nertrail.ner.windows import Encoded, Window


@dataclass(frozen=True)
class Pace:
    """Seconds of wall time per piece of text that is trained on, per piece that is scored, and per trial besides."""

    train: float
    score: float
    start: float

    def epoch(self, train: int, validation: int) -> float:
        """Seconds of one epoch over so many pieces."""
        return self.train * train + self.score * validation


class _Stopwatch:
    """Times of the second epoch: in the first one kernels and caches warm up."""

    def __init__(self) -> None:
        self.began = self.step = time.perf_counter()
        self.epochs: list[float] = []
        self.steps: list[float] = []

    def on_step(self, _done: int, _total: int) -> None:
        self.step = time.perf_counter()

    def on_epoch(self, _epoch: Epoch) -> None:
        self.steps.append(self.step)
        self.epochs.append(time.perf_counter())


def measure_pace(
    backbone: Backbone, train: Encoded, validation: Encoded, tokenizer: Tokenizer, settings: FitSettings
) -> Pace:
    """Train two epochs on `train`, a sample of a few batches, and time the second."""
    watch = _Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        brief = replace(settings, epochs=2, patience=None)
        out = Path(folder)
        fit(
            backbone,
            train.labels,
            train,
            validation,
            tokenizer,
            brief,
            out,
            on_epoch=watch.on_epoch,
            on_step=watch.on_step,
        )
    trained, scored = watch.steps[1] - watch.epochs[0], watch.epochs[1] - watch.steps[1]
    first = watch.epochs[0] - watch.began
    return Pace(
        train=trained / pieces_of(train.windows),
        score=scored / pieces_of(validation.windows),
        start=max(0.0, first - trained - scored),
    )


def pieces_of(windows: Sequence[Window]) -> int:
    """Word pieces of some windows, special ones included."""
    return sum(len(window.input_ids) for window in windows)
