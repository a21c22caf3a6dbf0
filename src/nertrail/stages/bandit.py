"""A pruner with slack, as the bandit policy of hosted sweep services has it; Optuna ships none."""

from __future__ import annotations

import optuna


class BanditPruner(optuna.pruners.BasePruner):  # type: ignore[misc]
    """Stops a trial whose latest value is worse than the best seen at that step by more than `slack`.

    The slack is a share of the best value's magnitude. Trials before `startup_trials` finished ones, and steps below
    `warmup_steps`, are left alone.
    """

    def __init__(self, slack: float, startup_trials: int = 0, warmup_steps: int = 0) -> None:
        self._slack, self._startup, self._warmup = slack, startup_trials, warmup_steps

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        step = trial.last_step
        finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if step is None or step < self._warmup or len(finished) < self._startup:
            return False
        others = [other.intermediate_values[step] for other in finished if step in other.intermediate_values]
        if not others:
            return False
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
        best = max(sign * value for value in others)
        return bool(sign * trial.intermediate_values[step] < best - self._slack * abs(best))
