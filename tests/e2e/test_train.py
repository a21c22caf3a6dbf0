"""`nertrail train` as a person types it: in several processes, under several seeds, from a run on a server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import tiny_experiment
from e2e.commands import environment, nertrail

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "nertrail")
BRIEF = ("--set", "training.epochs=2")


def several(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in two processes that work together."""
    return subprocess.run(
        [*TORCHRUN, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )


def runs(folder: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return list(client.search_runs([client.get_experiment_by_name("tiny").experiment_id]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Path:
    """A folder in which two processes trained one model, and the same command was given again."""
    folder = tmp_path_factory.mktemp("several")
    config = tiny_experiment.write(folder, tiny_backbone, {})
    for _ in range(2):
        done = several(folder, "train", str(config), *BRIEF)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("reused") == 2, "told once, and once in the table"
    return folder


def test_two_processes_leave_the_records_of_one(trained: Path) -> None:
    assert nertrail(trained, "sync", "runs/tiny").returncode == 0
    (run,) = runs(trained)
    assert (run.info.status, run.data.tags["mlflow.runType"]) == ("FINISHED", "training")
    result = json.loads((trained / "runs" / "tiny" / "results" / "training.json").read_text())["result"]
    assert result["metrics"]["loss"] == pytest.approx(run.data.metrics["loss"])
    assert len(list((trained / "runs" / "tiny" / "journal").glob("*/000001.jnl"))) <= 2


def test_everything_else_wants_one_process(trained: Path) -> None:
    done = nertrail(trained, "run", "tiny.yaml", WORLD_SIZE="2", RANK="0")
    assert done.returncode == 2
    assert "2 processes: work on one training only" in done.stderr


def test_a_run_is_trained_further_under_two_seeds(trained: Path) -> None:
    (source,) = (run for run in runs(trained) if run.data.tags["mlflow.runType"] == "training")
    options = ("--from", f"runs:/{source.info.run_id}", "--seeds", "2", "--run-dir", "runs/further")
    done = nertrail(trained, "train", "tiny.yaml", *options, *BRIEF)
    assert done.returncode == 0, done.stderr
    assert "2 seeds: mean on test" in done.stdout
    assert nertrail(trained, "sync", "runs/further").returncode == 0
    found = [run for run in runs(trained) if run.info.run_id != source.info.run_id]
    assert Counter(run.data.tags["mlflow.runType"] for run in found) == {"training": 1, "seed": 2}
    (training,) = (run for run in found if run.data.tags["mlflow.runType"] == "training")
    assert training.data.tags["source_training_run"] == source.info.run_id
    assert training.data.params["source_checkpoint"] == options[1]
    assert {run.data.tags["mlflow.parentRunId"] for run in found if run is not training} == {training.info.run_id}
