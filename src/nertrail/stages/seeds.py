"""The same training under several seeds: each in a run of its own, and what they say together."""

from __future__ import annotations

import math
import re
import statistics
import uuid
from collections.abc import Mapping, Sequence

from nertrail.config import Model

CONFIDENCE = 0.95
_DETAIL = re.compile(r"_ci_(low|high)$|^(test_)?errors_")


class SeedScores(Model):
    """What the training of one seed scored, under the names of a training run's metrics."""

    seed: int
    uid: str
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, seed: int, training_uid: str, metrics: Mapping[str, float]) -> SeedScores:
        """The scores of a seed below a training run; its own run's uid follows from that run and the seed.

        The ends of intervals and the counts of mistakes stay out: a mean of these says nothing.
        """
        scores = {name: value for name, value in metrics.items() if not _DETAIL.search(name)}
        return cls(seed=seed, uid=seed_uid(training_uid, seed), metrics=scores)


def seed_uid(training_uid: str, seed: int) -> str:
    """The uid of a seed's run: the same one after an interruption."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{training_uid}/{seed}").hex


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


def t_interval(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Lower end, mean and upper end of Student's 95 % interval of the mean, and the standard deviation (n - 1)."""
    from scipy.stats import t

    mean, spread = statistics.fmean(values), statistics.stdev(values)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return mean - reach, mean, mean + reach, spread
