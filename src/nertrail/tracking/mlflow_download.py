"""Checkpoints that a server keeps, fetched into a folder: those of runs and of registered models."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nertrail.errors import ModelError, TrackingError
from nertrail.tracking.destination import resolve, sqlite_path
from nertrail.tracking.mlflow_client import patience, short_tries, translated

REMEDY = "name it as runs:/RUN_ID, models:/NAME/VERSION or models:/NAME@ALIAS, and the server with mlflow.tracking_uri"
MARK = "nertrail.json"  # lies in the root of every checkpoint
_RUN = re.compile(r"runs:/(?P<run>[^/]+)(?:/(?P<path>.+))?")
_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True)
class Fetched:
    """A checkpoint's folder here, and the server's id of the run that made it, None where the server does not say."""

    path: Path
    run_id: str | None


def is_reference(source: str) -> bool:
    """Whether a source names something on a server rather than a folder."""
    return source.startswith(("runs:/", "models:/"))


def fetch(source: str, folder: Path, tracking_uri: str | None = None) -> Fetched:
    """The checkpoint that `source` names, below `folder`; what was fetched before is not fetched again.

    Args:
        source: runs:/RUN_ID (its artifact `checkpoint`, or another: runs:/RUN_ID/PATH), models:/NAME/VERSION or
            models:/NAME@ALIAS.
        tracking_uri: the server, default as for the trackers.

    Raises:
        ModelError: no such run, model or server, or no checkpoint in it.
    """
    uri = resolve(tracking_uri)
    run, model = _RUN.fullmatch(source), _MODEL.fullmatch(source)
    if run is None and model is None:
        raise ModelError("is no name of a run or a registered model", place=source, remedy=REMEDY)
    if (path := sqlite_path(uri)) is not None and not path.is_file():
        raise ModelError(f"there is no store at {path}", place=source, remedy=REMEDY)
    with _as_model_error(source, uri), short_tries(), translated():
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        run_id, place, name = _run_place(client, run) if run else _model_place(client, model)
        target = folder / name
        if not (target / MARK).is_file():
            _download(place, target, uri)
    return Fetched(target, run_id)


def _run_place(client: Any, found: re.Match[str]) -> tuple[str, str, str]:
    """Run id, artifact URI and a folder's name for it."""
    run_id, path = found["run"], found["path"] or "checkpoint"
    client.get_run(run_id)
    return run_id, f"runs:/{run_id}/{path}", f"{run_id}-{path.replace('/', '-')}"


def _model_place(client: Any, found: Any) -> tuple[str | None, str, str]:
    name, alias = found["name"], found["alias"]
    version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(*found.group(1, 2))
    place = client.get_model_version_download_uri(name, version.version)
    return version.run_id or None, place, f"{name}-{version.version}"


def _download(place: str, target: Path, uri: str) -> None:
    """Fetch the artifacts at `place`, and put the one checkpoint among them at `target`, whole or not at all."""
    from mlflow.artifacts import download_artifacts

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as draft:
        with patience():
            download_artifacts(artifact_uri=place, dst_path=draft, tracking_uri=uri)
        roots = [mark.parent for mark in Path(draft).rglob(MARK)]
        if len(roots) != 1:
            raise ModelError(
                f"holds {len(roots)} checkpoints of nertrail", place=place, remedy="add the checkpoint's path to it"
            )
        shutil.rmtree(target, ignore_errors=True)
        roots[0].rename(target)


@contextlib.contextmanager
def _as_model_error(source: str, uri: str) -> Iterator[None]:
    try:
        yield
    except TrackingError as error:
        if isinstance(error.__cause__, ModelError):
            raise error.__cause__ from None
        from nertrail.tracking.redaction import without_password

        raise ModelError(f"not found at {without_password(uri)}: {error}", place=source, remedy=REMEDY) from error
