"""Pictures come out as PNG files of plain data, odd data included, and need neither display nor pyplot."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from nertrail import plots

TRIALS: list[plots.Row] = [
    {"number": 0, "value": 0.7, "state": "COMPLETE"},
    {"number": 1, "value": None, "state": "FAIL"},
    {"number": 3, "value": 0.6, "state": "COMPLETE"},
    {"number": 2, "value": 0.9, "state": "PRUNED"},
    {"number": 4, "value": 0.8, "state": "COMPLETE"},
    {"number": 5, "value": math.nan, "state": "COMPLETE"},
]
SERIES = {"mean_ms": 2.0, "p50_ms": 2.0, "p95_ms": 2.9, "n": 3, "raw_ms": [1.0, 2.0, 3.0]}
REPORT = {"backend": "torch", "device": "cpu", "threads": 1, "max_length": 128}
CONFUSION = {"PER": {"PER": 5, "O": 1}, "O": {"O": 90, "LOC": 2}}


def candidate(name: str, latency_ms: float | None, score: float, **flags: bool) -> dict[str, Any]:
    return {"name": name, "score": score, "latency_ms": latency_ms, "eligible": False, "selected": False, **flags}


CANDIDATES = [
    candidate("slow", 20.0, 0.90, eligible=True),
    candidate("fast", 10.0, 0.89, eligible=True, selected=True),
    candidate("beaten", 15.0, 0.85),
    candidate("unmeasured", None, 0.95),
]

DRAWINGS: dict[str, Callable[[Path], Path]] = {
    "history": lambda path: plots.optimization_history(TRIALS, path, "macro-f1-span", "maximize"),
    "no trials": lambda path: plots.optimization_history([], path),
    "only pruned": lambda path: plots.optimization_history([TRIALS[3]], path),
    "importances": lambda path: plots.param_importances({"learning_rate": 0.8, "dropout": 0.2}, path),
    "importances with a note": lambda path: plots.param_importances({"dropout": 1.0}, path, "12 completed trials"),
    "no importances": lambda path: plots.param_importances({}, path),
    "latency": lambda path: plots.latency({**REPORT, "batches": {"1": {**SERIES, "e2e": SERIES}, "4": SERIES}}, path),
    "confusion": lambda path: plots.confusion_matrix(CONFUSION, path),
    "no words": lambda path: plots.confusion_matrix({"O": {}}, path),
    "fifty types": lambda path: plots.confusion_matrix({f"t{i}": {f"t{i}": i} for i in range(50)}, path),
    "pareto": lambda path: plots.pareto(CANDIDATES, path, "macro-f1-span"),
    "one candidate": lambda path: plots.pareto(CANDIDATES[1:2], path),
    "none measured": lambda path: plots.pareto(CANDIDATES[3:], path),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_picture_is_a_png_with_ink(draw: Callable[[Path], Path], tmp_path: Path) -> None:
    path = draw(tmp_path / "new" / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
    pixels = image.imread(path)
    assert min(pixels.shape[:2]) > 200
    assert (pixels[..., :3].min(axis=2) < 0.9).mean() > 0.005


@pytest.mark.parametrize(
    "goal, best", [("maximize", [(0, 0.7), (3, 0.7), (4, 0.8)]), ("minimize", [(0, 0.7), (3, 0.6), (4, 0.6)])]
)
def test_the_best_so_far_counts_completed_trials_with_a_number(goal: str, best: list[tuple[int, float]]) -> None:
    assert plots._best_so_far(TRIALS, goal) == best


@pytest.mark.parametrize(
    "goal, front", [("maximize", [(10, 0.89), (20, 0.90)]), ("minimize", [(10, 0.89), (15, 0.85)])]
)
def test_the_front_leaves_out_who_is_beaten_in_both(goal: str, front: list[tuple[float, float]]) -> None:
    assert plots.pareto_front(CANDIDATES[:3], goal) == front


def test_of_two_equal_candidates_the_front_has_one() -> None:
    assert plots.pareto_front([CANDIDATES[0], CANDIDATES[0]]) == [(20.0, 0.9)]


def test_a_confusion_matrix_has_every_predicted_type_and_o_last() -> None:
    assert plots._confusion_names(CONFUSION) == ["LOC", "PER", "O"]


@pytest.mark.parametrize(("low", "high", "shown"), [(0.5, 0.51, (0.455, 0.555)), (0.2, 0.9, (0.2, 0.9))])
def test_an_axis_of_scores_shows_at_least_ten_points(low: float, high: float, shown: tuple[float, float]) -> None:
    axes = Figure().add_subplot()
    axes.set_ylim(low, high)
    plots._widen(axes, 0.1)
    assert axes.get_ylim() == pytest.approx(shown)


def test_a_front_of_one_is_no_line() -> None:
    axes = Figure().add_subplot()
    plots._draw_front(axes, [(1.0, 0.9)])
    assert axes.get_legend_handles_labels()[1] == []
    plots._draw_front(axes, [(1.0, 0.8), (2.0, 0.9)])
    assert axes.get_legend_handles_labels()[1] == ["Pareto front"]


def test_a_title_names_the_model_and_a_busy_machine() -> None:
    assert plots._latency_title(REPORT, "final-x").startswith("Latency of final-x\n")
    assert "busy" in plots._latency_title({**REPORT, "contended": True}, "x")
    assert "busy" not in plots._latency_title(REPORT, "x")


def test_a_picture_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        plots.latency({**REPORT, "batches": {"1": {"raw_ms": [1.0]}}}, tmp_path / "latency.png")
    assert not list(tmp_path.iterdir())


def test_importing_the_pictures_leaves_pyplot_alone() -> None:
    code = "import sys, nertrail.plots; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
