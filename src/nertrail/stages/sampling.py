"""A sampler whose draws depend on the seed, the trial's number and the finished trials, not on the process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler

if TYPE_CHECKING:
    import optuna

Make = Callable[[int, int], BaseSampler]
"""The sampler of a trial, of its number and a seed."""


class PerTrialSampler(BaseSampler):  # type: ignore[misc]
    """Asks a sampler made anew for each value of each trial, seeded by the trial's number and the value's name.

    A study that was interrupted, or is extended, so goes on as if it had never stopped.
    """

    def __init__(self, make: Make, seed: int) -> None:
        self._make, self._seed = make, seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        found: dict[str, Any] = self.at(trial.number).infer_relative_search_space(study, trial)
        return found

    def sample_relative(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: Mapping[str, Any]
    ) -> dict[str, Any]:
        found: dict[str, Any] = self.at(trial.number).sample_relative(study, trial, search_space)
        return found

    def sample_independent(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self.at(trial.number, param_name).sample_independent(study, trial, param_name, param_distribution)

    def at(self, number: int, name: str = "") -> BaseSampler:
        """The sampler that the value `name` of the trial of this number is drawn by."""
        digest = hashlib.sha256(f"{self._seed} {number} {name}".encode()).digest()
        return self._make(number, int.from_bytes(digest[:4], "big"))
