"""What a trial draws depends on the seed, its number and the finished trials: interrupted or extended, all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from nertrail.execution.local import run_trials
from nertrail.stages.search import Choice, LogUniform, StorageConfig, is_random, sampler, suggest

SPACE = {
    "rate": LogUniform(type="loguniform", low=1e-5, high=1e-1),
    "size": Choice(type="choice", values=(4, 8, 16)),
}
Drawn = list[dict[str, Any]]


def search(folder: Path, count: int, kind: str = "tpe", stop_at: int | None = None) -> Drawn:
    """The params of a study's trials after one session, which is interrupted in the trial `stop_at`."""
    study = optuna.create_study(
        storage=StorageConfig().build(folder, "s"), study_name="s", load_if_exists=True, sampler=sampler(kind, 1)
    )

    def objective(trial: optuna.Trial) -> float:
        rate = SPACE["rate"].suggest(trial, "rate")
        if trial.number == stop_at:
            raise KeyboardInterrupt
        suggest(trial, SPACE)
        return float(rate)

    try:
        run_trials(study, objective, count)
    except KeyboardInterrupt:
        assert stop_at is not None
    return [trial.params for trial in study.trials]


@pytest.fixture(scope="module", params=["tpe", "random"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Drawn]:
    return request.param, search(tmp_path_factory.mktemp("whole"), 14, request.param)


@pytest.mark.parametrize("stop_at", [0, 4, 11])
def test_an_interrupted_search_goes_on_as_if_nothing_was(
    whole: tuple[str, Drawn], tmp_path: Path, stop_at: int
) -> None:
    kind, expected = whole
    search(tmp_path, 14, kind, stop_at)
    assert search(tmp_path, 14, kind) == expected


@pytest.mark.parametrize("first", [2, 10])
def test_an_extended_search_is_that_of_a_longer_one(whole: tuple[str, Drawn], tmp_path: Path, first: int) -> None:
    kind, expected = whole
    search(tmp_path, first, kind)
    assert search(tmp_path, 14, kind) == expected


def test_trials_differ(whole: tuple[str, Drawn]) -> None:
    assert len({trial["rate"] for trial in whole[1]}) == 14


@pytest.mark.parametrize(("trials", "at_random"), [(3, 3), (9, 3), (12, 4), (30, 10), (300, 10)])
def test_a_third_of_the_trials_is_drawn_at_random(trials: int, at_random: int) -> None:
    assert sum(map(is_random, range(trials))) == at_random


def test_the_rest_learns_from_the_finished_trials(tmp_path: Path) -> None:
    rates = [trial["rate"] for trial in search(tmp_path, 60)]
    assert sum(rate < 1e-3 for rate in rates[40:]) > 15, "the objective is the rate; half of the space lies below 1e-3"
