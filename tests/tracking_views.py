"""What a run looks like at a destination, in one form for all of them, so that destinations can be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_backend import MlflowBackend

OURS = ("nertrail.created_ms", "mlflow.runName")  # tags that MLflow or delivery add


@dataclass
class View:
    name: str
    status: str
    start_ms: int
    end_ms: int | None
    params: dict[str, str]
    tags: dict[str, str]
    history: list[tuple[str, str, int, int]]
    artifacts: dict[str, bytes] = field(default_factory=dict)
    datasets: list[tuple[str, str, str]] = field(default_factory=list)


def view(backend: Any, uid: str) -> View:
    return _of_memory(backend, uid) if isinstance(backend, MemoryBackend) else of_mlflow(backend, uid)


def _of_memory(backend: MemoryBackend, uid: str) -> View:
    run = backend.runs[uid]
    return View(
        run.name,
        run.status,
        run.start.start_ms,
        run.end_ms,
        {key: str(value) for key, value in run.params.items()},
        {key: str(value) for key, value in run.tags.items()},
        sorted((p.key, _number(p.value), p.step, p.at_ms) for p in run.points),
        run.artifacts,
        [(d.name, d.digest, d.context) for d in run.datasets],
    )


def of_mlflow(backend: MlflowBackend, uid: str) -> View:
    client = backend._client()
    run = client.get_run(backend.run_id(uid))
    points = [point for key in run.data.metrics for point in client.get_metric_history(run.info.run_id, key)]
    return View(
        run.info.run_name,
        run.info.status,
        run.info.start_time,
        run.info.end_time,
        run.data.params,
        {key: value for key, value in run.data.tags.items() if key not in OURS},
        sorted((p.key, _number(p.value), p.step, p.timestamp) for p in points),
        files(client, run.info.run_id),
        [(d.dataset.name, d.dataset.digest, d.tags[0].value) for d in run.inputs.dataset_inputs],
    )


def files(client: Any, run_id: str, path: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in client.list_artifacts(run_id, path):
        if entry.is_dir:
            found |= files(client, run_id, entry.path)
        else:
            found[entry.path] = Path(client.download_artifacts(run_id, entry.path)).read_bytes()
    return found


def runs_on(uri: str, uid: str) -> list[Any]:
    """Every run with this uid, deleted ones included."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri=uri)
    experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
    return list(client.search_runs(experiments, f"tags.`nertrail.run_uid` = '{uid}'", run_view_type=ViewType.ALL))


def _number(value: float) -> str:
    return "inf" if math.isinf(value) or value > 1e308 else repr(value)  # MLflow keeps inf as the largest float
