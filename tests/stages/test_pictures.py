"""What a sweep tells of how much each hyperparameter mattered."""

from __future__ import annotations

import optuna
import pytest

from nertrail.stages.pictures import note, weights


def _study(*values: tuple[float, int]) -> optuna.Study:
    """A study of trials with these learning rates and batch sizes."""
    space = {
        "learning_rate": optuna.distributions.FloatDistribution(0, 1),
        "batch_size": optuna.distributions.IntDistribution(1, 8),
    }
    study = optuna.create_study()
    for rate, size in values:
        params = {"learning_rate": rate, "batch_size": size}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=rate))
    return study


@pytest.mark.parametrize(
    ("trials", "names", "said"),
    [
        ([(0.1, 4), (0.2, 8)], [], "completed trials: 2; importances need at least 10"),
        ([(i / 20, 4) for i in range(10)], ["learning_rate"], "10 completed trials; never varied: batch_size"),
        ([(i / 20, 1 + i % 8) for i in range(12)], ["batch_size", "learning_rate"], "12 completed trials"),
        ([(0.1, 4)] * 10, [], "10 completed trials; never varied: batch_size, learning_rate"),
    ],
)
def test_importances_are_told_of_what_varied_over_enough_trials(
    trials: list[tuple[float, int]], names: list[str], said: str
) -> None:
    study = _study(*trials)
    assert sorted(weights(study)) == names
    assert note(study) == said
