"""Files on their way from a stage to what records it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsFloat, TypeVar

from nertrail.errors import TrackingError
from nertrail.tracking.boundary import text_of

_T = TypeVar("_T")


def in_folder(action: Callable[[Path], _T], spare: Path | None = None) -> _T:
    """What the action makes of a folder that is removed afterwards.

    It lies in the system's temporary place or, where that is gone or full (a job's own may be removed before the job
    ends), in `spare`.
    """
    try:
        return _in_folder(action, None)
    except OSError:
        if spare is None:
            raise
        return _in_folder(action, spare)


def readable(path: Path) -> Path:
    """The path, unless it is a pipe or a device, which could be read for ever. One where nothing lies is let through.

    Raises:
        TrackingError: it is neither a file nor a folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise TrackingError(f"{path} is neither a file nor a folder: it is not read")
    return path


def write_document(path: Path, document: Any) -> Path:
    """Write it as JSON, with numbers for whatever is one and with texts for the rest that JSON does not know."""
    text = json.dumps(_keyed(document), indent=2, default=_told, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def _in_folder(action: Callable[[Path], _T], place: Path | None) -> _T:
    with tempfile.TemporaryDirectory(prefix=".nertrail-", dir=place, ignore_cleanup_errors=True) as folder:
        return action(Path(folder))


def _keyed(document: Any) -> Any:
    """The document with texts for all names."""
    if isinstance(document, dict):
        return {key if isinstance(key, str) else str(key): _keyed(value) for key, value in document.items()}
    return [_keyed(each) for each in document] if isinstance(document, (list, tuple)) else document


def _told(value: Any) -> Any:
    return float(value) if isinstance(value, SupportsFloat) else text_of(value)
