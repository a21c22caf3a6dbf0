"""Selection: the fastest configuration whose score is close enough to the best."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ConfigError, StageError
from nertrail.numbers import NotNegative
from nertrail.records import Artifact, RunRecord, read_json, write_json
from nertrail.tracking.mlflow_tracker import MLflowSelectionTracker
from nertrail.tracking.names import selection_record

if TYPE_CHECKING:
    from nertrail.stages.benchmark import BenchmarkResult
    from nertrail.stages.sweep import SweepResult, TrialSummary

STAGE = "selection"
Goal = Literal["maximize", "minimize"]


class SelectionConfig(Model):
    """How much score may be given up for speed; `accuracy_threshold: null` takes the best score."""

    accuracy_threshold: NotNegative | None = 0.02
    use_relative_threshold: bool = True
    min_accuracy_gain: NotNegative = 0.0


class SelectionCandidate(Model):
    """One configuration: its score on the objective and, where measured, its latency.

    `conditions` says how the latency was measured; candidates measured differently are not compared by speed.
    """

    name: str
    backbone: str
    params: Mapping[str, Any]
    score: float = pydantic.Field(allow_inf_nan=False)
    latency_ms: Mapping[int, pydantic.PositiveFloat] = {}
    conditions: str = ""
    sweep_uid: str = ""
    benchmark_uid: str = ""
    checkpoint: Path | None = None


def selection_candidates(
    sweeps: Sequence[SweepResult], benchmarks: Sequence[BenchmarkResult]
) -> list[SelectionCandidate]:
    """The best trials of every sweep with what was measured of them."""
    measured = {result.name: result for result in benchmarks}
    return [
        _candidate(sweep, sweep.trial(number), path, measured[sweep.trial_name(number)])
        for sweep in sweeps
        for number, path in sweep.checkpoints.items()
    ]


def _candidate(
    sweep: SweepResult, trial: TrialSummary, checkpoint: Path, measured: BenchmarkResult
) -> SelectionCandidate:
    assert trial.value is not None, "a trial whose checkpoint is kept has completed"
    return SelectionCandidate(
        name=measured.name,
        backbone=sweep.backbone,
        params=trial.params,
        score=trial.value,
        latency_ms=measured.latencies(),
        conditions=measured.conditions(),
        sweep_uid=sweep.uid,
        benchmark_uid=measured.uid,
        checkpoint=checkpoint,
    )


class Verdict(Model):
    """Why a candidate was or was not taken."""

    candidate: SelectionCandidate
    eligible: bool
    selected: bool
    why: str


class Selection(Model):
    """The decision, every candidate's numbers and the reason."""

    objective: str
    goal: Goal
    strategy: Literal["fastest_within_threshold", "best_score"]
    reason: str
    best_score: float
    batch_size: int | None
    verdicts: tuple[Verdict, ...]
    config: SelectionConfig

    @property
    def selected(self) -> SelectionCandidate:
        return next(verdict.candidate for verdict in self.verdicts if verdict.selected)

    @property
    def latency_ms(self) -> float | None:
        return None if self.batch_size is None else self.selected.latency_ms.get(self.batch_size)


class SelectionResult(Model):
    """The decision and the files that show it."""

    selection: Selection
    path: Path
    picture: Path | None = None

    def record(self) -> RunRecord:
        """What the selection run shows."""
        pictures = (Artifact(self.picture, "pareto.png"),) if self.picture else ()
        files = (Artifact(self.path, "selection.json"), *pictures)
        return selection_record(self.selection.model_dump(mode="json")) | RunRecord(artifacts=files)


def select_best_configuration_across_studies(
    candidates: Sequence[SelectionCandidate],
    config: SelectionConfig | None = None,
    *,
    objective: str = "macro-f1-span",
    goal: Goal = "maximize",
) -> Selection:
    """The fastest candidate within the threshold of the best score.

    best = best objective; eligible = within max(accuracy_threshold, min_accuracy_gain) of it, as a share of |best| or
    absolute; speed = latency at the smallest batch size all were measured at; ties go to the higher score, then to
    the first. Where the candidates were not measured alike the best score is taken, and the reason says so.

    Raises:
        StageError: there is no candidate.
    """
    if not candidates:
        raise StageError("there is nothing to select from")
    config = config or SelectionConfig()
    sign = 1.0 if goal == "maximize" else -1.0
    best = max(candidates, key=lambda candidate: sign * candidate.score)
    batch_size = _common_batch(candidates)
    by_speed = config.accuracy_threshold is not None and batch_size is not None
    margin = _margin(config, best.score) if by_speed else 0.0
    eligible = [c for c in candidates if sign * (best.score - c.score) <= margin + 1e-12]
    chosen = best
    if by_speed and batch_size is not None:
        chosen = min(eligible, key=lambda c: (c.latency_ms[batch_size], -sign * c.score))
    return Selection(
        objective=objective,
        goal=goal,
        strategy="fastest_within_threshold" if by_speed else "best_score",
        reason=_reason(chosen, best, margin, batch_size, config, objective),
        best_score=best.score,
        batch_size=batch_size,
        verdicts=tuple(_verdict(c, chosen, best, eligible, by_speed, margin) for c in candidates),
        config=config,
    )


def _common_batch(candidates: Sequence[SelectionCandidate]) -> int | None:
    """The smallest batch size at which all were measured alike."""
    if len({candidate.conditions for candidate in candidates}) > 1:
        return None
    common = set.intersection(*(set(candidate.latency_ms) for candidate in candidates))
    return min(common, default=None)


def _margin(config: SelectionConfig, best: float) -> float:
    share = max(config.accuracy_threshold or 0.0, config.min_accuracy_gain)
    return share * abs(best) if config.use_relative_threshold else share


def _reason(
    chosen: SelectionCandidate,
    best: SelectionCandidate,
    margin: float,
    batch_size: int | None,
    config: SelectionConfig,
    objective: str,
) -> str:
    score = f"{objective} {chosen.score:.4f}"
    if config.accuracy_threshold is None:
        return f"{chosen.name} has the best {score}; no threshold was set, so speed was not considered."
    if batch_size is None:
        return (
            f"{chosen.name} has the best {score}; the candidates were not measured alike, so speed was not considered."
        )
    speed = f"{chosen.latency_ms[batch_size]:.2f} ms at batch size {batch_size}"
    if chosen is best:
        return f"{chosen.name} has the best {score} and is the fastest within {margin:.4f} of it, {speed}."
    ratio = best.latency_ms[batch_size] / chosen.latency_ms[batch_size]
    gap = f"{abs(best.score - chosen.score):.4f} behind {best.name}"
    return f"{chosen.name} has {score}, {gap} (allowed: {margin:.4f}), and is {ratio:.2f} times as fast, {speed}."


def _verdict(
    candidate: SelectionCandidate,
    chosen: SelectionCandidate,
    best: SelectionCandidate,
    eligible: Sequence[SelectionCandidate],
    by_speed: bool,
    margin: float,
) -> Verdict:
    selected, fits = candidate is chosen, candidate in eligible
    if selected:
        why = "the fastest eligible one" if by_speed else "the best score"
    elif not fits:
        gap = f"{abs(best.score - candidate.score):.4f} behind the best score"
        why = f"{gap}, more than the {margin:.4f} allowed" if by_speed else gap
    else:
        why = "eligible, but not the fastest"
    return Verdict(candidate=candidate, eligible=fits, selected=selected, why=why)


def run_selection(
    config: SelectionConfig,
    candidates: Sequence[SelectionCandidate],
    folder: Path,
    *,
    objective: str = "macro-f1-span",
    goal: Goal = "maximize",
    tracker: MLflowSelectionTracker | None = None,
    uid: str | None = None,
) -> SelectionResult:
    """Decide, and write selection.json and pareto.png into `folder`."""
    tracker = tracker or MLflowSelectionTracker.off()
    with tracker.start_selection_run("selection", uid=uid) as run:
        selection = select_best_configuration_across_studies(candidates, config, objective=objective, goal=goal)
        path = write_json(folder / "selection.json", _seen_from(folder, selection))
        result = SelectionResult(selection=selection, path=path, picture=_pareto(selection, folder))
        run.log(result.record())
    return result


def _seen_from(folder: Path, selection: Selection) -> dict[str, Any]:
    """The document with checkpoints relative to the folder that it lies in: both move together."""
    document = selection.model_dump(mode="json")
    for verdict in document["verdicts"]:
        if checkpoint := verdict["candidate"]["checkpoint"]:
            verdict["candidate"]["checkpoint"] = Path(os.path.relpath(checkpoint, folder)).as_posix()
    return document


def read_choice(path: Path) -> SelectionCandidate:
    """The candidate that a selection.json names.

    Raises:
        ConfigError: there is no such file, or it is none.
    """
    try:
        return Selection.model_validate(read_json(path)).selected
    except (OSError, ValueError) as error:
        problem = f"is no selection.json: {str(error).splitlines()[0]}"
        raise ConfigError(problem, place=str(path), remedy="give the file that `nertrail select` wrote") from None


def _pareto(selection: Selection, folder: Path) -> Path | None:
    if selection.batch_size is None:
        return None
    from nertrail import plots

    points = [
        {
            "name": verdict.candidate.name,
            "score": verdict.candidate.score,
            "latency_ms": verdict.candidate.latency_ms[selection.batch_size],
            "selected": verdict.selected,
            "eligible": verdict.eligible,
        }
        for verdict in selection.verdicts
    ]
    return plots.pareto(points, folder / "pareto.png", selection.objective, selection.goal, selection.batch_size)
