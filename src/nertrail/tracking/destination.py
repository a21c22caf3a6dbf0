"""Where a run dir is delivered to: which server, and where its progress is kept."""

from __future__ import annotations

import hashlib
import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from nertrail.errors import ConfigError
from nertrail.tracking.redaction import without_password

_SQLITE = "sqlite:///"
_SQLITE_OF_A_DRIVER = re.compile(r"sqlite(\+\w+)?:///")
_NO_FOLDERS = ("databricks", "databricks-uc", "uc")
_SCHEMES = {"http", "https", "file", "sqlite", "mysql", "mssql", "postgresql", "databricks", "databricks-uc", "uc"}


def resolve(uri: str | None) -> str:
    """The tracking URI as given, else MLFLOW_TRACKING_URI, else MLflow's own default.

    The path of a sqlite store or of a folder is made absolute: who delivers has another working directory.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = sqlite_path(uri)
    if path is None:
        return _absolute_folder(uri)
    _, sign, query = uri.partition("?")
    head = uri[: uri.index("///") + 3]
    return f"{head}{quote(str(path))}{sign}{query}"  # in a URI, a folder's ? or % would mean something else


def _absolute_folder(uri: str) -> str:
    """A folder's URI, or its mere path, made absolute; any other URI as it is."""
    if ":" not in uri and uri not in _NO_FOLDERS:
        return str(Path(uri).absolute())
    if uri.startswith("file:") and not uri.startswith("file:/"):
        return Path(unquote(uri.removeprefix("file:"))).absolute().as_uri()
    return uri


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of a sqlite store, None for any other URI."""
    found = _SQLITE_OF_A_DRIVER.match(uri)
    return Path(unquote(uri[found.end() :].partition("?")[0])).absolute() if found else None


def check(uri: str, place: str) -> None:
    """Raise ConfigError for a tracking URI that no MLflow could use; `place` says where it was written."""
    scheme = uri.partition(":")[0].partition("+")[0].lower() if ":" in uri else "file"
    plugins = {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}
    if scheme not in _SCHEMES | plugins:
        found = f"{without_password(uri)!r} has no scheme that MLflow knows"
        raise ConfigError(found, place=place, remedy="http(s)://HOST, sqlite:///PATH, postgresql://… or a folder")
    if scheme in ("http", "https") and not _host(uri):
        raise ConfigError(f"{without_password(uri)!r} names no host", place=place, remedy="write http(s)://HOST[:PORT]")


def _host(uri: str) -> str | None:
    try:
        return urlsplit(uri).hostname
    except ValueError:
        return None


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
