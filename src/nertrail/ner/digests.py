"""Digests of model folders: another model under the same name is another model."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from nertrail.errors import ModelError


def folder_digest(folder: Path) -> str:
    """16 hex digits over the names and contents of the files right in a folder.

    Raises:
        ModelError: the folder or a file in it can't be read.
    """
    total = hashlib.sha256()
    try:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            found = path.stat()
            total.update(f"{path.name} {_sha256(path, found.st_size, found.st_mtime_ns)}\n".encode())
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
        raise ModelError(problem, place=str(error.filename or folder), remedy="check the folder") from error
    return total.hexdigest()[:16]


@lru_cache(maxsize=256)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    """Read once, and again when size or time of change differ."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
