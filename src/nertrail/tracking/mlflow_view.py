"""What an MLflow server holds of a run, read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nertrail.tracking.blobs import digest
from nertrail.tracking.disk import scratch_folder
from nertrail.tracking.fitting import OVERFLOW_TAG
from nertrail.tracking.registry import whole_versions


class Held(NamedTuple):
    """Counts of params and of metric rows, and the sha256 of the artifacts that were asked for and are there.

    `versions` counts those of registered models that are whole, 0 where nobody asked.
    """

    status: str
    params: int
    points: int
    overflow: int
    artifacts: dict[str, str]
    versions: int = 0


def held_by(client: Any, run_id: str, artifacts: Sequence[str], *, models: bool = False) -> Held:
    """Read a run. Artifacts are downloaded one at a time: no more than the biggest of them is on disk at once."""
    run = client.get_run(run_id)
    points = sum(len(client.get_metric_history(run_id, key)) for key in run.data.metrics)
    overflow = int(run.data.tags.get(OVERFLOW_TAG, 0))
    found = {name: sha for name in artifacts if (sha := _sha256(client, run_id, name))}
    versions = whole_versions(client, run_id) if models else 0
    return Held(run.info.status, len(run.data.params), points, overflow, found, versions)


def _sha256(client: Any, run_id: str, name: str) -> str:
    above = name.rpartition("/")[0]
    if name not in {entry.path for entry in client.list_artifacts(run_id, above or None)}:
        return ""
    with scratch_folder() as folder:
        return digest(Path(client.download_artifacts(run_id, name, str(folder))))
