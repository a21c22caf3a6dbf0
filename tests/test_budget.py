"""Budgets of time: what fits, what is given up first, and that a plan once made holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_experiment
from nertrail import budget
from nertrail.budget import Cost, planned, seconds_of, within_budget
from nertrail.experiment import Experiment, load_experiment
from nertrail.stages.inputs import read_inputs
from nertrail.stages.sweep import SweepConfig


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Experiment:
    path = tiny_experiment.write(tmp_path_factory.mktemp("budget"), tiny_backbone)
    return load_experiment(path, ["sweep.budget=10m", "sweep.epochs=4", "training.epochs=5"])


COSTS = {"whole": Cost(epoch=10.0, start=2.0), "cut": Cost(epoch=5.0, start=1.0)}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0)])
def test_texts(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert SweepConfig(budget=text).budget == text


@pytest.mark.parametrize("text", ["30", "m", "-3m", "3 m", "3d"])
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="budget"):
        SweepConfig(budget=text)


@pytest.mark.parametrize(
    ("seconds", "trials", "epochs"),
    [(600.0, 7, 4), (2 * 3 * 42.0, 3, 4), (2 * 3 * 32.0, 3, 3), (2 * 3 * 12.0, 3, 1), (20.0, 1, 1), (0.1, 1, 1)],
)
def test_epochs_are_given_up_before_the_last_three_trials(
    experiment: Experiment, seconds: float, trials: int, epochs: int
) -> None:
    plan = planned(experiment, seconds, COSTS, whole=False)
    assert (plan.sweeps["whole"].max_trials, plan.sweeps["whole"].epochs) == (trials, epochs)
    assert plan.sweeps["whole"].timeout_minutes * 60 == pytest.approx(max(seconds / 2, 1.0))
    assert plan.training_epochs == 5


@given(st.floats(100, 1e5), st.floats(0.1, 100), st.floats(0, 5))
def test_what_is_planned_fits(experiment: Experiment, seconds: float, epoch: float, start: float) -> None:
    cost = Cost(epoch=epoch, start=start)
    plan = planned(experiment, seconds, {"one": cost}, whole=False).sweeps["one"]
    spent = plan.max_trials * cost.trial(plan.epochs)
    assert spent <= seconds * 1.000001 or (plan.max_trials, plan.epochs) == (1, 1)


def test_the_whole_pipeline_leaves_room_for_what_follows(experiment: Experiment) -> None:
    sweeps, whole = (planned(experiment, 600.0, COSTS, whole=whole) for whole in (False, True))
    assert whole.sweeps["whole"].max_trials < sweeps.sweeps["whole"].max_trials
    assert planned(experiment, 30.0, COSTS, whole=True).training_epochs == 1


def test_measuring_is_part_of_the_budget(experiment: Experiment) -> None:
    free, spent = (planned(experiment, 600.0, COSTS, whole=False, measuring=seconds) for seconds in (0.0, 300.0))
    assert (free.sweeps["whole"].max_trials, spent.sweeps["whole"].max_trials) == (7, 3)
    assert spent.expected == 300.0 + 3 * 42.0 + 7 * 21.0


def test_the_plan_is_said_and_so_is_that_it_is_too_little(experiment: Experiment) -> None:
    assert planned(experiment, 600.0, COSTS, whole=False, measuring=12.0).said() == [
        "600 s: 12 s to measure the speed",
        "whole, 10.0 s per epoch: trials: 7, epochs of each: 4",
        "cut, 5.0 s per epoch: trials: 14, epochs of each: 4",
    ]
    assert planned(experiment, 30.0, COSTS, whole=True).said() == [
        "30 s: 0 s to measure the speed, 92 s for what follows the sweeps; epochs of the final training: 1",
        "whole, 10.0 s per epoch: trials: 1, epochs of each: 1",
        "cut, 5.0 s per epoch: trials: 1, epochs of each: 1",
        "too little: the least that can be done takes about 110 s",
    ]


def test_workers_and_folds_count(experiment: Experiment) -> None:
    def trials(**changes: int) -> int:
        sweep = experiment.sweep.model_copy(update=changes)
        changed = experiment.model_copy(update={"sweep": sweep})
        return planned(changed, 1200.0, COSTS, whole=False).sweeps["cut"].max_trials

    assert trials(workers=2) == 57 and trials() == 28 and trials(k_folds=4) == 7


def test_a_plan_is_measured_once(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = read_inputs(experiment.data, experiment.windows, experiment.decoding, experiment.seed)
    told: list[str] = []
    plan = within_budget(experiment, inputs, tmp_path, whole=False, announce=told.append)
    assert plan is not None
    assert told == [f"budget: measuring the speed of {name}" for name in ("whole", "cut")]
    assert plan.measuring > 0
    assert plan.epoch_seconds["cut"] > 0 and plan.sweeps["cut"].max_trials > 3
    monkeypatch.setattr(budget, "_cost", lambda *_: pytest.fail("measured again"))
    assert within_budget(experiment, inputs, tmp_path, whole=False) == plan
    none = experiment.model_copy(update={"sweep": SweepConfig()})
    assert within_budget(none, inputs, tmp_path, whole=False) is None
