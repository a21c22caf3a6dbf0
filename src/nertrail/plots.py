"""The figures of a run: plain data in, the path of a PNG out. Imported only where one is drawn; needs no display."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Row = Mapping[str, Any]

_INK, _QUIET, _ACCENT, _WARM = "#1f2933", "#9aa5b1", "#2166ac", "#b2182b"
_STYLES = {"COMPLETE": ("completed", _ACCENT, "o"), "PRUNED": ("pruned", _QUIET, "v")}
_LINES = (("mean_ms", "-", 2.0), ("p50_ms", ":", 1.2), ("p95_ms", "--", 1.2))
_SMALLEST_RANGE = 0.1  # of scores, which lie between 0 and 1: ten points are the least that an axis shows
_MAX_CELLS = 24  # of a confusion matrix, per side: above it, digits no longer fit


def optimization_history(trials: Sequence[Row], path: Path, metric: str = "objective", goal: str = "maximize") -> Path:
    """Draw each trial's value and the best so far; trials without a value are counted in the title only.

    Args:
        trials: `number`, `value` (None where there is none) and `state` (COMPLETE, PRUNED, FAIL as Optuna names them).
        goal: "maximize" or "minimize".
    """
    with _figure(path, width=max(6.4, min(14.0, 0.18 * len(trials)))) as figure:
        axes = figure.add_subplot()
        for state, (label, color, marker) in _STYLES.items():
            points = [(t["number"], t["value"]) for t in trials if t["state"] == state and _finite(t["value"])]
            if points:
                axes.scatter(*zip(*points, strict=True), color=color, marker=marker, label=label, zorder=3)
        best = _best_so_far(trials, goal)
        if best:
            axes.step(*zip(*best, strict=True), where="post", color=_WARM, label="best so far")
            _legend_beside(axes)
        else:
            _say(axes, "no completed trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _widen(axes, _SMALLEST_RANGE)
        axes.set(xlabel="trial", ylabel=metric, title=_history_title(trials))
    return path


def param_importances(importances: Mapping[str, float], path: Path, note: str = "") -> Path:
    """Draw the share of the objective's variance that each hyperparameter explains, the largest on top.

    Args:
        note: said below the bars, or in their place where there are none.
    """
    with _figure(path, height=max(2.4, 1.4 + 0.45 * len(importances))) as figure:
        axes = figure.add_subplot()
        ordered = sorted(importances.items(), key=lambda item: item[1])
        bars = axes.barh([name for name, _ in ordered], [share for _, share in ordered], color=_ACCENT, height=0.6)
        axes.bar_label(bars, fmt="%.2f", padding=4)
        if not importances:
            _say(axes, note or "too few completed trials to tell")
            axes.set_yticks([])
        below = f"\n{note}" if note and importances else ""
        label = f"importance (shares add up to 1){below}"
        axes.set(xlabel=label, xlim=(0, 1.1), title="Hyperparameter importance")
    return path


def latency(report: Row, path: Path, name: str = "") -> Path:
    """Draw a benchmark.json document: every sample, mean, p50 and p95 per batch size, model only and end to end.

    Args:
        name: what the model is called, for the title.
    """
    batches = sorted(report["batches"].items(), key=lambda item: int(item[0]))
    groups = [
        (f"batch {size}\n{label}", color, part)
        for size, batch in batches
        for label, color, part in (("model", _ACCENT, batch), ("end to end", _WARM, batch.get("e2e")))
        if part
    ]
    with _figure(path, width=max(6.4, 1.5 * len(groups))) as figure:
        axes = figure.add_subplot()
        for place, (_, color, part) in enumerate(groups):
            _draw_samples(axes, place, color, part)
        axes.set_xticks(range(len(groups)), [f"{label}\n{_mean_of(part)}" for label, _, part in groups])
        axes.set_ylim(bottom=0)
        _legend_beside(axes)
        axes.set(ylabel="ms per call", title=_latency_title(report, name))
    return path


def confusion_matrix(confusion: Mapping[str, Mapping[str, int]], path: Path) -> Path:
    """Draw word counts by gold type (rows) and predicted type (columns), shaded by the share of the row."""
    names = _confusion_names(confusion)
    counts = [[confusion.get(gold, {}).get(found, 0) for found in names] for gold in names]
    shares = [[count / (sum(row) or 1) for count in row] for row in counts]
    side = min(16.0, max(4.8, 1.8 + 0.62 * len(names)))
    with _figure(path, width=side + 0.8, height=side) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(names) <= _MAX_CELLS:
            _write_counts(axes, counts, shares)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="gold", title="Words by gold and predicted type")
        axes.grid(visible=False)
        figure.colorbar(image, label="share of the gold type", fraction=0.046, pad=0.04)
    return path


def pareto(
    candidates: Sequence[Row],
    path: Path,
    metric: str = "objective",
    goal: str = "maximize",
    batch_size: int | None = None,
) -> Path:
    """Draw score against latency: the front, who was eligible, who was taken, and who was not measured.

    Args:
        candidates: `name`, `score`, `latency_ms` (None where it was not measured), `eligible` and `selected`.
        goal: whether a good score is a large one ("maximize") or a small one ("minimize").
        batch_size: at which the latencies were measured, for the axis.
    """
    measured = [c for c in candidates if _finite(c["latency_ms"])]
    unmeasured = [c["name"] for c in candidates if not _finite(c["latency_ms"])]
    with _figure(path, width=7.2) as figure:
        axes = figure.add_subplot()
        for candidate in measured:
            _draw_candidate(axes, candidate)
        if measured:
            _draw_front(axes, pareto_front(measured, goal))
            _legend_beside(axes)
        else:
            _say(axes, "no candidate was measured")
        axes.margins(0.18)
        where = f" at batch size {batch_size}" if batch_size else ""
        note = f"\nlatency not measured: {', '.join(unmeasured)}" if unmeasured else ""
        axes.set(xlabel=f"latency in ms{where}{note}", ylabel=metric, title="Candidates: score against latency")
    return path


def pareto_front(measured: Sequence[Row], goal: str = "maximize") -> list[tuple[float, float]]:
    """(latency_ms, score) of those that no other equals or beats in both, by latency."""
    sign = 1 if goal == "maximize" else -1
    front: list[tuple[float, float]] = []
    points = [(float(c["latency_ms"]), float(c["score"])) for c in measured]
    for milliseconds, score in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * score > sign * front[-1][1]:
            front.append((milliseconds, score))
    return front


@contextmanager
def _figure(path: Path, *, width: float = 6.4, height: float = 4.2) -> Iterator[Figure]:
    """A figure with no global state (pyplot would keep it alive), saved to `path` when the body is through."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set(fontsize=11, color=_INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    figure.savefig(draft, dpi=130, format="png", bbox_inches="tight")
    draft.replace(path)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _say(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_QUIET)


def _best_so_far(trials: Sequence[Row], goal: str) -> list[tuple[int, float]]:
    better, steps = max if goal == "maximize" else min, list[tuple[int, float]]()
    for trial in sorted(trials, key=lambda t: int(t["number"])):
        if trial["state"] == "COMPLETE" and _finite(trial["value"]):
            value = float(trial["value"])
            steps.append((trial["number"], better(value, steps[-1][1]) if steps else value))
    return steps


def _history_title(trials: Sequence[Row]) -> str:
    counts = {state: sum(t["state"] == state for t in trials) for state in ("COMPLETE", "PRUNED", "FAIL")}
    return "Optimisation history: {COMPLETE} completed, {PRUNED} pruned, {FAIL} failed".format(**counts)


def _draw_samples(axes: Any, place: int, color: str, part: Row) -> None:
    raw = part["raw_ms"]
    # A fixed fan instead of random jitter: the same data gives the same picture.
    offsets = [place + 0.14 * ((7 * i) % 11 - 5) / 5 for i in range(len(raw))]
    axes.scatter(offsets, raw, s=12, color=color, alpha=0.35, linewidths=0)
    for name, style, width in _LINES:
        label = name.removesuffix("_ms")
        axes.hlines(part[name], place - 0.24, place + 0.24, color=_INK, lw=width, ls=style, label=label)


def _mean_of(part: Row) -> str:
    return f"mean {part['mean_ms']:.1f} ms\nof {part['n']} calls"


def _latency_title(report: Row, name: str) -> str:
    where = f"{report['backend']} on {report['device']}, {report['threads']} thread(s)"
    busy = "\nthe machine was busy: wall times say too much" if report.get("contended") else ""
    length = report["max_length"]
    return f"Latency of {name or 'the model'}\n{where}, up to {length} pieces; dots are single calls{busy}"


def _confusion_names(confusion: Mapping[str, Mapping[str, int]]) -> list[str]:
    """All names of rows and columns, sorted, with "O" at the end."""
    names = set(confusion).union(*confusion.values())
    return sorted(names, key=lambda name: (name == "O", name))


def _write_counts(axes: Any, counts: list[list[int]], shares: list[list[float]]) -> None:
    """Every count but the zeros, which would hide the few mistakes among them."""
    for row, values in enumerate(counts):
        for column, count in ((column, count) for column, count in enumerate(values) if count):
            color = "white" if shares[row][column] > 0.5 else _INK
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=color)


def _draw_candidate(axes: Any, candidate: Row) -> None:
    place = (candidate["latency_ms"], candidate["score"])
    color, label = (_ACCENT, "eligible") if candidate["eligible"] else (_QUIET, "not eligible")
    axes.scatter(*place, s=46, color=color, label=label, zorder=3)
    if candidate["selected"]:
        axes.scatter(*place, s=190, facecolors="none", edgecolors=_WARM, linewidths=2, label="selected", zorder=4)
    text = candidate["name"]
    axes.annotate(text, place, xytext=(0, 11), textcoords="offset points", ha="center", fontsize=8, color=_INK)


def _draw_front(axes: Any, front: Sequence[tuple[float, float]]) -> None:
    """A line through the front; a front of one candidate has none."""
    if len(front) > 1:
        axes.step(*zip(*front, strict=True), where="post", color=_QUIET, ls="--", label="Pareto front", zorder=1)


def _widen(axes: Any, least: float) -> None:
    """Show at least `least` of the scale, so that a small difference looks small."""
    low, high = axes.get_ylim()
    if high - low < least:
        middle = (low + high) / 2
        axes.set_ylim(middle - least / 2, middle + least / 2)


def _legend_beside(axes: Any) -> None:
    """Each label once, outside the axes, where no sample can be taken for a point of it."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
