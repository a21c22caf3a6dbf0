"""The writer's side of delivery: starts the uploader, sees that it lives, and tells the user when it cannot deliver."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import nertrail
from nertrail.tracking.destination import name_destination, sqlite_path, state_folder
from nertrail.tracking.liveness import holder
from nertrail.tracking.redaction import without_password
from nertrail.tracking.state import Health, load_health, save_health

MODES = ("off", "inline", "process")
_STARTS_PER_MINUTE = 3
_MINUTE = 60.0
_FAREWELL_SECONDS = 0.5  # an uploader in the middle of a request takes longer, and the next look starts its successor
_CREDENTIALS = ("MLFLOW_TRACKING_", "AZURE_", "AWS_", "DATABRICKS_", "GOOGLE_")
_log = logging.getLogger(__name__)


def mode() -> str:
    """NERTRAIL_UPLOADER: `process` (default), `inline` (deliver inside `flush`), or `off` (only write the journal)."""
    wanted = os.environ.get("NERTRAIL_UPLOADER", "process")
    return wanted if wanted in MODES else "process"


class Launcher:
    """Looks after the uploader of one run dir and destination."""

    def __init__(self, run_dir: Path, uri: str, linger_s: float = 30.0) -> None:
        self.run_dir, self.uri, self.linger_s = run_dir, uri, linger_s
        self.folder = state_folder(run_dir, uri)
        self._process: subprocess.Popen[bytes] | None = None
        self._started: list[float] = []
        self._credentials: dict[str, str] = {}
        self._warned = 0
        with contextlib.suppress(OSError):  # a folder that cannot be written is reported by the journal
            name_destination(run_dir, uri)

    def look(self) -> None:
        """Start the uploader if none lives, and warn once per outage. A removed run dir is left alone."""
        _reap()
        if not (self.run_dir / "journal").is_dir():
            return
        if mode() == "process":
            self._end_outdated()
            if not self.lives() and not self._exhausted():
                self._start()
        self._warn()

    def lives(self) -> bool:
        """Whether an uploader, ours or another program's, is at work or about to be."""
        ours = self._process is not None and self._process.poll() is None
        return ours or holder(self.folder / "lock") is not None

    def _end_outdated(self) -> None:
        """Our uploader knows the credentials of the moment when it was started: with others, another one is needed."""
        if self._process is not None and self._credentials != _credentials():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_FAREWELL_SECONDS)

    def _exhausted(self) -> bool:
        """Whether it was started too often of late: one that cannot live is not worth a third of a core."""
        self._started = [moment for moment in self._started if time.monotonic() - moment < _MINUTE]
        return len(self._started) >= _STARTS_PER_MINUTE

    def _start(self) -> None:
        self._started.append(time.monotonic())
        if not _mlflow_is_there():
            self._say("unable", "mlflow is not installed here")
            return
        try:
            name_destination(self.run_dir, self.uri)
            self._say("starting", "")
            self._credentials = _credentials()
            self._process = _spawn(self.run_dir, self.uri, self.linger_s)
        except OSError as error:
            self._say("unable", f"no process for it could be started: {error.strerror}")
            return
        _children.append(self._process)

    def _say(self, state: str, error: str) -> None:
        outage = load_health(self.folder).outage
        with contextlib.suppress(OSError):  # a full disk is reported by the journal
            save_health(self.folder, Health(state, error, outage or int(bool(error)), os.getpid()))

    def _warn(self) -> None:
        health = load_health(self.folder)
        if health.state in ("waiting", "unable") and health.outage != self._warned:
            self._warned = health.outage
            _log.warning(
                "Delivery to MLflow at %s waits (%s). The run goes on and is recorded in %s; deliver it later with: "
                "nertrail sync %s",
                without_password(self.uri),
                health.error.strip().splitlines()[0][:200] if health.error else "no reason given",
                self.run_dir / "journal",
                self.run_dir,
            )


def _mlflow_is_there() -> bool:
    try:
        return importlib.util.find_spec("mlflow") is not None
    except (ImportError, ValueError):  # ValueError: sys.modules holds something that is no module
        return False


def _spawn(run_dir: Path, uri: str, linger_s: float) -> subprocess.Popen[bytes]:
    """The process: its own group in our session, so that Ctrl-C does not reach it but `nice` still works."""
    arguments = ["--follow", str(run_dir), "--linger", str(linger_s)]
    # -P keeps the working directory, where a mlflow.py of the user's may lie, out of the module path.
    command = [sys.executable, "-P", "-m", "nertrail.tracking.uploader", *arguments]
    with (run_dir / "journal" / "uploader.log").open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=_folder_of(uri, run_dir),
            env=_environment(uri),
            process_group=0,
        )


_children: list[subprocess.Popen[bytes]] = []


def _reap() -> None:
    """Let go of the uploaders that have ended, also of those whose trackers are gone: none stays a zombie."""
    _children[:] = [child for child in _children if child.poll() is None]


def _disown() -> None:
    """At our exit, and in a forked child: they live on without us, and subprocess shall not warn that they do."""
    for child in _children:
        child.returncode = 0 if child.returncode is None else child.returncode
    _children.clear()


atexit.register(_disown)
os.register_at_fork(after_in_child=_disown)


def _credentials() -> dict[str, str]:
    """What MLflow's client would sign in with."""
    return {name: os.environ[name] for name in os.environ if name.startswith(_CREDENTIALS)}


def _folder_of(uri: str, run_dir: Path) -> Path:
    store = sqlite_path(uri)
    return store.parent if store is not None and store.parent.is_dir() else run_dir


def _environment(uri: str) -> dict[str, str]:
    """Ours, with the URI out of sight of `ps`, and without what would make MLflow continue somebody else's run."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    package = str(Path(nertrail.__file__).parents[1])
    path = os.pathsep.join(part for part in (environment.get("PYTHONPATH"), package) if part)
    return {**environment, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
