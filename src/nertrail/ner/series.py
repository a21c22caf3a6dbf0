"""A series of timed calls: how it is taken, and what it says."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, repeat
from typing import Any

PERCENTILES = (50, 95, 99)
# Wall over CPU time from which on a call counts as having waited for a core; 1.0 to 1.05 on a quiet one.
CONTENTION = 1.2
_RESAMPLES = 1000


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


def speedup(baseline: Series, series: Series, seed: int = 0) -> dict[str, float]:
    """How many times as fast as the baseline: `ratio` of the means, `low` and `high` of its 95 % bootstrap interval.

    The n-th calls of both were made on the same batch, one right after the other, so calls are drawn in pairs.
    """
    pairs = list(zip(baseline.raw_ms, series.raw_ms, strict=False))  # time may have run out for one of them
    rng, ratios = random.Random(seed), list[float]()
    for _ in range(_RESAMPLES):
        ours, theirs = zip(*rng.choices(pairs, k=len(pairs)), strict=True)
        ratios.append(sum(ours) / sum(theirs))
    before, after = (sum(times) for times in zip(*pairs, strict=True))
    return {"ratio": before / after, "low": percentile(ratios, 2.5), "high": percentile(ratios, 97.5), "n": len(pairs)}


class Timer:
    """A series under way: a call, and the batches it is to be made on.

    Args:
        max_seconds: no call begins that would end later than this after the first, warm-up counted, if it took as long
            as the longest that was timed; but one is always timed.
    """

    def __init__(self, call: Callable[[Any], object], batches: Sequence[Sequence[Any]], max_seconds: float) -> None:
        self._call, self._batches, self._max_seconds = call, batches, max_seconds
        self._raw_ms: list[float] = []
        self._spent = self._wall = self._cpu = 0.0

    @property
    def open(self) -> bool:
        """Whether there is a call to be made, and time for it."""
        in_time = self._spent + max(self._raw_ms, default=0.0) / 1000 <= self._max_seconds
        return len(self._raw_ms) < len(self._batches) and (in_time or not self._raw_ms)

    @property
    def planned(self) -> int:
        """Calls that are to be made, where time allows."""
        return len(self._batches)

    @property
    def made(self) -> int:
        """Calls that were timed."""
        return len(self._raw_ms)

    def warm_up(self, calls: int) -> None:
        for batch in islice(cycle(self._batches), calls):
            if self._spent < self._max_seconds:
                self._time(batch)

    def turn(self) -> None:
        """Time the next call, if there is one and time for it."""
        if self.open:
            wall, cpu = self._time(self._batches[len(self._raw_ms)])
            self._raw_ms.append(wall * 1000)
            self._wall, self._cpu = self._wall + wall, self._cpu + cpu

    def series(self) -> Series:
        """What was timed so far; at least one turn has been taken."""
        return Series(tuple(self._raw_ms), self._cpu / self._wall, len(self._batches[0]))

    def _time(self, batch: Sequence[Any]) -> tuple[float, float]:
        """Wall and CPU seconds of one call; CPU of all threads of the process."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._call(batch)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self._spent += wall
        return wall, cpu


def draw(items: Sequence[Any], size: int, count: int, seed: int) -> list[list[Any]]:
    """`count` batches of `size` items in seeded order; none comes again before all have come once."""
    rng = random.Random(f"{seed}-{size}")
    stream = chain.from_iterable(rng.sample(items, len(items)) for _ in repeat(None))
    return [list(islice(stream, size)) for _ in range(count)]
