"""One small training in a process of its own, as the tests of kills and of several processes start it.

Usage: python fitting.py BACKBONE OUT [KILL_AT_STEP]
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import tiny
from nertrail.ner.checkpoint import load_checkpoint
from nertrail.ner.labels import LabelSet
from nertrail.ner.model import Backbone, load_tokenizer
from nertrail.ner.ranks import end, rank, world
from nertrail.ner.trainer import FitSettings, Fitted, fit
from nertrail.ner.windows import WindowSettings, encode

__all__ = ["load_checkpoint", "training"]

SETTINGS = FitSettings(learning_rate=8e-3, epochs=3, precision="fp32", dropout=0.1, warmup=0.1, batch_size=4)


def training(backbone: Path, out: Path, kill_at: int | None = None) -> Fitted:
    """Train the two-layer model, going on from what lies in `out`; kill -9 this process at a step, if asked to."""
    source, labels = Backbone("tiny", str(backbone)), LabelSet(tiny.TYPES)
    tokenizer, windows = load_tokenizer(source), WindowSettings(16, 4)
    train, validation = (encode(tiny.documents(n, seed), tokenizer, labels, windows) for n, seed in ((40, 1), (16, 2)))

    def on_step(done: int, _total: int) -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return fit(
        source, labels, train, validation, tokenizer, SETTINGS, out, on_step=on_step, resume=True, keep_resume=True
    )


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    fitted = training(Path(sys.argv[1]), folder, int(sys.argv[3]) if len(sys.argv) > 3 else None)
    report = {"rank": rank(), "metrics": fitted.scores.metrics(), "history": [e.shown() for e in fitted.history]}
    (folder / f"report-{rank()}.json").write_text(json.dumps(report), encoding="utf-8")
    if world() > 1:
        end(0)
