"""What a sweep draws of its study: how the objective went, and how much each hyperparameter mattered."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nertrail.stages.trials import completed

if TYPE_CHECKING:
    import optuna

ENOUGH_TRIALS = 10
"""Completed trials below which importances are noise: two trials give one parameter everything."""


def history(study: optuna.Study, metric: str, folder: Path) -> Path:
    """The picture of the trials' scores in their order."""
    from nertrail import plots

    shown = [
        {
            "number": trial.number,
            "value": trial.value if trial.state.name == "COMPLETE" else None,
            "state": trial.state.name,
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished()
    ]
    return plots.optimization_history(shown, folder / "optimization_history.png", metric, study.direction.name.lower())


def importances(study: optuna.Study, folder: Path) -> Path:
    """The picture of how much each hyperparameter mattered."""
    from nertrail import plots

    return plots.param_importances(weights(study), folder / "param_importances.png", note(study))


def _varied(study: optuna.Study) -> list[str]:
    """The hyperparameters of which the completed trials tried more than one value."""
    tried: dict[str, set[str]] = {}
    for trial in completed(study):
        for name, value in trial.params.items():
            tried.setdefault(name, set()).add(repr(value))
    return [name for name, values in tried.items() if len(values) > 1]


def note(study: optuna.Study) -> str:
    """What the picture of the importances says of itself."""
    done = completed(study)
    if len(done) < ENOUGH_TRIALS:
        return f"completed trials: {len(done)}; importances need at least {ENOUGH_TRIALS}"
    never = sorted({name for trial in done for name in trial.params} - set(_varied(study)))
    return f"{len(done)} completed trials" + (f"; never varied: {', '.join(never)}" if never else "")


def weights(study: optuna.Study) -> dict[str, float]:
    """How much each hyperparameter mattered; empty where the trials are too few or too alike to tell."""
    import optuna

    varied = _varied(study)
    if len(completed(study)) < ENOUGH_TRIALS or not varied:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Optuna warns where it would call all equally important
            return dict(optuna.importance.get_param_importances(study, params=varied))
    except (RuntimeError, ValueError, UserWarning):
        return {}
