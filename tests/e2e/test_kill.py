"""kill -9 in one stage after the other: the same command goes on, in the same runs, and nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

import tiny_experiment
from e2e.commands import nertrail, start
from nertrail.ledger import Ledger

COUNTS = {"pipeline": 1, "sweep": 2, "trial": 4, "benchmark": 5, "selection": 1, "training": 1, "conversion": 2}


def begun(run_dir: Path, step: str) -> bool:
    return (run_dir / "results" / f"{step}.json").is_file()


def second_trial_runs(run_dir: Path) -> bool:
    """The first trial of the first sweep is over, the second is being trained."""
    log = run_dir / "checkpoints" / "sweep-whole" / "whole-macro-f1-span.log"
    return (run_dir / "checkpoints" / "sweep-whole" / "trials" / "1").is_dir() and log.is_file()


def an_epoch_is_saved(run_dir: Path) -> bool:
    """The final training has something to go on from."""
    return any((run_dir / "checkpoints" / "training" / "fit").glob("resume/checkpoint-*"))


MOMENTS: list[Callable[[Path], bool]] = [
    second_trial_runs,
    lambda run_dir: begun(run_dir, "benchmark-trials"),
    an_epoch_is_saved,
    lambda run_dir: begun(run_dir, "conversion-onnx_int8"),
    lambda run_dir: begun(run_dir, "benchmark-final"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> list[Run]:
    """All runs of the store after five kills, five restarts and a sync."""
    folder = tmp_path_factory.mktemp("killed")
    config = tiny_experiment.write(folder, tiny_backbone, {})
    run_dir = folder / "runs" / "tiny"
    for moment in MOMENTS:
        kill_at(start(folder, "run", str(config)), run_dir, moment)
    done = nertrail(folder, "run", str(config))
    assert done.returncode == 0, done.stderr
    assert "continues" in done.stdout
    assert nertrail(folder, "sync", "runs/tiny").returncode == 0
    assert Ledger(run_dir).is_done("pipeline", Ledger(run_dir).entry("pipeline").fingerprint)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    found = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    for run in found:
        run.histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return list(found)


def kill_at(process: subprocess.Popen[bytes], run_dir: Path, moment: Callable[[Path], bool]) -> None:
    deadline = time.monotonic() + 180
    while not moment(run_dir):
        assert process.poll() is None, "the command ended before the moment came"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_the_tree_is_that_of_an_uninterrupted_run(runs: list[Run]) -> None:
    assert Counter(run.data.tags["mlflow.runType"] for run in runs) == COUNTS


def test_no_run_is_doubled_or_left_running(runs: list[Run]) -> None:
    uids = [run.data.tags["nertrail.run_uid"] for run in runs]
    assert len(uids) == len(set(uids))
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_study_counts_its_trials(runs: list[Run]) -> None:
    for run in runs:
        if run.data.tags["mlflow.runType"] == "sweep":
            assert run.data.metrics["n_trials"] == 2
            assert run.data.metrics["n_completed_trials"] == 2
            assert run.data.metrics["n_failed_trials"] == 0


def test_metrics_logged_once_are_there_once(runs: list[Run]) -> None:
    for run in runs:
        for key, points in run.histories.items():
            if not key.startswith(("eval_", "train_loss", "learning_rate_now")):
                assert len({(point.step, point.value) for point in points}) == 1, (run.info.run_name, key)


def test_epochs_follow_each_other(runs: list[Run]) -> None:
    (training,) = [run for run in runs if run.data.tags["mlflow.runType"] == "training"]
    steps = [point.step for point in training.histories["eval_loss"]]
    assert sorted(set(steps)) == [1, 2, 3]
    values = {(point.step, point.value) for point in training.histories["eval_loss"]}
    assert len(values) == 3, "an epoch that was repeated must give the same number"
