"""A real MLflow server and real stores for the tests of tracking."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _quiet_tracking(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test starts an uploader process, or finds a server, unless it says so; none fills the user's cache."""
    monkeypatch.setenv("NERTRAIL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("NERTRAIL_UPLOADER", os.environ.get("NERTRAIL_TEST_UPLOADER", "off"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("NERTRAIL_TRACKING_CONTEXT", raising=False)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that fails is tried again at once."""
    monkeypatch.setattr("nertrail.tracking.breaker._LONGEST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("nertrail.tracking.sync._GLANCE_SECONDS", 0.0)


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sqlite store with its tables, made once: a copy takes a millisecond, the migrations a second."""
    from nertrail.tracking.mlflow_backend import MlflowBackend

    folder = tmp_path_factory.mktemp("store")
    MlflowBackend(f"sqlite:///{folder}/mlflow.db").run_id("none")
    return folder / "mlflow.db"


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> str:
    """The URI of an empty sqlite store of this test's own."""
    path = tmp_path / "store" / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(fresh_store.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real `mlflow server` that lives for the whole session."""
    with running_server(tmp_path_factory.mktemp("server"), free_port()) as url:
        yield url


@contextlib.contextmanager
def running_server(folder: Path, port: int) -> Iterator[str]:
    """The URL of a real `mlflow server` over what lies in the folder, killed behind the body."""
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    # without the eight processes for its background jobs, which cost three quarters of its start
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **quiet}
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, process_group=0)
    try:
        wait_until_up(f"http://127.0.0.1:{port}", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the health endpoint, at most three minutes on a busy machine."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(log.read_text())
