"""The uploader process as the system sees it: its place, what it ignores, when it comes back and when it goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nertrail.tracking.destination import state_folder
from nertrail.tracking.liveness import holder
from nertrail.tracking.mlflow_tracker import MLflowSelectionTracker, MLflowTrainingTracker, Run
from nertrail.tracking.state import load_health
from tracking_fixtures import free_port
from tracking_views import runs_on

SCRIPT = """
import sys
from nertrail.tracking.mlflow_tracker import MLflowSelectionTracker
tracker = MLflowSelectionTracker("e", tracking_uri=sys.argv[1], run_dir=sys.argv[2])
with tracker.start_selection_run("r") as run:
    run.log_metrics({"score": 1.0})
print(run.uid)
"""
STRICT = ("-X", "dev", "-W", "error")


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert value, "it did not happen"
    return value


def uploader_of(run_dir: Path, uri: str) -> int:
    """The pid of the process that delivers, 0 where none does."""
    found = holder(state_folder(run_dir, uri) / "lock")
    return int(found["pid"]) if found else 0


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


def state_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def finished(store: str, uid: str) -> Any:
    """The run, None as long as it is not over."""
    found = runs_on(store, uid)
    assert len(found) <= 1
    return found[0] if found and found[0].info.status == "FINISHED" else None


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Run, str]]:
    """A run whose uploader has found that its server is away, and that server."""
    monkeypatch.setattr("nertrail.tracking.journal.WATCH_SECONDS", 0.0)
    uri = f"http://127.0.0.1:{free_port()}"
    tracker = MLflowTrainingTracker("e", tracking_uri=uri, run_dir=tmp_path / "run")
    run = tracker.start_training_run("r", "mini")
    until(lambda: load_health(state_folder(tmp_path / "run", uri)).state == "waiting")
    yield run, uri
    tracker.close()


def test_its_place_in_the_system_and_its_end(waiting: tuple[Run, str], tmp_path: Path) -> None:
    run, uri = waiting
    run_dir = tmp_path / "run"
    pid = uploader_of(run_dir, uri)
    assert (os.getpgid(pid), os.getsid(pid)) == (pid, os.getsid(0)) and pid != os.getpgid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    assert int(state_of(pid)["SigIgn"], 16) & 1 << (signal.SIGHUP - 1)
    files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)]
    assert files == [os.devnull, str(run_dir / "journal" / "uploader.log"), str(run_dir / "journal" / "uploader.log")]
    assert os.readlink(f"/proc/{pid}/cwd") == str(run_dir)

    os.kill(pid, signal.SIGKILL)  # a log call sees that it is gone, reaps it and starts another
    until(lambda: run.log_metrics({"loss": 1.0}) or not exists(pid))
    second = until(lambda: uploader_of(run_dir, uri))
    assert second != pid

    until(lambda: load_health(state_folder(run_dir, uri)).pid == second)
    until(lambda: load_health(state_folder(run_dir, uri)).state == "waiting")
    os.kill(second, signal.SIGTERM)  # while its breaker is open: no wait of it is deaf
    until(lambda: state_of(second)["State"].startswith("Z"))
    assert load_health(state_folder(run_dir, uri)).state == "stopped"


def test_it_goes_with_its_run_dir_and_does_not_bring_it_back(waiting: tuple[Run, str], tmp_path: Path) -> None:
    run, uri = waiting
    pid = uploader_of(tmp_path / "run", uri)
    until(lambda: not remove(tmp_path / "run"))
    until(lambda: state_of(pid)["State"].startswith("Z"))
    run.log_metrics({"loss": 1.0})
    run.end()
    assert not (tmp_path / "run").exists()


def remove(folder: Path) -> bool:
    """Somebody's `rm -rf`; whether something is left."""
    subprocess.run(["rm", "-rf", str(folder)], check=False, capture_output=True)
    return folder.exists()


def test_two_programs_share_it_and_neither_hears_of_it(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One goes on while the other runs to its end with `capture_output`, every warning an error."""
    run_dir = tmp_path / "run"
    tracker = MLflowTrainingTracker("e", tracking_uri=store, run_dir=run_dir)
    with tracker.start_training_run("long", "mini") as run:
        pid = until(lambda: uploader_of(run_dir, store))
        assert os.readlink(f"/proc/{pid}/cwd") == str(Path(store.removeprefix("sqlite:///")).parent)
        command = [sys.executable, *STRICT, "-c", SCRIPT, store, str(run_dir)]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (other.returncode, other.stderr) == (0, "")
        assert uploader_of(run_dir, store) == pid
        short = until(lambda: finished(store, other.stdout.strip()))
        assert short.data.metrics == {"score": 1.0}
    assert until(lambda: finished(store, run.uid)).info.experiment_id == short.info.experiment_id
    tracker.close()
    until(lambda: state_of(pid)["State"].startswith("Z"))  # nobody writes, all is delivered
    monkeypatch.setenv("NERTRAIL_UPLOADER", "off")  # whoever looks next, for whatever run dir, reaps it
    until(lambda: MLflowSelectionTracker("e", run_dir=tmp_path / "other").close() or not exists(pid))


def test_two_run_dirs_on_one_fresh_sqlite_file(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/fresh.db"
    programs = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, store, str(tmp_path / name)], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    uids = [program.communicate()[0].strip() for program in programs]
    for name in ("one", "two"):
        until(lambda name=name: not uploader_of(tmp_path / name, store))
        assert "Traceback" not in (tmp_path / name / "journal" / "uploader.log").read_text(encoding="utf-8")
    assert [[run.info.status for run in runs_on(store, uid)] for uid in uids] == [["FINISHED"], ["FINISHED"]]
    assert (tmp_path / "mlruns").is_dir() == any((tmp_path / "mlruns").glob("*")) and not list(
        tmp_path.glob("*/mlruns")
    )


INNER = """
import gc
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker

def test_it(tmp_path):
    tracker = MLflowTrainingTracker("e", tracking_uri="http://127.0.0.1:9", run_dir=tmp_path / "run")
    with tracker.start_training_run("r", "mini") as run:
        run.log_metrics({"loss": 1.0})
    left_open = tracker.start_training_run("r", "mini")
    del tracker, run, left_open
    gc.collect()
"""


def test_a_test_suite_where_warnings_are_errors_passes(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(INNER)
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["-W", "error", "--basetemp", str(tmp_path / "base"), str(tmp_path / "test_inner.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
