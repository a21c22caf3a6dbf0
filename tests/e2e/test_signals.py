"""Ctrl-C and SIGTERM: the right exit code, runs that end KILLED, and the same command goes on."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import recorded
import tiny_experiment
from e2e.commands import nertrail, start
from e2e.test_kill import second_trial_runs
from export import export
from nertrail.tracking.destination import state_folder
from nertrail.tracking.liveness import holder
from nertrail.tracking.state import load_health
from nertrail.tracking.sync import sync


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell ignores SIGINT for what it starts in the background, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(folder: Path, sent: signal.Signals, **environment: str) -> int:
    """Start the tiny experiment, send the signal while its second trial runs, and give the exit code."""
    process = start(folder, "run", "tiny.yaml", **environment)
    deadline = time.monotonic() + 300
    while not second_trial_runs(folder / "runs" / "tiny"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sent)
    return process.wait(timeout=240)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal(tmp_path: Path, tiny_backbone: Path, sent: signal.Signals, code: int) -> None:
    tiny_experiment.write(tmp_path, tiny_backbone, {})
    run_dir = tmp_path / "runs" / "tiny"
    assert interrupted(tmp_path, sent, NERTRAIL_UPLOADER="off") == code
    assert "Traceback" not in (tmp_path / "output.txt").read_text(encoding="utf-8")
    stopped = recorded.delivered(run_dir)
    states = {str(run.tags["mlflow.runType"]): run.status for run in stopped.runs.values()}
    assert states == {"pipeline": "KILLED", "sweep": "KILLED", "trial": "KILLED"}

    done = nertrail(tmp_path, "run", "tiny.yaml", NERTRAIL_UPLOADER="off")
    assert done.returncode == 0, done.stderr
    assert "sweep-whole: continues" in done.stdout
    runs = recorded.delivered(run_dir).runs
    assert set(stopped.runs) < set(runs)
    assert {run.status for run in runs.values()} == {"FINISHED"}


def test_ctrl_c_while_the_server_hangs(tmp_path: Path, tiny_backbone: Path, store: str) -> None:
    """Neither the command nor its uploader is held by a server that takes a connection and never answers."""
    tiny_experiment.write(tmp_path, tiny_backbone, {"linger_s": 1})
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        hanging.listen(50)
        away = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        assert interrupted(tmp_path, signal.SIGINT, MLFLOW_TRACKING_URI=away) == 130
        assert "Traceback" not in (tmp_path / "output.txt").read_text(encoding="utf-8")
        run_dir = tmp_path / "runs" / "tiny"
        deadline = time.monotonic() + 300
        while holder(state_folder(run_dir, away) / "lock"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert load_health(state_folder(run_dir, away)).outage == 1, "it was not asked"
    assert sync(run_dir, store).complete
    found = sorted((run["tags"]["mlflow.runType"], run["status"]) for runs in export(store).values() for run in runs)
    assert found == [("pipeline", "KILLED"), ("sweep", "KILLED"), ("trial", "FINISHED"), ("trial", "KILLED")]
