"""A series of timed calls and what it says: mean, spread, percentiles, throughput, and whether the machine was busy."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILES = (50, 95, 99)
# Wall over CPU time from which on a call counts as having waited for a core; 1.0 to 1.05 on a quiet one.
CONTENTION = 1.2


@dataclass(frozen=True)
class Series:
    """Wall times of equal calls on batches of one size.

    Args:
        raw_ms: one wall time per call, in ms, in the order they were made; at least one.
        cpu_over_wall: CPU seconds of the process over wall seconds, over the whole series: 1.0 of one thread on a free
            core, up to `t` of `t` busy threads.
        batch_size: samples per call: windows, or texts end to end.
    """

    raw_ms: tuple[float, ...]
    cpu_over_wall: float
    batch_size: int = 1

    def summary(self) -> dict[str, float]:
        """The numbers of benchmark.json. `std_ms` is the sample's (n-1), 0.0 of a single call."""
        mean = statistics.fmean(self.raw_ms)
        return {
            "mean_ms": mean,
            "std_ms": statistics.stdev(self.raw_ms) if len(self.raw_ms) > 1 else 0.0,
            "min_ms": min(self.raw_ms),
            "max_ms": max(self.raw_ms),
            **{f"p{q}_ms": percentile(self.raw_ms, q) for q in PERCENTILES},
            "throughput_samples_per_sec": 1000.0 * self.batch_size / mean,
            "n": len(self.raw_ms),
            "cpu_over_wall": self.cpu_over_wall,
        }

    @property
    def underpowered(self) -> tuple[str, ...]:
        """Percentiles with fewer than 1/(1-q) samples behind them: p50 below 2, p95 below 20, p99 below 100."""
        # In whole numbers: 1/(1-0.95) is 19.99... in floats.
        return tuple(f"p{q}" for q in PERCENTILES if len(self.raw_ms) * (100 - q) < 100)

    @property
    def contended(self) -> bool:
        """Whether the calls waited for a core. Sure at one thread; at more, waiting hides behind the other threads."""
        return self.cpu_over_wall * CONTENTION < 1.0


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (0 to 100) by linear interpolation between the two nearest ranks, as numpy's default."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
