"""Worker processes over one study: counted together, and none of them dear."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from shares import Play, open_study

from nertrail.errors import DataError, StageError
from nertrail.execution.clock import Clock
from nertrail.execution.workers import run_in_workers


def play(folder: Path, count: int = 2, trials: int = 4, seconds: float | None = None, **parts: Any) -> optuna.Study:
    path = folder / "study.log"
    study = open_study(path)
    work = Play(path, **parts)
    run_in_workers(study, work, count, trials, seconds, Clock(study), folder, {"SAID": "hello"})
    return open_study(path)


def states(study: optuna.Study) -> dict[int, str]:
    return {trial.number: trial.state.name for trial in study.get_trials()}


def test_they_share_the_trials_and_the_parent_s_word(tmp_path: Path) -> None:
    study = play(tmp_path, trials=5)
    assert states(study) == dict.fromkeys(range(5), "COMPLETE")
    assert {trial.user_attrs["said"] for trial in study.trials} == {"hello"}
    assert Clock(study).earlier() > 0
    assert states(play(tmp_path, trials=6))[5] == "COMPLETE", "extended, it goes on counting"


def test_what_fails_costs_one_trial(tmp_path: Path) -> None:
    study = play(tmp_path, trials=5, killed=0, pruned=1, failed=2)
    assert states(study) == {0: "FAIL", 1: "PRUNED", 2: "FAIL", 3: "COMPLETE", 4: "COMPLETE"}


def test_a_trial_that_was_left_is_taken_up_again(tmp_path: Path) -> None:
    left = open_study(tmp_path / "study.log").ask()
    study = play(tmp_path, trials=2)
    assert states(study) == {left.number: "COMPLETE", 1: "COMPLETE"}


def test_bad_input_ends_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="x: is wrong"):
        play(tmp_path, refused=0)


def test_a_worker_that_never_works_is_not_started_for_ever(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="ended with exit code 7 before it had a trial"):
        play(tmp_path, count=1, broken=True)


def test_none_begins_after_the_time_is_up(tmp_path: Path) -> None:
    assert states(play(tmp_path, count=1, seconds=0.0)) == {}


class TestClock:
    def test_sessions_add_up_and_what_lies_between_does_not_count(self, tmp_path: Path) -> None:
        study = open_study(tmp_path / "s")
        for seconds in (100.0, 20.0):
            Clock(study, began=time.monotonic() - seconds).tick()
        assert 120 <= Clock(study).earlier() < 121

    def test_a_session_does_not_count_itself(self, tmp_path: Path) -> None:
        study = open_study(tmp_path / "s")
        clock = Clock(study, began=time.monotonic() - 50)
        clock.tick()
        assert clock.earlier() == 0
        assert Clock(study, clock.session, clock.began).earlier() == 0
