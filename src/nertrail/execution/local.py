"""Trials in this process, one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nertrail.errors import InputError
from nertrail.execution.clock import Clock

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
Objective = Callable[["optuna.Trial"], float]


def run_trials(
    study: optuna.Study,
    objective: Objective,
    max_trials: int,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> None:
    """Run trials until `max_trials` have finished in the study, over all sessions, or the time is up.

    A trial that an earlier process left running is taken up again under its own number. A trial that fails is told
    to the study and does not end the sweep, unless what failed is the user's input, which no other trial would mend.

    Args:
        seconds: wall time this study may still take, None for no limit; a running trial is not cut off.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    clock = clock or Clock(study)
    for trial in interrupted(study):
        run_trial(study, trial, objective)
        clock.tick()
    while finished(study) < max_trials and (deadline is None or time.monotonic() < deadline):
        run_trial(study, study.ask(), objective)
        clock.tick()


def interrupted(study: optuna.Study) -> list[optuna.Trial]:
    """The trials that a process which is gone left running, as live trials."""
    from optuna.trial import Trial, TrialState

    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [Trial(study, frozen._trial_id) for frozen in left]


def finished(study: optuna.Study) -> int:
    """How many trials have ended, well or not."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def run_trial(study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
    """Run one trial and tell the study what became of it."""
    import optuna

    try:
        value = objective(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except InputError:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    except Exception as error:  # noqa: BLE001 - one trial's failure is a result of the sweep, not its end
        log.warning("trial %d failed: %s: %s", trial.number, type(error).__name__, error)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, value)
