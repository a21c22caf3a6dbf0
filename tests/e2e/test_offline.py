"""A server that is not there: the run is the same, one warning is printed, and everything is delivered later."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlflow import MlflowClient

import tiny_experiment
from e2e.commands import nertrail
from e2e.test_kill import COUNTS
from tracking_fixtures import free_port


def test_without_a_server(tmp_path: Path, tiny_backbone: Path) -> None:
    tiny_experiment.write(tmp_path, tiny_backbone, {"linger_s": 1})
    away = f"http://127.0.0.1:{free_port()}"
    done = nertrail(tmp_path, "run", "tiny.yaml", MLFLOW_TRACKING_URI=away)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "Delivery to MLflow" in line]
    assert len(warned) == 1
    assert "nertrail sync" in warned[0]
    assert "0 of " in done.stdout

    again = nertrail(tmp_path, "run", "tiny.yaml", MLFLOW_TRACKING_URI=away)
    assert again.returncode == 0, again.stderr
    assert "finished and unchanged" in again.stdout
    assert next(line for line in done.stdout.splitlines() if "0 of " in line) in again.stdout
    assert "deliver with: nertrail sync" in again.stdout

    missing = nertrail(tmp_path, "sync", "runs/tiny")
    assert missing.returncode == 3, missing.stdout + missing.stderr
    assert nertrail(tmp_path, "status", "runs/tiny").returncode == 0

    later = f"sqlite:///{tmp_path}/later.db"
    delivered = nertrail(tmp_path, "sync", "runs/tiny", "--to", later)
    assert delivered.returncode == 0, delivered.stdout + delivered.stderr
    client = MlflowClient(later)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert Counter(run.data.tags["mlflow.runType"] for run in runs) == COUNTS
    assert {run.info.status for run in runs} == {"FINISHED"}

    third = f"sqlite:///{tmp_path}/third.db"
    told = nertrail(tmp_path, "run", "tiny.yaml", "--set", "mlflow.delivery_budget_s=300", MLFLOW_TRACKING_URI=third)
    assert "finished and unchanged" in told.stdout and " 0 pending, 0 dropped" in told.stdout, told.stdout + told.stderr
    assert len(
        MlflowClient(third).search_runs([MlflowClient(third).get_experiment_by_name("tiny").experiment_id])
    ) == len(runs)
