"""One pipeline's records: a parent, four stages, three trials that write from processes of their own.

Every function tells one process's part to a backend, be it a journal or a store.
"""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from nertrail.records import Artifact, DatasetInput, RunRecord, RunRef
from nertrail.tracking import segments, writer
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.protocol import PARENT_TAG, Backend, Point, RunStart

T0 = 1_700_000_000_000
TRIALS = (0, 1, 2)
LAST_OF_TRIAL_2 = T0 + 2_105
Part = Callable[[Backend, Path], None]


def uid(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, name).hex


UIDS = {uid(name) for name in ("pipeline", "sweep", "benchmark", "training", "conversion", "t0", "t1", "t2")}


def before_the_trials(backend: Backend, files: Path) -> None:
    """The pipeline and the sweep begin."""
    (files / "config.yaml").write_text("a: 1\n")
    config = Artifact(files / "config.yaml", "config.yaml")
    backend.start(RunStart(uid("pipeline"), "pipeline", "crash", T0, {"mlflow.user": "me", "état": "neu"}))
    backend.log(
        uid("pipeline"), RunRecord({"seed": 42, "note": "ünïcode 😀"}, {}, {"state": "begun"}, (config,)), T0 + 1
    )
    backend.start(RunStart(uid("sweep"), "sweep", "crash", T0 + 10, {PARENT_TAG: RunRef(uid("pipeline"))}))
    backend.log(uid("sweep"), RunRecord({"max_trials": 3}, tags={"best": (RunRef(uid("t1")),)}), T0 + 11)


def trial(number: int) -> Part:
    """One trial; the last is killed before it ends."""

    def part(backend: Backend, files: Path) -> None:
        name, begin = uid(f"t{number}"), T0 + 100 + 1000 * number
        (files / f"trial-{number}.json").write_text(f'{{"number": {number}}}')
        report = Artifact(files / f"trial-{number}.json", f"trial-{number}.json")
        backend.start(RunStart(name, f"trial {number}", "crash", begin, {PARENT_TAG: RunRef(uid("sweep"))}))
        backend.log(name, RunRecord({"lr": 10.0**-number}, tags={"trial_state": "RUNNING"}, artifacts=(report,)), begin)
        for step in range(1, 6):
            loss = float("nan") if (number, step) == (1, 3) else 1 / step
            backend.log_metrics(name, [Point("loss", loss, step, begin + step), Point("f1", 0.1 * step, step, begin)])
        if number != TRIALS[-1]:
            backend.log(
                name, RunRecord(metrics={"macro-f1": 0.5 + number}, tags={"trial_state": "COMPLETE"}), begin + 6
            )
            backend.end(name, "FINISHED", begin + 7)

    return part


def after_the_trials(backend: Backend, files: Path) -> None:
    """The sweep ends, three more stages follow, one fails, and the config is logged again with other content."""
    pipeline, training = uid("pipeline"), uid("training")
    backend.log(uid("sweep"), RunRecord(metrics={"n_trials": 3}), T0 + 5_000)
    backend.end(uid("sweep"), "FINISHED", T0 + 5_001)
    for begin, name in enumerate(("benchmark", "training", "conversion"), 6_000):
        tags = {PARENT_TAG: RunRef(pipeline), "source_sweep_runs": (RunRef(uid("sweep")), RunRef(uid("t0")))}
        backend.start(RunStart(uid(name), name, "crash", T0 + begin, tags))
    checkpoint = files / "checkpoint"
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (checkpoint / "deep" / "labels.json").write_text("{}")
    data = DatasetInput("corpus", "0123456789abcdef", "/data/corpus")
    artifacts = (Artifact(checkpoint, "checkpoint", reference=True),)
    backend.log(training, RunRecord({"lr": 0.1}, {"loss": float("inf")}, {}, artifacts, (data,)), T0 + 6_100)
    for step in range(1, 60):
        backend.log_metrics(training, [Point("train_loss", 2.0**-step, step, T0 + 6_100 + step)])
    backend.log(training, RunRecord({"lr": 0.2}, datasets=(data,)), T0 + 6_200)
    backend.log(uid("benchmark"), RunRecord(metrics={"latency": 1.5}), T0 + 6_300)
    backend.end(uid("benchmark"), "FINISHED", T0 + 6_301)
    backend.end(uid("conversion"), "FAILED", T0 + 6_302)
    backend.end(training, "FINISHED", T0 + 6_303)
    (files / "config.yaml").write_text("a: 2\n")
    config = Artifact(files / "config.yaml", "config.yaml")
    backend.log(pipeline, RunRecord(tags={"state": "over"}, artifacts=(config,)), T0 + 7_000)
    backend.end(pipeline, "FINISHED", T0 + 7_001)


def record(run_dir: Path, files: Path) -> Path:
    """Write the journal: four processes, small segments, and a last line that the third trial did not finish."""
    files.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SEGMENT_BYTES", 2_500)
        main = JournalBackend(run_dir)
        before_the_trials(main, files)
        for number in TRIALS:
            process = multiprocessing.get_context("fork").Process(target=_child, args=(run_dir, files, trial(number)))
            process.start()
            process.join()
        after_the_trials(main, files)
        main.close()
    last = segments.segments(segments.writers(run_dir / "journal")[-1])[-1]
    with last.open("ab") as file:
        file.write(b'0badc0de {"op":"metrics","run":"' + uid("t2").encode())
    return run_dir


def _child(run_dir: Path, files: Path, part: Part) -> None:
    part(JournalBackend(run_dir), files)
    os._exit(0)  # as if killed: nothing is closed


def play(backend: Backend, files: Path) -> None:
    """The same, told by one process, with the end that delivery gives to the killed trial."""
    files.mkdir(parents=True)
    before_the_trials(backend, files)
    for number in TRIALS:
        trial(number)(backend, files)
    backend.end(uid("t2"), "KILLED", LAST_OF_TRIAL_2)
    after_the_trials(backend, files)
