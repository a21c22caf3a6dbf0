"""Where a run dir is delivered to: which server, and where its progress is kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nertrail.tracking.redaction import without_password

_SQLITE = "sqlite:///"


def resolve(uri: str | None) -> str:
    """The tracking URI as given, else MLFLOW_TRACKING_URI, else MLflow's own default; a sqlite path made absolute."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = sqlite_path(uri)
    return uri if path is None else f"{_SQLITE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of a sqlite store, None for any other URI."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def state_folder(run_dir: Path, uri: str) -> Path:
    """Where the progress of delivery to this URI is kept. A new password makes no new destination."""
    key = hashlib.sha256(without_password(uri).encode()).hexdigest()[:12]
    return run_dir / "journal" / ".state" / key


def name_destination(run_dir: Path, uri: str) -> None:
    """Note, without its password, that the run dir is to be delivered to this URI."""
    folder = state_folder(run_dir, uri)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "destination").write_text(without_password(uri), encoding="utf-8")


def named_destinations(run_dir: Path) -> list[str]:
    """The URIs noted for this run dir. One that equals MLFLOW_TRACKING_URI but for the password is given with it."""
    current = os.environ.get("MLFLOW_TRACKING_URI", "")
    notes = sorted((run_dir / "journal" / ".state").glob("*/destination"))
    found = [note.read_text(encoding="utf-8") for note in notes]
    return [current if uri == without_password(current) else uri for uri in found]
