"""Every example runs as it stands, and leaves the run it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import recorded
from nertrail.tracking.protocol import PARENT_TAG

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def ran(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The output of an example, and the working directory that it ran in."""
    environment = {**os.environ, "NERTRAIL_UPLOADER": "off"}
    command = [sys.executable, str(request.param)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, tmp_path


def test_an_example_leaves_the_finished_run_that_it_names(ran: tuple[str, Path]) -> None:
    output, folder = ran
    [run_dir] = (folder / "runs").iterdir()
    first, *below = recorded.delivered(run_dir).runs.values()
    assert first.status == "FINISHED" and first.params and first.metrics and (first.artifacts or below)
    assert f"run {first.start.uid}: " in output
    assert [run for run in below if run.tags[PARENT_TAG] != first.run_id] == []


@pytest.mark.parametrize("ran", [path for path in EXAMPLES if path.stem == "optuna_study"], indirect=True)
def test_the_study_shows_every_kind_of_trial(ran: tuple[str, Path]) -> None:
    _, *trials = recorded.delivered(ran[1] / "runs" / "my-study").runs.values()
    assert {(run.tags["trial_state"], run.status) for run in trials} == {
        ("COMPLETE", "FINISHED"),
        ("PRUNED", "FINISHED"),
        ("FAIL", "FAILED"),
    }
    assert len(trials) == 12


def test_there_are_examples() -> None:
    known = {"own_training_script", "track_benchmark", "optuna_study", "huggingface_trainer"}
    assert {path.stem for path in EXAMPLES} == known
