"""Several processes and threads record at the same time, below one parent, each in its own file."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nertrail.tracking import segments
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker, Run
from nertrail.tracking.protocol import PARENT_TAG
from nertrail.tracking.sync import sync

TRIALS = 3
CHILD = """
import sys
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker
number = int(sys.argv[1])
with MLflowSweepTracker("e").start_trial_run(number, {"lr": number}) as run:
    run.log_metrics({"f1": number}, step=1)
"""


def trial(tracker: MLflowSweepTracker, number: int) -> None:
    with tracker.start_trial_run(number, {"lr": number}) as run:
        run.log_metrics({"f1": number}, step=1)


def spawned(number: int) -> None:
    """In a process that inherited nothing but its environment."""
    trial(MLflowSweepTracker("e"), number)


def in_threads(tracker: MLflowSweepTracker, run: Run) -> None:
    with ThreadPoolExecutor(TRIALS) as pool:
        list(pool.map(lambda number: trial(tracker, number), range(TRIALS)))


def in_forks(tracker: MLflowSweepTracker, run: Run) -> None:
    join([multiprocessing.get_context("fork").Process(target=trial, args=(tracker, n)) for n in range(TRIALS)])


def in_spawned(tracker: MLflowSweepTracker, run: Run) -> None:
    os.environ.update(tracker.environment(run))
    join([multiprocessing.get_context("spawn").Process(target=spawned, args=(n,)) for n in range(TRIALS)])


def in_programs(tracker: MLflowSweepTracker, run: Run) -> None:
    environment = {**os.environ, **tracker.environment(run)}
    programs = [subprocess.Popen([sys.executable, "-c", CHILD, str(n)], env=environment) for n in range(TRIALS)]
    assert [program.wait(60) for program in programs] == [0] * TRIALS


def join(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.mark.parametrize(
    ("work", "writers"),
    [(in_threads, 1), (in_forks, 4), (in_spawned, 4), (in_programs, 4)],
    ids=["threads", "forks", "spawned", "programs"],
)
def test_trials_below_one_sweep(work: Any, writers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERTRAIL_TRACKING_CONTEXT", "")  # whatever is set here is taken back
    tracker = MLflowSweepTracker("e", run_dir=tmp_path)
    with tracker.start_sweep_run("s", {}, "mini", "study") as run:
        work(tracker, run)
    tracker.close()
    memory = delivered(tmp_path)
    assert len(segments.writers(tmp_path / "journal")) == writers
    sweep, *trials = memory.runs.values()
    assert sorted(found.params["lr"] for found in trials) == list(range(TRIALS))
    assert {found.tags[PARENT_TAG] for found in trials} == {sweep.run_id}
    assert {found.tags["pipeline.run_uid"] for found in trials} == {run.uid}
    assert {found.status for found in memory.runs.values()} == {"FINISHED"}
    assert all(found.metrics == {"f1": found.params["lr"]} for found in trials)


def delivered(run_dir: Path) -> MemoryBackend:
    memory = MemoryBackend()
    assert sync(run_dir, f"memory-{uuid.uuid4().hex}", backend=memory).complete
    return memory


def test_a_child_forked_while_others_write_does_not_hang(tmp_path: Path) -> None:
    """The lock that a thread of the parent holds at that moment is not the child's."""
    tracker = MLflowSweepTracker("e", run_dir=tmp_path)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            tracker.existing_run("u").log_metrics({"a": 1.0})

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for number in range(5):
            join([multiprocessing.get_context("fork").Process(target=trial, args=(tracker, number))])
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert len(segments.writers(tmp_path / "journal")) == 6


def test_a_forked_child_closes_no_run_of_its_parent(tmp_path: Path) -> None:
    tracker = MLflowSweepTracker("e", run_dir=tmp_path)
    with tracker.start_sweep_run("s", {}, "mini", "study") as sweep:
        open_trial = tracker.start_trial_run(0)
        join([multiprocessing.get_context("fork").Process(target=sweep.end)])
        open_trial.log_metrics({"a": 1.0})
        open_trial.end()
    assert {run.status for run in delivered(tmp_path).runs.values()} == {"FINISHED"}
