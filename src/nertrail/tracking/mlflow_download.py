"""Models that a server keeps, fetched into a folder: checkpoints and converted ones, of runs and of the registry."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nertrail.errors import ModelError, TrackingError
from nertrail.tracking.destination import resolve, sqlite_path
from nertrail.tracking.mlflow_client import patience, short_tries, translated
from nertrail.tracking.redaction import without_password

REMEDY = (
    "name it as runs:/RUN_ID, models:/NAME/VERSION or models:/NAME@ALIAS, "
    "and the server with MLFLOW_TRACKING_URI or mlflow.tracking_uri"
)
MARK = "nertrail.json"  # lies in the root of every checkpoint and of every converted model
KEEPERS = {"": "name a conversion's run", "checkpoint": "name a training's run"}
_RUN = re.compile(r"runs:/(?P<run>[^/]+)(?:/(?P<path>.+))?")
_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))")

_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True)
class Fetched:
    """A model's folder here, and the server's id of the run that made it, None where the server does not say."""

    source: str
    path: Path
    run_id: str | None

    def load(self, loader: Callable[[Path], _Loaded]) -> _Loaded:
        """What the loader makes of the folder; if that fails, the folder is named, for it is not fetched again.

        Raises:
            ModelError: of the loader.
        """
        try:
            return loader(self.path)
        except ModelError as error:
            anew = f"if this copy is damaged, remove {self.path}: it is fetched anew then"
            remedy = f"{error.remedy}; {anew}" if error.remedy else anew
            raise ModelError(error.problem, place=f"{self.source}, fetched to {error.place}", remedy=remedy) from error


@dataclass(frozen=True)
class _Place:
    """Where a model lies on a server, as MLflow's download wants it told, and a name for its folder here.

    `final` is whether nothing will come to it any more.
    """

    artifacts: Mapping[str, str]
    name: str
    run_id: str | None
    final: bool = True


def is_reference(source: str) -> bool:
    """Whether a source names something on a server rather than a folder."""
    return source.startswith(("runs:/", "models:/"))


def cache_folder() -> Path:
    """Where fetched models are kept: below NERTRAIL_CACHE, else XDG_CACHE_HOME/nertrail, else ~/.cache/nertrail."""
    own, shared = os.environ.get("NERTRAIL_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own or Path(shared or "~/.cache") / "nertrail").expanduser() / "models"


def fetch(source: str, folder: Path, tracking_uri: str | None = None, *, artifact: str = "") -> Fetched:
    """The model that `source` names, below `folder`; what was fetched before is not fetched again.

    Args:
        source: runs:/RUN_ID, runs:/RUN_ID/PATH, models:/NAME/VERSION or models:/NAME@ALIAS.
        tracking_uri: the server, default as for the trackers.
        artifact: which artifact of a run, where the source names none: "checkpoint"; "" looks among all of them.

    Raises:
        ModelError: no such run, model or server, no model in it, or `folder` cannot be written.
    """
    uri = resolve(tracking_uri)
    run, model = _RUN.fullmatch(source), _MODEL.fullmatch(source)
    if run is None and model is None:
        raise ModelError("is no name of a run or a registered model", place=source, remedy=REMEDY)
    with server(tracking_uri, source):
        client = client_of(uri)
        place = _of_run(client, run["run"], run["path"] or artifact) if run else _in_registry(client, model, artifact)
        target = folder / place.name
        if not (place.final and (target / MARK).is_file()):
            _download(place, target, uri, source, KEEPERS[artifact])
    return Fetched(source, target, place.run_id)


def client_of(uri: str) -> Any:
    """An MlflowClient for runs and models of one server."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextlib.contextmanager
def server(tracking_uri: str | None, what: str, remedy: str = REMEDY) -> Iterator[str]:
    """The URI of the server, asked with short tries; what it refuses or fails is a fault of `what` was asked for."""
    uri = resolve(tracking_uri)
    if (path := sqlite_path(uri)) is not None and not path.is_file():
        raise ModelError(f"there is no store at {path}", place=what, remedy=remedy)
    try:
        with short_tries(), translated():
            yield uri
    except TrackingError as error:
        if isinstance(error.__cause__, ModelError):
            raise error.__cause__ from None
        raise ModelError(f"not found at {without_password(uri)}: {error}", place=what, remedy=remedy) from error


def _of_run(client: Any, run_id: str, path: str) -> _Place:
    info = client.get_run(run_id).info
    final = info.status not in ("RUNNING", "SCHEDULED")
    # A run may be opened again, or get late what was set aside when it was delivered.
    held = sorted(_listed(client, run_id, path)) if final else []
    if final and not held:
        what = f"the run has no artifact {path}" if path else "the run has no artifacts"
        raise ModelError(what, place=f"runs:/{run_id}", remedy=KEEPERS.get(path, "name another artifact"))
    return _Place(
        {"run_id": run_id, "artifact_path": path}, f"{run_id}-{_key(path, info.end_time, held)}", run_id, final
    )


def _listed(client: Any, run_id: str, path: str) -> Iterator[tuple[str, int]]:
    """Every file of a run below the path, with its size."""
    for entry in client.list_artifacts(run_id, path or None):
        if entry.is_dir:
            yield from _listed(client, run_id, entry.path)
        else:
            yield entry.path, entry.file_size or 0


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _in_registry(client: Any, found: Any, artifact: str) -> _Place:
    """The version's own artifacts: of models:/ MLflow itself would ask the process's default registry.

    A version of ours is a converted model, and names the run that keeps the checkpoint it was made of.
    """
    name, alias = found["name"], found["alias"]
    version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(*found.group(1, 2))
    if artifact and (trained := version.tags.get("source_training_run")):
        return _of_run(client, trained, artifact)
    uri = client.get_model_version_download_uri(name, version.version)
    # Another server, or the same one emptied, has other files under the same name and number.
    key = _key(uri, version.creation_timestamp)
    return _Place({"artifact_uri": uri}, f"{name}-{version.version}-{key}", version.run_id or None)


def _download(place: _Place, target: Path, uri: str, source: str, keepers: str) -> None:
    """Fetch the artifacts, and put the model among them at `target`, whole or not at all."""
    from mlflow.artifacts import download_artifacts

    with _draft(target.parent) as draft:
        with patience():
            download_artifacts(**place.artifacts, dst_path=str(draft), tracking_uri=uri)
        _put(_root(draft, source, keepers), target, keep=place.final)


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A folder for files that are not whole yet, on the file system where they will stay."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-")
    except OSError as error:
        remedy = "make it writable, or name another folder with NERTRAIL_CACHE"
        raise ModelError(f"cannot be written: {error.strerror}", place=str(folder), remedy=remedy) from error
    with draft as path:
        yield Path(path)


def _root(draft: Path, source: str, keepers: str) -> Path:
    """The folder of the model. A conversion run without logged models holds it twice: itself, and below `model`."""
    marks = sorted(draft.rglob(MARK), key=lambda mark: len(mark.parts))
    highest = [mark.parent for mark in marks if len(mark.parts) == len(marks[0].parts)]
    if len(highest) != 1:
        found = f"holds {len(highest)} models of nertrail"
        raise ModelError(found, place=source, remedy="add the model's path to it" if highest else keepers)
    return highest[0]


def _put(root: Path, target: Path, *, keep: bool) -> None:
    """Move the model to its place. Another process that was faster may be reading what it put there."""
    if not (keep and (target / MARK).is_file()):
        shutil.rmtree(target, ignore_errors=True)
    try:
        root.rename(target)
    except OSError:
        if not (target / MARK).is_file():
            raise
