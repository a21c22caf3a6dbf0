"""What one number says over several trainings that differ in their seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95


def t_interval(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Lower end, mean and upper end of Student's 95 % interval of the mean, and the standard deviation (n - 1)."""
    from scipy.stats import t

    mean, spread = statistics.fmean(values), statistics.stdev(values)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return mean - reach, mean, mean + reach, spread
