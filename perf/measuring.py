"""What the measurements share: rows of the table, percentiles, CPU time of other processes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """One number with how often it was measured, how far it spread, and what it should be."""

    what: str
    value: str
    spread: str
    n: int
    goal: str = ""


def seconds_of(call: Callable[[int], object], n: int, pause: float = 0.0) -> list[float]:
    """How long each of n calls took, wall clock, a pause before each."""
    taken = []
    for number in range(n):
        if pause:
            time.sleep(pause)
        began = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - began)
    return taken


def percentile(values: Sequence[float], q: float) -> float:
    """By linear interpolation, as for the latencies of a benchmark."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def call_row(what: str, taken: Sequence[float], goal: str = "") -> Row:
    """Microseconds of single calls. A p99 of fewer than 100 calls is marked as underpowered."""
    p50, p99, most = (1e6 * percentile(taken, q) for q in (0.5, 0.99, 1.0))
    mark = "" if len(taken) >= 100 else " (n < 100)"
    return Row(what, f"p50 {p50:.1f} µs, p99 {p99:.1f} µs{mark}", f"max {most:.0f} µs", len(taken), goal)


def spread_row(what: str, values: Sequence[float], unit: str, goal: str = "", digits: int = 2) -> Row:
    """The median of repeated measurements, with the smallest and the largest."""
    low, high = min(values), max(values)
    text = f"{statistics.median(values):.{digits}f}{unit}"
    return Row(what, text, f"{low:.{digits}f} to {high:.{digits}f}", len(values), goal)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def until(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait for it.

    Raises:
        RuntimeError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("waited in vain")
        time.sleep(0.02)


def show(rows: Sequence[Row]) -> None:
    """Print a table, at once."""
    head = Row("measured", "value", "spread", 0, "goal")
    widths = [max(len(getattr(row, name)) for row in (head, *rows)) for name in ("what", "value", "spread")]
    print(f"{'measured':<{widths[0]}}  {'value':<{widths[1]}}  {'spread':<{widths[2]}}  {'n':>7}  goal")
    for row in rows:
        print(
            f"{row.what:<{widths[0]}}  {row.value:<{widths[1]}}  {row.spread:<{widths[2]}}  {row.n:>7}  {row.goal}",
            flush=True,
        )
