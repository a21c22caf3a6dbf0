"""The store behind a tracking URI: its tables, its experiments, where their artifacts lie.

Imports mlflow, lazily, as the backend does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from nertrail.tracking.destination import sqlite_path
from nertrail.tracking.mlflow_client import looking
from nertrail.tracking.protocol import Unreachable

_DATABASES = ("postgresql", "mysql", "mssql")
_MYSQL_DRIVERS = ("mysql", "mysql+mysqldb", "mysql+pymysql")
_CONNECT_SECONDS = "10"


def experiment_id(client: Any, uri: str, name: str) -> str:
    """The experiment of this name, made if need be; in a sqlite store below the folder of the store."""
    with looking():
        found = client.get_experiment_by_name(name)
    if found is None:
        return _create_experiment(client, uri, name)
    if found.lifecycle_stage != "active":
        raise Unreachable(f"experiment {name!r} was deleted on the server: restore it there, or choose another name")
    return str(found.experiment_id)


def _create_experiment(client: Any, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    path = sqlite_path(uri)
    try:
        if path is not None:
            return str(_sqlite_store(path, path.parent).create_experiment(name))
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client.get_experiment_by_name(name).experiment_id)  # another delivery was faster


def initialise(uri: str) -> None:
    """Make the tables of a fresh sqlite store, one process at a time: migrations that run side by side fail.

    Raises:
        Unreachable: the store cannot be there, or its database does not answer.
    """
    if uri.startswith(_DATABASES):
        _knock(uri)
    path = sqlite_path(uri)
    if path is None:
        return
    if not path.parent.is_dir():
        raise Unreachable(f"{path.parent} does not exist, so no sqlite store can be there")
    with (path.parent / f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            _sqlite_store(path, path.parent)
        else:
            _create(path)


def _knock(uri: str) -> None:
    """Connect once: where a database is away, MLflow's own store tries for 205 seconds, deaf to every signal."""
    from mlflow.store.db.utils import create_sqlalchemy_engine
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    url = make_url(uri)
    if url.drivername in _MYSQL_DRIVERS and "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": _CONNECT_SECONDS})
    try:
        engine = create_sqlalchemy_engine(url.render_as_string(hide_password=False))
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except ImportError as error:
        raise Unreachable(f"the database's driver is not installed here: {error}", for_all=True) from error
    except SQLAlchemyError as error:
        raise Unreachable(f"the database cannot be reached: {error}", for_all=True) from error


def _create(path: Path) -> None:
    """A whole store or none: MLflow's migrations cannot go on where a kill stopped them ("duplicate column name")."""
    folder = path.with_name(f".{path.name}.new")
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    folder.mkdir()
    draft = folder / f"{uuid.uuid4().hex}.db"  # never a name again: MLflow keeps an engine per URI
    try:
        _sqlite_store(draft, path.parent).engine.dispose()
        _publish(draft, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(draft: Path, path: Path) -> None:
    """Give the file its name, unless another program has made a store of that name meanwhile."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        draft.rename(path)


def _sqlite_store(path: Path, folder: Path) -> Any:
    """MLflow's own store, told where artifacts lie: left alone it resolves ./mlruns against whoever comes first."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(f"sqlite:///{path}", (folder / "mlruns").as_uri())


def sizes(tracking_uri: str, folder: str) -> dict[str, int | None]:
    """What lies in a folder of artifacts, given by its URI: sizes by name, None where none is told. One request, of
    which MlflowClient.list_artifacts makes four.
    """
    from mlflow.artifacts import list_artifacts

    found = list_artifacts(artifact_uri=folder, tracking_uri=tracking_uri)
    return {entry.path.rpartition("/")[2]: entry.file_size for entry in found}


def forget_stores() -> None:
    """MLflow keeps a store, and with it what a plugin knows of our credentials, for the life of the process."""
    from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

    TrackingStoreRegistry._get_store_with_resolved_uri.cache_clear()
