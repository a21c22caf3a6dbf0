"""Brings artifacts to a server through its client: every file to the place that its name says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from nertrail.records import Artifact
from nertrail.tracking.mlflow_client import patience


def upload(client: Any, run_id: str, artifact: Artifact, *, rewrites: bool) -> None:
    """Upload a file or folder. `rewrites`: the server takes a file that it has a second time."""
    with patience():
        if artifact.path.is_dir() and rewrites:
            client.log_artifacts(run_id, str(artifact.path), artifact.name)
            return
        for path, name in _files(artifact):
            if rewrites or not _is_there(client, run_id, name):
                _upload_file(client, run_id, path, PurePosixPath(name))


def _files(artifact: Artifact) -> Iterator[tuple[Path, str]]:
    if artifact.path.is_file():
        yield artifact.path, artifact.name
    for path in sorted(artifact.path.rglob("*")):
        if path.is_file():
            yield path, f"{artifact.name}/{path.relative_to(artifact.path).as_posix()}"


def _upload_file(client: Any, run_id: str, path: Path, name: PurePosixPath) -> None:
    with tempfile.TemporaryDirectory(prefix="nertrail-") as folder:
        named = Path(folder) / name.name  # the client takes the name of the file that it is given
        named.symlink_to(path.resolve())
        client.log_artifact(run_id, str(named), _above(name))


def _is_there(client: Any, run_id: str, name: str) -> bool:
    """Whether an earlier delivery has uploaded it, where the server would refuse it a second time."""
    return name in {entry.path for entry in client.list_artifacts(run_id, _above(PurePosixPath(name)))}


def _above(name: PurePosixPath) -> str | None:
    return None if str(name.parent) == "." else str(name.parent)
