"""The uploader's life: it comes with the first tracker, outlives a killed program, and goes when it is done."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nertrail.tracking import launcher
from nertrail.tracking.destination import name_destination, named_destinations, resolve, state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.launcher import Launcher
from nertrail.tracking.liveness import held, identity, is_locked, same_process
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowSelectionTracker, MLflowTrainingTracker
from nertrail.tracking.protocol import RunStart
from nertrail.tracking.state import Health, save_health
from nertrail.tracking.uploader import follow, sync
from tracking_fixtures import free_port
from tracking_views import runs_on

URI = "sqlite:////nowhere/mlflow.db"
KILLED = """
import os, signal, sys
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
tracker = MLflowTrainingTracker("e", tracking_uri=sys.argv[1], run_dir=sys.argv[2])
run = tracker.start_training_run("r", "mini")
run.log_metrics({"loss": 1.0}, step=1)
print(run.uid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def until(condition: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def remove(folder: Path) -> None:
    """Somebody's `rm -rf`, again where a file came into a folder that was just emptied."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Follows tmp_path/run in a thread, delivering to memory."""
    monkeypatch.setattr("nertrail.tracking.uploader.INTERVAL_SECONDS", 0.02)
    stop, memory = threading.Event(), MemoryBackend()
    state_folder(tmp_path / "run", URI).mkdir(parents=True)

    def run(linger_s: float = 30) -> tuple[threading.Thread, MemoryBackend]:
        thread = threading.Thread(target=follow, args=(tmp_path / "run", URI, linger_s, stop, memory))
        thread.start()
        return thread, memory

    yield run
    stop.set()


def test_it_follows_a_writer_and_ends_with_it(follower: Any, tmp_path: Path) -> None:
    journal = JournalBackend(tmp_path / "run")
    thread, memory = follower()
    journal.start(RunStart("a", "a", "e", 1))
    assert until(lambda: "a" in memory.runs, 5)
    journal.end("a", "FINISHED", 2)
    assert until(lambda: memory.runs["a"].status == "FINISHED", 5)
    assert thread.is_alive()
    journal.close()
    thread.join(5)
    assert not thread.is_alive()


def test_a_second_one_goes_away(follower: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nertrail.tracking.uploader._LOCK_SECONDS", 0.1)
    JournalBackend(tmp_path / "run").start(RunStart("a", "a", "e", 1))
    with held(state_folder(tmp_path / "run", URI) / "lock"):
        thread, memory = follower()
        thread.join(5)
        assert not thread.is_alive() and memory.runs == {}


def test_it_ends_when_its_run_dir_is_gone(follower: Any, tmp_path: Path) -> None:
    journal = JournalBackend(tmp_path / "run")
    thread, _ = follower()
    until(lambda: (state_folder(tmp_path / "run", URI) / "health.json").exists(), 5)
    remove(tmp_path / "run")
    thread.join(5)
    assert not thread.is_alive() and not (tmp_path / "run").exists()
    journal.close()


def test_it_gives_up_a_dead_server_when_nobody_writes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nertrail.tracking.uploader.INTERVAL_SECONDS", 0.02)
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart("a", "a", "e", 1))
    journal.close()
    state_folder(tmp_path / "run", URI).mkdir(parents=True)
    begun = time.monotonic()
    follow(tmp_path / "run", URI, 0.3, threading.Event())
    assert 0.3 <= time.monotonic() - begun < 30


def test_a_killed_program_is_delivered_and_closed(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    command = [sys.executable, "-c", KILLED, store, str(tmp_path / "run")]
    program = subprocess.run(command, capture_output=True, text=True, check=False)
    assert program.returncode == -signal.SIGKILL
    uid = program.stdout.strip()
    folder = state_folder(tmp_path / "run", store)
    assert until(lambda: any(run.info.status == "KILLED" for run in runs_on(store, uid)))
    assert until(lambda: not is_locked(folder / "lock"))
    [run] = runs_on(store, uid)
    assert run.data.metrics == {"loss": 1.0} and run.info.end_time >= run.info.start_time


def test_a_dead_server_costs_a_warning_and_sync_makes_up_for_it(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    dead = f"http://me:s3cret@127.0.0.1:{free_port()}"
    tracker = MLflowTrainingTracker("e", tracking_uri=dead, run_dir=tmp_path / "run", linger_s=0)
    with tracker.start_training_run("r", "mini") as run:
        run.log_metrics({"loss": 1.0})
    for _ in range(3):
        receipt = tracker.flush(60)
    assert receipt.pending == 4 and receipt.command == f"nertrail sync {tmp_path / 'run'}"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "nertrail sync" in warnings[0] and "s3cret" not in warnings[0]
    tracker.close()
    assert until(lambda: not is_locked(state_folder(tmp_path / "run", dead) / "lock"))
    assert sync(tmp_path / "run", store).complete
    assert len(runs_on(store, run.uid)) == 1
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert written == []


def test_flush_delivers_inline(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "inline")
    tracker = MLflowSelectionTracker("e", tracking_uri=store, run_dir=tmp_path / "run")
    with tracker.start_selection_run("r") as run:
        assert tracker.flush().complete
        assert run.run_id == run.wait_run_id(1) == runs_on(store, run.uid)[0].info.run_id
    assert tracker.flush().complete
    assert runs_on(store, run.uid)[0].info.status == "FINISHED"


def test_a_dead_uploader_is_started_again_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    started = []

    def spawn(*args: Any) -> Any:
        started.append(subprocess.Popen(["true"]))
        return started[-1]

    monkeypatch.setattr(launcher, "_spawn", spawn)
    (tmp_path / "journal").mkdir()
    watcher = Launcher(tmp_path, URI)
    for _ in range(6):
        watcher.look()
        started[-1].wait()
    assert len(started) == 3


def test_without_mlflow_one_warning_names_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    tracker = MLflowSelectionTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    with tracker.start_selection_run("r"):
        pass
    assert tracker.flush(5).pending == 2 and tracker.flush(5).pending == 2
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1 and "not installed" in messages[0] and "nertrail sync" in messages[0]


def test_a_new_outage_is_a_new_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watcher = Launcher(tmp_path, URI)
    for state, outage in [("waiting", 1), ("waiting", 1), ("delivering", 1), ("waiting", 2), ("waiting", 2)]:
        save_health(watcher.folder, Health(state, "gone", outage))
        watcher.look()
    assert len(caplog.records) == 2


def test_the_process_gets_its_uri_out_of_sight_and_no_foreign_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "somebody's")
    environment = launcher._environment("https://me:pw@host")
    assert environment["MLFLOW_TRACKING_URI"] == "https://me:pw@host" and "MLFLOW_RUN_ID" not in environment


def test_a_destination_is_noted_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_destination(tmp_path, "https://me:pw@host/x")
    assert named_destinations(tmp_path) == ["https://host/x"]
    assert state_folder(tmp_path, "https://me:pw@host/x") == state_folder(tmp_path, "https://me:new@host/x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:new@host/x")
    assert named_destinations(tmp_path) == ["https://me:new@host/x"]


def test_a_uri_is_taken_from_the_argument_the_environment_or_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://e")
    assert (resolve(None), resolve("sqlite:///a/b.db")) == ("http://e", f"sqlite:///{tmp_path}/a/b.db")


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({}, True),
        ({"began": "1"}, False),
        ({"pid": 2**22 + 5}, False),
        ({"boot": "another"}, False),
        ({"host": "another"}, True),
        ({"pidns": "pid:[1]"}, True),
    ],
)
def test_where_files_cannot_be_locked_unknown_counts_as_alive(change: dict[str, Any], alive: bool) -> None:
    assert same_process({**identity(), **change}) is alive
