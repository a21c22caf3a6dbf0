"""Ctrl-C and SIGTERM: the right exit code, runs that end KILLED, and the same command goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import recorded
import tiny_experiment
from e2e.commands import nertrail, start
from e2e.test_kill import second_trial_runs


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal(tmp_path: Path, tiny_backbone: Path, sent: signal.Signals, code: int) -> None:
    tiny_experiment.write(tmp_path, tiny_backbone, {})
    run_dir = tmp_path / "runs" / "tiny"
    process = start(tmp_path, "run", "tiny.yaml", NERTRAIL_UPLOADER="off")
    deadline = time.monotonic() + 180
    while not second_trial_runs(run_dir):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sent)
    assert process.wait(timeout=120) == code
    assert "Traceback" not in (tmp_path / "output.txt").read_text(encoding="utf-8")
    interrupted = recorded.delivered(run_dir)
    states = {str(run.tags["mlflow.runType"]): run.status for run in interrupted.runs.values()}
    assert states == {"pipeline": "KILLED", "sweep": "KILLED", "trial": "KILLED"}

    done = nertrail(tmp_path, "run", "tiny.yaml", NERTRAIL_UPLOADER="off")
    assert done.returncode == 0, done.stderr
    assert "sweep-whole: continues" in done.stdout
    runs = recorded.delivered(run_dir).runs
    assert set(interrupted.runs) < set(runs)
    assert {run.status for run in runs.values()} == {"FINISHED"}
