"""The rule of selection, as a pure function."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.errors import ConfigError, StageError
from nertrail.stages.selection import (
    Selection,
    SelectionCandidate,
    SelectionConfig,
    read_choice,
    run_selection,
    select_best_configuration_across_studies,
)

scores = st.floats(-1, 1).map(lambda value: round(value, 3))
latencies = st.floats(0.1, 100).map(lambda value: round(value, 2))
several = st.lists(st.tuples(scores, latencies), min_size=1, max_size=8)
thresholds = st.floats(0, 0.5)


def candidates(pairs: list[tuple[float, float]], conditions: str = "") -> list[SelectionCandidate]:
    return [
        SelectionCandidate(
            name=f"c{i}", backbone=f"b{i}", params={}, score=s, latency_ms={1: ms, 4: 3 * ms}, conditions=conditions
        )
        for i, (s, ms) in enumerate(pairs)
    ]


def select(pairs: list[tuple[float, float]], threshold: float | None = 0.02, **options: object) -> Selection:
    config = SelectionConfig(accuracy_threshold=threshold, **options)
    return select_best_configuration_across_studies(candidates(pairs), config)


@given(several, thresholds, st.booleans())
def test_no_eligible_one_is_faster(pairs: list[tuple[float, float]], threshold: float, relative: bool) -> None:
    selection = select(pairs, threshold, use_relative_threshold=relative)
    chosen = selection.selected.latency_ms[1]
    eligible = [verdict.candidate for verdict in selection.verdicts if verdict.eligible]
    assert selection.selected in eligible
    assert chosen == min(candidate.latency_ms[1] for candidate in eligible)


@given(several, thresholds, thresholds)
def test_a_wider_threshold_never_selects_a_slower_one(pairs: list[tuple[float, float]], a: float, b: float) -> None:
    narrow, wide = select(pairs, min(a, b)), select(pairs, max(a, b))
    assert wide.selected.latency_ms[1] <= narrow.selected.latency_ms[1]


@given(several, thresholds)
def test_minimising_is_maximising_the_negated_scores(pairs: list[tuple[float, float]], threshold: float) -> None:
    config = SelectionConfig(accuracy_threshold=threshold)
    up = select_best_configuration_across_studies(candidates(pairs), config)
    negated = candidates([(-score, ms) for score, ms in pairs])
    down = select_best_configuration_across_studies(negated, config, goal="minimize")
    assert up.selected.name == down.selected.name


@given(several)
def test_without_a_threshold_the_best_score_wins(pairs: list[tuple[float, float]]) -> None:
    selection = select(pairs, None)
    assert selection.selected.score == max(score for score, _ in pairs)
    assert selection.strategy == "best_score"


@pytest.mark.parametrize(
    ("pairs", "threshold", "options", "chosen"),
    [
        ([(0.90, 20.0), (0.885, 10.0)], 0.02, {}, "c1"),
        ([(0.90, 20.0), (0.881, 10.0)], 0.02, {}, "c0"),
        ([(0.90, 20.0), (0.881, 10.0)], 0.02, {"use_relative_threshold": False}, "c1"),
        ([(0.90, 20.0), (0.86, 10.0)], 0.02, {"min_accuracy_gain": 0.05}, "c1"),
        ([(0.90, 20.0), (0.895, 10.0), (0.899, 10.0)], 0.02, {}, "c2"),
        ([(0.90, 10.0), (0.90, 10.0)], 0.0, {}, "c0"),
        ([(-0.5, 10.0), (-0.505, 5.0)], 0.02, {}, "c1"),
    ],
)
def test_the_rule(pairs: list[tuple[float, float]], threshold: float, options: dict[str, object], chosen: str) -> None:
    assert select(pairs, threshold, **options).selected.name == chosen


def test_candidates_measured_differently_are_not_compared_by_speed() -> None:
    mixed = [*candidates([(0.9, 20.0)], "one thread"), *candidates([(0.899, 1.0)], "two threads")]
    selection = select_best_configuration_across_studies(mixed, SelectionConfig())
    assert (selection.selected.score, selection.strategy, selection.batch_size) == (0.9, "best_score", None)
    assert "not measured alike" in selection.reason


def test_nothing_to_select_from() -> None:
    with pytest.raises(StageError, match="nothing to select from"):
        select_best_configuration_across_studies([])


def test_the_record_and_the_file_say_the_same(tmp_path: Path) -> None:
    found = [
        SelectionCandidate(
            name=name, backbone=name, params={"learning_rate": rate}, score=score, latency_ms={1: ms},
            sweep_uid=f"sweep-{name}", benchmark_uid=f"bench-{name}",
        )
        for name, rate, score, ms in (("slow", 1e-3, 0.9, 20.0), ("fast", 2e-3, 0.89, 10.0))
    ]  # fmt: skip
    result = run_selection(SelectionConfig(), found, tmp_path)
    record = result.record()
    assert record.params["selected_backbone"] == "fast"
    assert record.params["learning_rate"] == 2e-3
    assert record.metrics == {
        "selected_macro-f1-span": 0.89,
        "best_macro-f1-span": 0.9,
        "n_candidates": 2.0,
        "selected_latency_ms": 10.0,
    }
    assert record.tags["source_sweep_runs_uid"] == "sweep-slow,sweep-fast"
    assert [artifact.name for artifact in record.artifacts] == ["selection.json", "pareto.png"]
    assert all(artifact.path.is_file() for artifact in record.artifacts)
    assert read_choice(result.path).name == "fast"


def test_a_file_that_is_no_selection(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"x\.json: is no selection\.json"):
        read_choice(tmp_path / "x.json")
