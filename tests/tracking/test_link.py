"""What a tracker waits for at the end, and what it does not."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nertrail.records import RunRef
from nertrail.tracking import launcher, link
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.launcher import Launcher
from nertrail.tracking.link import Link, deliver_left
from nertrail.tracking.liveness import held
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.protocol import RunStart
from nertrail.tracking.receipt import Receipt, is_delivered
from nertrail.tracking.segments import ends
from nertrail.tracking.state import Health, Parked, Progress, RunState, save_health, save_progress
from nertrail.tracking.sync import sync

URI = "sqlite:////nowhere/mlflow.db"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each glance at a delivery that does not move was put off."""
    seen: list[float] = []
    monkeypatch.setattr(link.time, "sleep", seen.append)
    return seen


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Link:
    """A link whose uploader is said to live, but does nothing."""
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    monkeypatch.setattr(Launcher, "_start", lambda _: None)
    monkeypatch.setattr(Launcher, "lives", lambda _: True)
    return Link.open(tmp_path / "run", URI, 30)


@pytest.mark.parametrize(("status", "seconds"), [("FINISHED", 10.0), ("FAILED", 10.0), ("KILLED", 1.0)])
def test_who_stopped_a_program_does_not_wait_for_delivery(
    status: str, seconds: float, opened: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(link, "_wait", lambda _, timeout: waited.append(timeout))
    opened.backend.start(RunStart("a", "a", "e", 1))
    opened.backend.start(RunStart("b", "b", "e", 1, {"mlflow.parentRunId": RunRef("a")}))  # left open, so it is KILLED
    opened.backend.end("a", status, 2)
    opened.leave()
    assert waited == [seconds]


def test_ctrl_c_while_waiting_ends_quietly(opened: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(link, "_wait", interrupt)
    opened.backend.start(RunStart("a", "a", "e", 1))
    link._leave(link.weakref.ref(opened))


@pytest.mark.parametrize("state", ["waiting", "unable"])
def test_it_does_not_wait_for_a_server_that_is_away(state: str, opened: Link, waits: list[float]) -> None:
    opened.backend.start(RunStart("a", "a", "e", 1))
    save_health(opened.launcher.folder, Health(state, "gone", 1))
    assert opened.flush(60).pending == 1 and waits == []


def test_it_does_not_wait_for_an_uploader_that_cannot_live(
    opened: Link, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Launcher, "lives", lambda _: False)
    opened.backend.start(RunStart("a", "a", "e", 1))
    assert opened.flush(60).pending == 1 and waits == []


def test_it_does_not_wait_for_what_others_write_meanwhile(opened: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    other, memory = JournalBackend(opened.run_dir), MemoryBackend()
    opened.backend.start(RunStart("a", "a", "e", 1))
    glances: list[int] = []

    def glance(_: float) -> None:
        """Deliver what there is, while the other program never stops."""
        glances.append(1)
        sync(opened.run_dir, URI, backend=memory)
        other.start(RunStart(f"other-{len(glances)}", "n", "e", 1))

    monkeypatch.setattr(link.time, "sleep", glance)
    opened.flush(60)
    assert glances == [1] and "a" in memory.runs


@pytest.mark.parametrize(("known", "delivered"), [(["a"], True), (["a", "b"], False)])
def test_a_value_is_waited_for_once_the_run_that_it_names_is_there(
    known: list[str], delivered: bool, tmp_path: Path
) -> None:
    parked = [Parked("a", "tags", "best", ["b"], 1)]
    save_progress(tmp_path, Progress(runs={uid: RunState(run_id=uid) for uid in known}, parked=parked))
    assert is_delivered(tmp_path / "run", tmp_path) is delivered


def test_an_uploader_that_cannot_be_started_costs_a_warning_and_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    monkeypatch.setattr(launcher, "_spawn", refuse)
    tracker = MLflowTrainingTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    with tracker.start_training_run("r", "mini"):
        pass
    assert tracker.flush(60).pending == 3
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 1 and "Resource temporarily unavailable" in messages[0] and "nertrail sync" in messages[0]


def test_credentials_that_came_later_need_another_uploader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def spawn(*_: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"]))
        return started[-1]

    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    monkeypatch.setattr(launcher, "_spawn", spawn)
    opened = Link.open(tmp_path / "run", "https://host", 30)
    opened.launcher.look()
    assert len(started) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "as I was told to")
    opened.launcher.look()
    assert [process.poll() for process in started] == [-signal.SIGTERM, None]
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    opened.launcher.look()
    started[-1].kill()
    started[-1].wait()
    assert len(started) == 3


def test_another_program_that_delivers_already_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    monkeypatch.setattr(launcher, "_spawn", lambda *args: started.append(args))
    with held(state_folder(tmp_path / "run", URI) / "lock"):
        Link.open(tmp_path / "run", URI, 30)
    assert started == []


def test_a_new_tracker_after_the_run_dir_was_removed_records_again(tmp_path: Path) -> None:
    """As in a notebook: remove the folder, run the cell again."""
    for _ in range(2):
        tracker = MLflowTrainingTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
        run = tracker.start_training_run("r", "mini")
        memory = MemoryBackend()
        assert sync(tmp_path / "run", URI, backend=memory).pending == 0 and list(memory.runs) == [run.uid]
        shutil.rmtree(tmp_path / "run")


def test_a_run_that_is_abandoned_stays_open_until_its_program_lets_go(tmp_path: Path) -> None:
    def state() -> str:
        memory = MemoryBackend()
        sync(tmp_path / "run", f"memory-{time.monotonic_ns()}", backend=memory)
        [run] = memory.runs.values()
        return run.status

    tracker = MLflowTrainingTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    tracker.start_training_run("r", "mini")
    assert state() == "RUNNING"
    tracker.close()
    assert state() == "KILLED"


def test_trackers_may_be_made_in_many_threads(tmp_path: Path) -> None:
    made: list[Link] = []
    threads = [threading.Thread(target=lambda: made.append(Link.open(tmp_path, URI, 30))) for _ in range(8)]
    run_all(threads)
    assert len({id(one) for one in made}) == 1


def run_all(threads: list[threading.Thread]) -> None:
    each: list[Callable[[], None]] = [*(thread.start for thread in threads), *(thread.join for thread in threads)]
    for call in each:
        call()


def test_a_tracker_that_lives_as_long_as_the_interpreter_ends_silently(tmp_path: Path) -> None:
    code = (
        "import sys; from nertrail.tracking import journal\n"
        "from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker\n"
        "journal.kept = MLflowTrainingTracker('e', run_dir=sys.argv[1])  # so that it goes with its own module\n"
        "journal.kept.start_training_run('r', 'mini')\n"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_what_an_earlier_program_left_is_delivered_without_recording(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    assert deliver_left(run_dir, store, 10, 30) == Receipt() and not run_dir.exists()
    journal = JournalBackend(run_dir)
    journal.start(RunStart("a", "a", "e", 1))
    journal.close()
    left = deliver_left(run_dir, store, 10, 30)  # NERTRAIL_UPLOADER=off
    assert (left.written, left.pending, left.command) == (1, 1, f"nertrail sync {run_dir}")
    before = ends(run_dir / "journal")
    monkeypatch.setenv("NERTRAIL_UPLOADER", "inline")
    assert deliver_left(run_dir, store, 10, 30).complete
    assert ends(run_dir / "journal") == before
    monkeypatch.setattr(link, "_deliver", None)  # all of it is there: nothing is started
    assert deliver_left(run_dir, store, 10, 30).delivered == 1


def status_of(uid: str, run_dir: Path) -> str:
    memory = MemoryBackend()
    sync(run_dir, f"memory-{time.monotonic_ns()}", backend=memory)
    return memory.runs[uid].status


@pytest.mark.parametrize("other", [URI, "sqlite:////elsewhere/mlflow.db"])
def test_a_living_run_outlives_the_close_of_other_trackers(other: str, tmp_path: Path) -> None:
    one = MLflowTrainingTracker("e", tracking_uri=other, run_dir=tmp_path / "run")
    two = MLflowTrainingTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    run = two.start_training_run("r", "mini")
    one.close()
    one.close()
    assert status_of(run.uid, tmp_path / "run") == "RUNNING"
    two.close()
    assert status_of(run.uid, tmp_path / "run") == "KILLED"


def test_a_closed_tracker_that_goes_on_keeps_the_journal(tmp_path: Path) -> None:
    one, two = (MLflowTrainingTracker("e", tracking_uri=URI, run_dir=tmp_path / "run") for _ in range(2))
    one.close()
    run = one.start_training_run("r", "mini")
    two.close()
    assert status_of(run.uid, tmp_path / "run") == "RUNNING"


CHILDREN = """
import os, sys, time
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
tracker = MLflowTrainingTracker("e", tracking_uri=sys.argv[1], run_dir=sys.argv[2], linger_s=0)
run = tracker.start_training_run("r", "mini")
for logs in (False, True, True):
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        if logs:
            run.log_metrics({"child": 1.0})
        sys.exit()
    os.waitpid(child, 0)
    print(round(time.monotonic() - began, 1), flush=True)  # not once more by the next child
run.end()
print(tracker.flush(60).pending)
"""


def test_forked_children_do_not_wait_for_what_their_parent_delivers(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    command = [sys.executable, "-c", CHILDREN, store, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *seconds, pending = done.stdout.split()
    assert all(float(each) < 2 for each in seconds) and pending == "0"


UNTOLD = """
from nertrail.tracking.state import load_health
while load_health(tracker._link.launcher.folder).state != "waiting":
    time.sleep(0.1)  # the parent knows nothing of it yet
"""


def test_an_outage_is_told_by_the_parent_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    code = CHILDREN.replace("sys.exit()", "tracker.flush(0); sys.exit()").replace("for logs", f"{UNTOLD}for logs")
    command = [sys.executable, "-c", code, "http://127.0.0.1:9", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count("Delivery to MLflow") == 1


@pytest.fixture
def forked(opened: Link, monkeypatch: pytest.MonkeyPatch) -> Link:
    """A link in a process that was forked from the one that opened it."""
    opened.backend.start(RunStart("a", "a", "e", 1))
    monkeypatch.setattr(opened, "_owner", os.getppid())
    monkeypatch.setattr(link, "_parent", os.getppid())
    return opened


@pytest.mark.parametrize("case", ["recorded nothing", "parent delivers", "no uploader", "parent is gone"])
def test_a_forked_child_waits_only_where_nobody_else_would(
    case: str, forked: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(link, "_wait", lambda _, timeout: waited.append(timeout))
    if case == "recorded nothing":
        forked.backend.used = False
    if case == "no uploader":
        monkeypatch.setattr(Launcher, "lives", lambda _: False)
    if case == "parent is gone":
        monkeypatch.setattr(link, "_parent", 1)
    forked.leave()
    assert len(waited) == (case in ("no uploader", "parent is gone"))
