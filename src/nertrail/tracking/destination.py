"""Where a run dir is delivered to: which server, and where its progress is kept."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from nertrail.errors import ConfigError
from nertrail.tracking.redaction import without_password

_SQLITE = "sqlite:///"
_SCHEMES = {"http", "https", "file", "sqlite", "mysql", "mssql", "postgresql", "databricks", "databricks-uc", "uc"}


def resolve(uri: str | None) -> str:
    """The tracking URI as given, else MLFLOW_TRACKING_URI, else MLflow's own default; a sqlite path made absolute."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    path = sqlite_path(uri)
    if path is None:
        return uri
    _, sign, query = uri.partition("?")
    return f"{_SQLITE}{quote(str(path))}{sign}{query}"  # in a URI, a folder's ? or % would mean something else


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of a sqlite store, None for any other URI."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])).absolute()


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
