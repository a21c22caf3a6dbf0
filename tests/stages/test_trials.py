"""What becomes of trials, with trainings that play a script: no wait for scores, and any score or failure at will."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from nertrail.errors import ConfigError, InputError
from nertrail.experiment import Experiment
from nertrail.ner.history import Epoch
from nertrail.stages.inputs import Inputs
from nertrail.stages.sweep import SweepConfig, SweepResult, run_sweep
from nertrail.tracking.memory import MemoryBackend, MemoryRun
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker

SPACE = {"learning_rate": {"type": "loguniform", "low": 1e-3, "high": 1e-2}}


def metrics(score: float) -> dict[str, float]:
    return {"macro-f1-span": score, "micro-f1-span": score, "macro-f1": score, "loss": 1 - score}


@dataclass
class Script:
    """Stands in for `fit`: each call plays the next list of epoch scores, or raises what stands in its place."""

    plays: list[list[Any]]
    data: list[tuple[Any, Any]] = field(default_factory=list)
    seen: list[set[str]] = field(default_factory=list)

    def fit(self, *given: Any, on_epoch: Callable[[Epoch], None] | None = None, **_: Any) -> Any:
        _, _, train, validation, _, _, folder = given
        self.data.append((train, validation))
        self.seen.append({path.name for path in folder.parent.glob("*")})
        (folder / "best").mkdir(parents=True)
        (folder / "best" / "nertrail.json").write_text("{}", encoding="utf-8")
        play = self.plays.pop(0)
        for number, score in enumerate(play, start=1):
            if isinstance(score, BaseException):
                raise score
            if on_epoch is not None:
                on_epoch(Epoch(number, metrics(score), 0.5, 1e-3))
        return SimpleNamespace(scores=SimpleNamespace(metrics=lambda: metrics(max(play))))


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def sweep(
    tmp_path: Path, experiment: Experiment, inputs: Inputs, memory: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[SweepResult, Script]]:
    """`sweep([0.1, 0.2], [0.3])` plays two trainings in a sweep; always in the same folder, over the same backend."""

    def start(*plays: list[Any], keep: int = 1, uid: str | None = None, **changes: Any) -> tuple[SweepResult, Script]:
        script = Script(list(plays))
        monkeypatch.setattr("nertrail.ner.trainer.fit", script.fit)
        config = SweepConfig.model_validate({"max_trials": len(plays), "search_space": SPACE, **changes})
        tracker, values = MLflowSweepTracker.over(memory), experiment.hyperparameters
        options: dict[str, Any] = {"tracker": tracker, "keep": keep, "uid": uid}
        return run_sweep(config, values, inputs, experiment.backbones[1], tmp_path, **options), script

    return start


def runs(memory: MemoryBackend, kind: str) -> list[MemoryRun]:
    return [run for run in memory.runs.values() if run.tags["mlflow.runType"] == kind]


def kept(folder: Path) -> set[str]:
    return {path.name for path in (folder / "trials").glob("*")}


def test_a_trial_shows_its_best_epoch_once_and_every_epoch_with_its_step(sweep: Any, memory: MemoryBackend) -> None:
    result, _ = sweep([0.2, 0.5, 0.4])
    (trial,) = runs(memory, "trial")
    assert trial.params == {**result.best.params, "epochs": 3, "backbone": "cut"}
    assert {name: trial.metrics[name] for name in metrics(0)} == metrics(0.5)
    points = [(point.step, point.value) for point in trial.points if point.key == "eval_macro-f1-span"]
    assert points == [(1, 0.2), (2, 0.5), (3, 0.4)]


def test_losers_go_as_soon_as_they_have_lost(sweep: Any, tmp_path: Path) -> None:
    result, script = sweep([0.3], [0.5], [0.4], [0.6], keep=2)
    assert script.seen == [set(), {"0"}, {"0", "1"}, {"1", "2"}]
    assert kept(tmp_path) == {"1", "3"}
    assert list(result.checkpoints) == [3, 1]


@pytest.mark.parametrize(("metric", "goal"), [("macro-f1", "maximize"), ("loss", "minimize")])
def test_of_equals_the_earlier_is_the_best(sweep: Any, metric: str, goal: str) -> None:
    result, _ = sweep([0.3], [0.5], [0.5], objective={"metric": metric, "goal": goal})
    assert result.best_number == 1


def test_an_interrupted_trial_repeats_no_epoch_in_its_run(sweep: Any, memory: MemoryBackend) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep([0.3], [0.2, KeyboardInterrupt()], uid="u")
    before = runs(memory, "trial")[1]
    drawn = dict(before.params)
    result, _ = sweep([0.2, 0.5], [0.4], max_trials=3, uid="u")
    assert runs(memory, "trial")[1] is before
    assert (before.status, before.params) == ("FINISHED", drawn)
    assert [point.step for point in before.points if point.key == "eval_loss"] == [1, 2]
    assert (len(result.trials), len(runs(memory, "trial")), len(runs(memory, "sweep"))) == (3, 3, 1)


def test_an_extended_sweep_draws_anew(sweep: Any) -> None:
    first, _ = sweep([0.6], [0.3])
    second, script = sweep([0.4], [0.5], max_trials=4)
    assert second.trials[:2] == first.trials
    assert (len(script.data), second.best_number) == (2, 0)
    assert len({trial.params["learning_rate"] for trial in second.trials}) == 4


@pytest.mark.parametrize(
    "failure", [[RuntimeError("out of memory")], [0.4, math.nan], [math.inf]], ids=["raised", "late nan", "inf"]
)
def test_a_failed_trial_leaves_its_run_and_nothing_else(
    sweep: Any, memory: MemoryBackend, tmp_path: Path, failure: list[Any]
) -> None:
    result, _ = sweep(failure, [0.3])
    assert [(trial.state, trial.value) for trial in result.trials] == [("FAIL", None), ("COMPLETE", 0.3)]
    failed = runs(memory, "trial")[0]
    assert (failed.status, failed.tags["trial_state"]) == ("FAILED", "FAIL")
    assert "traceback.txt" in failed.artifacts
    assert "macro-f1-span" not in failed.metrics
    assert kept(tmp_path) == {"1"}


def test_bad_input_ends_the_sweep(sweep: Any) -> None:
    with pytest.raises(InputError, match="no such backbone"):
        sweep([InputError("no such backbone")], [0.3])


def test_the_pruner_sees_every_epoch(sweep: Any, memory: MemoryBackend, tmp_path: Path) -> None:
    pruner = {"type": "bandit", "startup_trials": 1, "slack": 0.1}
    result, _ = sweep([0.5, 0.6], [0.5, 0.1, 0.9], [0.55, 0.7], pruner=pruner)
    assert [trial.state for trial in result.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
    pruned = runs(memory, "trial")[1]
    assert [point.value for point in pruned.points if point.key == "eval_macro-f1-span"] == [0.5, 0.1]
    assert (pruned.status, pruned.tags["trial_state"]) == ("FINISHED", "PRUNED")
    assert kept(tmp_path) == {"2"}


def test_the_pruner_sees_every_fold(sweep: Any, memory: MemoryBackend) -> None:
    pruner = {"type": "bandit", "startup_trials": 1, "slack": 0.1}
    result, _ = sweep([0.6], [0.6], [0.1], [0.6], max_trials=2, k_folds=2, pruner=pruner)
    assert [trial.state for trial in result.trials] == ["COMPLETE", "PRUNED"]
    assert len(runs(memory, "fold")) == 3


def test_folds_train_on_the_train_split_alone(
    sweep: Any, memory: MemoryBackend, inputs: Inputs, tmp_path: Path
) -> None:
    result, script = sweep([0.2], [0.4], [0.9], max_trials=1, k_folds=2)
    parts = [[{each.document.id for each in split.documents} for split in pair] for pair in script.data]
    everything = {document.id for document in inputs.dataset.train}
    assert all(train | validation == everything and not train & validation for train, validation in parts[:2])
    assert parts[2][0] == everything, "the winner is refitted"
    assert result.best.value == pytest.approx(0.3)
    assert [run.metrics["macro-f1-span"] for run in runs(memory, "fold")] == [0.2, 0.4]
    assert kept(tmp_path) == {"0"}


def test_folds_of_a_failed_trial_leave_nothing(sweep: Any, tmp_path: Path) -> None:
    sweep([0.2], [RuntimeError("out of memory")], [0.2], [0.3], [0.5], max_trials=2, k_folds=2)
    assert kept(tmp_path) == {"1"}


def test_a_timeout_counts_over_sessions_but_not_what_lies_between(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep([0.5], [KeyboardInterrupt()])
    log = tmp_path / "cut-macro-f1-span.log"
    began = re.compile(r'("datetime_start": ")\d{4}')
    log.write_text(began.sub(r"\g<1>2020", log.read_text()))  # to Optuna the open trial has run for years
    sweep([0.6], max_trials=2)
    seen: list[float] = []
    monkeypatch.setattr("nertrail.stages.sweep.run_trials", lambda *given: seen.append(given[3]))
    sweep(max_trials=3, timeout_minutes=1)
    assert 50 < seen[0] < 60


def test_no_trial_begins_after_the_timeout(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep([0.5])
    monkeypatch.setattr("nertrail.execution.clock.Clock.earlier", lambda self: 60.0)
    result, script = sweep([0.6], max_trials=2, timeout_minutes=1)
    assert (len(result.trials), len(script.data)) == (1, 0)


def test_known_trials_that_were_not_reached_are_no_trials(sweep: Any) -> None:
    result, _ = sweep([0.5], enqueue=[{"learning_rate": 2e-3}, {"learning_rate": 3e-3}])
    assert [trial.params["learning_rate"] for trial in result.trials] == [2e-3]


@pytest.mark.parametrize(
    ("storage", "shown"), [("memory", ("memory", False, "")), ("journal", ("journal", True, "cut-macro-f1-span.log"))]
)
def test_the_storage_is_shown(sweep: Any, memory: MemoryBackend, storage: str, shown: tuple[str, bool, str]) -> None:
    sweep([0.5], storage={"type": storage})
    params = runs(memory, "sweep")[0].params
    kind, enabled, path = (params[f"checkpoint_{name}"] for name in ("storage_type", "enabled", "path"))
    assert (kind, enabled, Path(str(path)).name) == shown


def test_too_many_folds_are_told(sweep: Any) -> None:
    with pytest.raises(ConfigError, match="999 folds of"):
        sweep([0.5], k_folds=999)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_space": {"learning_rat": {"type": "int", "low": 1, "high": 2}}}, "is no hyperparameter"),
        ({"enqueue": [{"dropout": 0.1}]}, "the search space has no such dimension"),
        ({"search_space": {"batch_size": {"type": "choice", "values": [4, "a"]}}}, "batch_size can't be 'a'"),
        ({"search_space": {"dropout": {"type": "uniform", "low": 0, "high": 1}}}, "dropout can't be 1.0"),
        ({"search_space": SPACE, "enqueue": [{"learning_rate": -1}]}, "-1 lies outside of the search space"),
        ({"objective": {"metric": "loss"}}, "is to be minimized"),
        ({"k_folds": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        SweepConfig.model_validate(changes)
