"""Keeps what was logged as an artifact, by its sha256, so that the stage may change or remove its file afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from nertrail.records import Artifact, ModelVersion, read_json
from nertrail.tracking.protocol import Rejected
from nertrail.tracking.redacted_files import is_text, redact_bytes

LEAVING, LEFT = ".pruned", ".pruned.json"  # see prune.py
_LINK_BYTES = 16_000_000  # of a reference, smaller files are copied all the same
_CHUNK_BYTES = 1 << 30
_TEXT_BYTES = 1_000_000
_LOG_BYTES = 16_000_000  # what is text is read up to here, 0.13 CPU-seconds a megabyte, so that no secret slips through


def store(blobs: Path, artifact: Artifact) -> dict[str, Any]:
    """Keep a file or folder and describe it: {"name", "folder", "files": [{"path", "sha256", "size", "at"?}]}.

    `at` is where a referenced file lies, below the run dir if it is relative; the others lie in `blobs`.

    Raises:
        OSError: it cannot be read, or not be written.
    """
    name = _safe(artifact.name)
    if artifact.path.is_dir():
        files = [_entry(blobs, path, relative, artifact.reference) for relative, path in _walk(artifact.path)]
        return {"name": name, "folder": True, "files": files, **_version(artifact.version)}
    return {"name": name, "folder": False, "files": [_entry(blobs, artifact.path, "", artifact.reference)]}


def stage(blobs: Path, described: Mapping[str, Any], folder: Path) -> Artifact:
    """Lay an artifact out below `folder`, every file under its own name, as links to what was kept.

    Raises:
        Rejected: a file is gone, or is not what it was when it was logged.
    """
    root = folder / PurePosixPath(described["name"]).name
    for entry in described["files"]:
        target = root / entry["path"] if described["folder"] else root
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(_verified(blobs, entry))
    if described["folder"]:
        root.mkdir(exist_ok=True)
    version = described.get("version")
    return Artifact(root, described["name"], version=version and ModelVersion(**version))


def referenced(described: Mapping[str, Any]) -> list[str]:
    """The sha256 of what is kept of an artifact."""
    return [entry["sha256"] for entry in described["files"] if "at" not in entry]


def were_pruned(blobs: Path, described: Mapping[str, Any], destination: str) -> bool:
    """Whether files of the artifact are gone because this destination, named by its state folder, holds them."""
    gone = [sha for sha in referenced(described) if not _kept(blobs, sha).is_file()]
    return bool(gone) and all(destination in places_of(blobs).get(sha, ()) for sha in gone)


def places_of(blobs: Path) -> dict[str, list[str]]:
    """Which destinations hold the files that were pruned."""
    known: dict[str, list[str]] = read_json(blobs / LEFT) if (blobs / LEFT).exists() else {}
    return known


def _kept(blobs: Path, sha: str) -> Path:
    return blobs / sha if (blobs / sha).exists() else blobs / LEAVING / sha


def _version(version: ModelVersion | None) -> dict[str, Any]:
    return {} if version is None else {"version": asdict(version)}


def _safe(name: str) -> str:
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    return "/".join(parts) or "artifact"


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _entry(blobs: Path, path: Path, relative: str, reference: bool) -> dict[str, Any]:
    if reference:
        return _reference(blobs, path.resolve(), relative)
    if path.stat().st_size <= (_LOG_BYTES if is_text(path.name) else _TEXT_BYTES):
        content = redact_bytes(path.name, path.read_bytes())
        return {"path": relative, "sha256": _keep_bytes(blobs, content), "size": len(content)}
    return {"path": relative, **_keep_file(blobs, path)}


def _reference(blobs: Path, path: Path, relative: str) -> dict[str, Any]:
    """A big file is kept by a second name, where the file system can: then its folder may go before delivery."""
    size = path.stat().st_size
    if size < _LINK_BYTES:
        return {"path": relative, **_keep_file(blobs, path)}
    draft = _draft(blobs)
    if not _linked(path, draft):
        return {"path": relative, "sha256": digest(path), "size": size, "at": _place(blobs, path)}
    return {"path": relative, "sha256": _keep_draft(blobs, draft), "size": size}


def _run_dir(blobs: Path) -> Path:
    """<run dir>/journal/blobs → <run dir>"""
    return blobs.resolve().parents[1]


def _place(blobs: Path, path: Path) -> str:
    """Files of the run dir are found again after it was moved, or on another machine."""
    run_dir = _run_dir(blobs)
    return path.relative_to(run_dir).as_posix() if path.is_relative_to(run_dir) else str(path)


def _keep_bytes(blobs: Path, content: bytes) -> str:
    sha = hashlib.sha256(content).hexdigest()
    if not (blobs / sha).exists():
        draft = _draft(blobs)
        draft.write_bytes(content)
        _publish(draft, blobs / sha)
    return sha


def _keep_file(blobs: Path, path: Path) -> dict[str, Any]:
    """By a copy, which stays what it is when the stage writes into its file again; as big as it was at that moment."""
    draft = _draft(blobs)
    _copy(path, draft)
    size = draft.stat().st_size
    return {"sha256": _keep_draft(blobs, draft), "size": size}


def _copy(path: Path, draft: Path) -> None:
    """By the file system itself where it can, which then stores the content once until one of both changes."""
    try:
        with path.open("rb") as source, draft.open("wb") as target:
            while os.copy_file_range(source.fileno(), target.fileno(), _CHUNK_BYTES):
                pass
        if draft.stat().st_size:
            return
    except (OSError, AttributeError):  # another file system, or no Linux
        pass
    shutil.copyfile(path, draft)


def _keep_draft(blobs: Path, draft: Path) -> str:
    sha = digest(draft)
    _publish(draft, blobs / sha)
    return sha


def _linked(path: Path, draft: Path) -> bool:
    try:
        os.link(path.resolve(), draft)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _draft(blobs: Path) -> Path:
    blobs.mkdir(parents=True, exist_ok=True)
    return blobs / f".draft-{uuid.uuid4().hex}"


def _publish(draft: Path, target: Path) -> None:
    """On disk before its name is: a blob that has its name is whole."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
    draft.unlink(missing_ok=True)  # rename does nothing where both names are links to one file


def digest(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verified(blobs: Path, entry: Mapping[str, Any]) -> Path:
    path = _run_dir(blobs) / str(entry["at"]) if "at" in entry else _kept(blobs, entry["sha256"]).resolve()
    if not path.is_file():
        pruned = ": another server has it, and it was pruned" if entry["sha256"] in places_of(blobs) else ""
        raise Rejected(f"{path} is gone{pruned}")
    if path.stat().st_size != entry["size"] or digest(path) != entry["sha256"]:
        raise Rejected(f"{path} is not what it was when it was logged")
    return path
