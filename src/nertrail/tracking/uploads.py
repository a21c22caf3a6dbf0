"""Brings artifacts to a server through its client: every file to the place that its name says, and looks there."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nertrail.records import Artifact
from nertrail.tracking.disk import local_disk, scratch_folder
from nertrail.tracking.mlflow_client import Barred, patience, translated
from nertrail.tracking.mlflow_store import sizes
from nertrail.tracking.protocol import Rejected, Unreachable

_UNSAFE = re.compile(r"[#?%\x00-\x1f\x7f]")
_HASH_CHARACTERS = 8
_GONE = -1  # no file's size


def server_name(name: str) -> str:
    """The name under which servers hold an artifact.

    MLflow cuts URLs at # and ?, decodes what a % begins, and refuses a # that is quoted. A part of the name that has
    to change gets a hash of what it was, so that no two become one.
    """
    return "/".join(_safe(part) for part in name.split("/"))


def _safe(part: str) -> str:
    if not _UNSAFE.search(part):
        return part
    path = PurePosixPath(_UNSAFE.sub("_", part))
    mark = hashlib.sha256(part.encode("utf-8", "surrogateescape")).hexdigest()[:_HASH_CHARACTERS]
    return f"{path.stem}-{mark}{path.suffix}"


def upload(client: Any, run_id: str, artifact: Artifact, place: str, *, rewrites: bool) -> None:
    """Upload a file or folder.

    Args:
        place: the URI below which the run's artifacts lie. What goes there through a server is looked for.
        rewrites: the server takes a file that it has a second time.

    Raises:
        Unreachable: it does not arrive; the store of artifacts may have a door of its own, so other calls may work.
        Rejected: the server refuses it.
    """
    files = dict(_files(artifact))
    try:
        with translated(), patience():
            if artifact.path.is_dir() and rewrites and all(server_name(name) == name for name in files):
                client.log_artifacts(run_id, str(artifact.path), artifact.name)
            else:
                _upload_files(client, run_id, files, rewrites=rewrites)
            if place.startswith(("http:", "https:", "mlflow-artifacts:")):
                _look(client.tracking_uri, place, files)
    except Barred as error:
        raise Unreachable(str(error)) from error


def _files(artifact: Artifact) -> Iterator[tuple[str, Path]]:
    if artifact.path.is_file():
        yield artifact.name, artifact.path
    for path in sorted(artifact.path.rglob("*")):
        if path.is_file():
            yield f"{artifact.name}/{path.relative_to(artifact.path).as_posix()}", path


def _upload_files(client: Any, run_id: str, files: Mapping[str, Path], *, rewrites: bool) -> None:
    for told, path in files.items():
        name = PurePosixPath(server_name(told))
        if rewrites or not _is_there(client, run_id, name):
            _upload_file(client, run_id, path, name)


def _upload_file(client: Any, run_id: str, path: Path, name: PurePosixPath) -> None:
    with scratch_folder() as folder:
        named = folder / name.name  # the client takes the name of the file that it is given
        with local_disk():
            named.symlink_to(path.resolve())
        client.log_artifact(run_id, str(named), _above(name))


def _is_there(client: Any, run_id: str, name: PurePosixPath) -> bool:
    """Whether an earlier delivery has uploaded it, where the server would refuse it a second time."""
    return str(name) in {entry.path for entry in client.list_artifacts(run_id, _above(name))}


def _look(tracking_uri: str, place: str, files: Mapping[str, Path]) -> None:
    """See that the files are there, one request per folder: a gateway's login page takes an upload with 200, too.

    Raises:
        Unreachable: one is not, or has another size.
    """
    folders: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for told, path in files.items():
        folder, _, name = f"{place}/{server_name(told)}".rpartition("/")
        if not folder.endswith(f"/{name}"):  # MLflow lists nothing in a folder of one file that has the folder's name
            folders[folder][name] = path.stat().st_size
    for folder, wanted in folders.items():
        try:
            with translated():
                there = sizes(tracking_uri, folder)
        except Rejected:
            return  # who may write need not be allowed to look
        gone = [name for name, size in wanted.items() if there.get(name, _GONE) not in (size, None)]
        if gone:
            raise Unreachable(f"the upload of {gone[0]} was answered, but the server does not hold what was sent")


def _above(name: PurePosixPath) -> str | None:
    return None if str(name.parent) == "." else str(name.parent)
