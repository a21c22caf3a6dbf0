"""Models on an MLflow server: fetched by `runs:/` and `models:/` URIs. Imports mlflow, lazily, as the backend does."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nertrail.errors import ModelError
from nertrail.tracking.destination import resolve
from nertrail.tracking.mlflow_client import translated
from nertrail.tracking.protocol import Rejected, Unreachable
from nertrail.tracking.redaction import without_password


def fetch(source: str, tracking_uri: str | None = None) -> Path:
    """Download a model; return its folder, in the system's folder for temporary files.

    Args:
        source: `runs:/<run id>`, `runs:/<run id>/<path>`, `models:/<name>/<version>` or `models:/<name>@<alias>`.

    Raises:
        ModelError: the server has no such model, or does not answer.
    """
    uri = resolve(tracking_uri)
    try:
        with translated():
            from mlflow.artifacts import download_artifacts

            folder = tempfile.mkdtemp(prefix="nertrail-model-")
            return Path(download_artifacts(source, dst_path=folder, tracking_uri=uri, registry_uri=uri))
    except (Rejected, Unreachable) as error:
        place = f"{source} on {without_password(uri)}"
        raise ModelError(
            str(error), place=place, remedy="check the name, MLFLOW_TRACKING_URI and the server"
        ) from error
