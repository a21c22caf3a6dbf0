"""What is given is recorded as it is meant; what cannot be is counted and takes nothing else with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nertrail.records import Artifact, RunRecord
from nertrail.tracking import boundary
from nertrail.tracking import mlflow_tracker as trackers
from nertrail.tracking.memory import MemoryBackend, MemoryRun
from nertrail.tracking.receipt import Receipt
from nertrail.tracking.sync import sync

URI = "sqlite:////nowhere/mlflow.db"
SECRET = "https://bob:hunter22secret@host/x"


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def delivered(tracker: trackers.Tracker, run_dir: Path) -> tuple[MemoryRun, Receipt]:
    memory = MemoryBackend()
    receipt = tracker.flush()
    sync(run_dir, URI, backend=memory)
    return next(iter(memory.runs.values())), receipt


def recorded(tmp_path: Path, *records: RunRecord) -> tuple[MemoryRun, Receipt]:
    tracker = trackers.MLflowSelectionTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    run = tracker.start_selection_run("r")
    for record in records:
        run.log(record)
    return delivered(tracker, tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ((0.9, 0.999), "(0.9, 0.999)"),
        (np.float32(0.5), "0.5"),
        (np.int64(7), "7"),
        ([1, 2], "[1, 2]"),
        (Path("a"), "a"),
        (2**70, 2**70),
        ((), "()"),
    ],
)
def test_what_is_not_plain_is_its_text(given: Any, seen: Any, tmp_path: Path) -> None:
    run, receipt = recorded(tmp_path, RunRecord({"x": given, "lr": 1e-3}))
    assert run.params == {"x": seen, "lr": 1e-3} and receipt.dropped == 0


def test_a_trial_keeps_its_params(tmp_path: Path) -> None:
    tracker = trackers.MLflowSweepTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    tracker.start_trial_run(0, {"betas": (0.9, 0.999), "lr": 1e-3})
    run, _ = delivered(tracker, tmp_path / "run")
    assert run.params == {"betas": "(0.9, 0.999)", "lr": 1e-3}


def test_a_name_may_be_anything(tmp_path: Path) -> None:
    names: Any = {5: 1.0, None: 2.0}
    run, receipt = recorded(tmp_path, RunRecord(names, names, names))
    assert run.params == {"5": 1.0, "None": 2.0} == run.metrics and run.tags["5"] == 1.0 and receipt.dropped == 0


def test_secrets_go_from_texts_inside_of_values(tmp_path: Path) -> None:
    values: Any = {"urls": [SECRET], "error": ValueError(SECRET)}
    run, _ = recorded(tmp_path, RunRecord(values, tags=values))
    assert "hunter22" not in repr((run.params, run.tags)) and "[redacted]" in str(run.params["urls"])


def test_what_cannot_be_recorded_is_counted_and_takes_no_other_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boundary._complain.cache_clear()  # the same words are said once in a process
    bad: Any = {"bad": Mute(), "good": 1}
    run, receipt = recorded(tmp_path, RunRecord(bad, bad, bad), RunRecord({"huge": 10**9999, "last": 2}))
    assert run.params == {"good": 1, "last": 2} and run.metrics == {"good": 1.0} and run.tags["good"] == 1
    assert receipt.dropped == 4 and "4 could not be written" in receipt.why and "no text" in caplog.text


def test_what_is_no_record_is_counted(tmp_path: Path) -> None:
    nothing: Any = object()
    _, receipt = recorded(tmp_path, nothing, RunRecord(nothing), RunRecord(metrics=nothing))
    assert receipt.dropped == 3


@pytest.mark.parametrize(
    ("step", "seen"), [(np.int64(3), 3), (2.0, 2), (None, 0), (np.nan, 0), ("x", 0), (2**70, 0), (-1, -1)]
)
def test_a_step_is_a_whole_number(step: Any, seen: int, tmp_path: Path) -> None:
    tracker = trackers.MLflowSelectionTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    tracker.start_selection_run("r").log_metrics({"loss": 1.0}, step=step)
    run, receipt = delivered(tracker, tmp_path / "run")
    assert [(point.step, point.value) for point in run.points] == [(seen, 1.0)] and receipt.dropped == 0


def test_a_pipe_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "a").write_text("a")
    tracker = trackers.MLflowBenchmarkTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    with tracker.start_benchmark_run("r", "mini") as run:
        tracker.log_benchmark_results(benchmark_json_path=pipe)
        run.log(RunRecord(artifacts=(Artifact(pipe, "pipe"), Artifact(tmp_path / "a", "a"))))
    seen, receipt = delivered(tracker, tmp_path / "run")
    assert list(seen.artifacts) == ["a"] and receipt.dropped == 2 and "neither a file nor a folder" in caplog.text


@pytest.mark.parametrize(
    ("said", "status"),
    [("finished", "FINISHED"), ("COMPLETED", "FINISHED"), ("Canceled", "KILLED"), ("failed", "FAILED"),
     ("RUNNING", "FAILED"), ("SCHEDULED", "FAILED"), ("", "FAILED"), (None, "FAILED"), (0, "FAILED")],
)  # fmt: skip
def test_a_run_that_ended_is_closed_whatever_its_end_is_called(
    said: Any, status: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = trackers.MLflowSelectionTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    tracker.start_selection_run("r").end(said, at_ms=7)
    run, _ = delivered(tracker, tmp_path / "run")
    assert (run.status, run.end_ms) == (status, 7)
    assert ("shown as FAILED" in caplog.text) == (status == "FAILED" and said != "failed")
