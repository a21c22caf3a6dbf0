"""Converted models as versions of a registered model, on a real store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from nertrail.records import Artifact, ModelVersion, RunRecord
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.protocol import RunStart, now_ms

RIGHT, HALF = [[2, 2, 2]] * 60, [[1, 2, 2]] * 60


def scored(folder: Path, source: Path, counts: list[list[int]], data: str = "v1") -> Path:
    """A copy of a served model with scores on test texts."""
    shutil.copytree(source, folder)
    content = {"data_version": data, "counts": {"texts": counts}}
    (folder / "scores.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def record(folder: Path, gate: str = "passed") -> RunRecord:
    """What a conversion run shows of the model, which is to be a version."""
    runs = {"source_training_run": ("t",), "source_selection_run": ("s",), "source_sweep_runs": ("w1", "w2", "gone")}
    version = ModelVersion({"gate": gate, "data_version": "v1"}, runs, "challenger")
    return RunRecord(artifacts=(Artifact(folder, "model", True, version),))


def log(store: str, uid: str, folder: Path, gate: str = "passed", *, at_ms: int | None = None, **options: Any) -> str:
    """A conversion run with the model, straight on the store; its run id."""
    backend = MlflowBackend(store, **options)
    backend.start(RunStart("t", "training", "my/experiment", 1, {}))
    backend.start(RunStart(uid, "conversion", "my/experiment", 2, {}))
    backend.log(uid, record(folder, gate), at_ms or now_ms())
    return str(backend.run_id(uid))


def client(store: str) -> MlflowClient:
    """For runs and models of the store."""
    return MlflowClient(tracking_uri=store, registry_uri=store)
