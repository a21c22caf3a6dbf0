"""The same training under several seeds: each in a run of its own, and what they say together."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import get_args

from nertrail.config import Model
from nertrail.ner.seedwise import t_interval
from nertrail.stages.hyperparameters import Metric

METRICS = get_args(Metric)


class SeedScores(Model):
    """What the training of one seed scored, under the names of a training run's metrics."""

    seed: int
    uid: str
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, seed: int, training_uid: str, metrics: Mapping[str, float]) -> SeedScores:
        """The scores of a seed below a training run; its own run's uid follows from that run and the seed."""
        return cls(seed=seed, uid=seed_uid(training_uid, seed), metrics=metrics)


def seed_uid(training_uid: str, seed: int) -> str:
    """The uid of a seed's run: the same one after an interruption."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{training_uid}/{seed}").hex


def compared(validation: Mapping[str, float], test: Mapping[str, float]) -> dict[str, float]:
    """The four scores of both splits; intervals of one training and counts of its mistakes are left out."""
    return {
        f"{prefix}{name}": scores[name]
        for prefix, scores in (("", validation), ("test_", test))
        for name in METRICS
        if name in scores
    }


def summarize(scores: Sequence[SeedScores]) -> dict[str, float]:
    """Mean, standard deviation (n - 1) and a 95 % t interval of each metric; nothing for a single seed."""
    if len(scores) < 2:
        return {}
    shown = {"n_seeds": float(len(scores))}
    for name in scores[0].metrics:
        low, mean, high, spread = t_interval([each.metrics[name] for each in scores])
        shown |= {f"seeds_mean_{name}": mean, f"seeds_std_{name}": spread}
        shown |= {f"seeds_ci_low_{name}": low, f"seeds_ci_high_{name}": high}
    return shown
