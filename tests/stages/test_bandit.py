"""The pruner with slack."""

from __future__ import annotations

import optuna
import pytest

from nertrail.stages.bandit import BanditPruner


def pruned(
    value: float, *, best: dict[int, float], slack: float = 0.1, direction: str = "maximize", step: int = 1, **more: int
) -> bool:
    """Whether a trial that reports `value` at `step` is pruned beside one finished trial with the values `best`."""
    study = optuna.create_study(direction=direction, pruner=BanditPruner(slack, **more))
    study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=best))
    trial = study.ask()
    trial.report(value, step)
    return bool(trial.should_prune())


@pytest.mark.parametrize(
    ("value", "best", "direction", "expected"),
    [
        (0.71, 0.8, "maximize", True),
        (0.73, 0.8, "maximize", False),
        (0.90, 0.8, "maximize", False),
        (0.89, 0.8, "minimize", True),
        (0.87, 0.8, "minimize", False),
        (-0.9, -0.8, "maximize", True),
        (-0.87, -0.8, "maximize", False),
    ],
)
def test_slack_is_a_share_of_the_best(value: float, best: float, direction: str, expected: bool) -> None:
    assert pruned(value, best={1: best}, direction=direction) is expected


def test_values_are_compared_at_the_same_step() -> None:
    assert not pruned(0.1, best={2: 0.9})
    assert pruned(0.1, best={2: 0.9}, step=2)


@pytest.mark.parametrize(("more", "expected"), [({"startup_trials": 2}, False), ({"startup_trials": 1}, True)])
def test_the_first_trials_are_left_alone(more: dict[str, int], expected: bool) -> None:
    assert pruned(0.1, best={1: 0.9}, **more) is expected


@pytest.mark.parametrize(("step", "expected"), [(1, False), (2, True)])
def test_the_first_steps_are_left_alone(step: int, expected: bool) -> None:
    assert pruned(0.1, best={1: 0.9, 2: 0.9}, warmup_steps=2, step=step) is expected


def test_nothing_is_pruned_before_anything_is_reported() -> None:
    study = optuna.create_study(pruner=BanditPruner(0.1))
    assert not study.ask().should_prune()
