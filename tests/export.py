"""All that an MLflow store holds, in a form in which two stores can be compared: run ids are replaced by uids."""

from __future__ import annotations

import hashlib
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from tracking_views import files

OURS = ("nertrail.created_ms", "mlflow.runName")
Export = dict[str, list[dict[str, Any]]]


def export(uri: str, uids: set[str] | None = None) -> Export:
    """Every run of the store by its uid; a list, because a run that is there twice must be seen twice."""
    client = MlflowClient(tracking_uri=uri)
    experiments = {found.experiment_id: found.name for found in client.search_experiments(view_type=ViewType.ALL)}
    runs = [run for run in all_runs(client, list(experiments)) if uids is None or _uid(run) in uids]
    names = {run.info.run_id: _uid(run) for run in runs}
    found: Export = {}
    for run in runs:
        found.setdefault(_uid(run), []).append(_described(client, run, experiments, names))
    return found


def all_runs(client: MlflowClient, experiments: list[str]) -> list[Run]:
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(experiments, run_view_type=ViewType.ALL, max_results=200, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _uid(run: Run) -> str:
    return str(run.data.tags.get("nertrail.run_uid", run.info.run_id))


def _described(client: MlflowClient, run: Run, experiments: dict[str, str], names: dict[str, str]) -> dict[str, Any]:
    tags = {key: value for key, value in run.data.tags.items() if key not in OURS}
    points = [point for key in run.data.metrics for point in client.get_metric_history(run.info.run_id, key)]
    terminal = run.info.status != "RUNNING"
    return {
        "name": run.info.run_name,
        "experiment": experiments[run.info.experiment_id],
        "status": run.info.status,
        "start": run.info.start_time,
        "end": run.info.end_time if terminal else None,  # a run that is open again keeps the old one
        "params": {key: _named(value, names) for key, value in run.data.params.items()},
        "tags": {key: _named(value, names) for key, value in tags.items()},
        "history": sorted((point.key, repr(point.value), point.step, point.timestamp) for point in points),
        "artifacts": {
            path: hashlib.sha256(content).hexdigest() for path, content in files(client, run.info.run_id).items()
        },
        "datasets": sorted(
            (each.dataset.name, each.dataset.digest, each.dataset.source, tuple(tag.value for tag in each.tags))
            for each in run.inputs.dataset_inputs
        ),
    }


def _named(value: str, names: dict[str, str]) -> str:
    return ",".join(names.get(part, part) for part in value.split(","))
