"""Every example runs as it stands, and leaves the run it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import recorded

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def ran(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The output of an example, and the working directory that it ran in."""
    environment = {**os.environ, "NERTRAIL_UPLOADER": "off"}
    command = [sys.executable, str(request.param)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, tmp_path


def test_an_example_leaves_one_finished_run(ran: tuple[str, Path]) -> None:
    output, folder = ran
    [run_dir] = (folder / "runs").iterdir()
    [run] = recorded.delivered(run_dir).runs.values()
    assert run.status == "FINISHED" and run.params and run.metrics and run.artifacts
    assert run.start.uid in output


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} == {"own_training_script", "track_benchmark"}
