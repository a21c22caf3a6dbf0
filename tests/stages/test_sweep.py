"""Sweeps over the two-layer model: counting, failing, pruning, going on, and what the runs show."""

from __future__ import annotations

import importlib
import math
import shutil
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pydantic
import pytest
import torch

import recorded
from nertrail.errors import StageError, TrialError
from nertrail.experiment import Experiment
from nertrail.ner import trainer
from nertrail.ner.checkpoint import load_checkpoint
from nertrail.ner.windows import WindowSettings
from nertrail.stages.hyperparameters import Hyperparameters
from nertrail.stages.inputs import Inputs, read_inputs
from nertrail.stages.sweep import SweepConfig, SweepResult, run_sweep
from nertrail.stages.trials import objective_of
from nertrail.tracking.memory import MemoryBackend, MemoryRun
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker

Sweep = Callable[..., SweepResult]


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def sweep(experiment: Experiment, inputs: Inputs, tmp_path: Path, memory: MemoryBackend) -> Sweep:
    """Run the sweep of the cut backbone with changed settings; always in the same folder."""

    def run(progress: Any = None, **changes: Any) -> SweepResult:
        config = SweepConfig.model_validate({**experiment.sweep.model_dump(), "epochs": 1, **changes})
        tracker = MLflowSweepTracker.over(memory)
        options = {"progress": progress} if progress else {}
        return run_sweep(
            config, experiment.hyperparameters, inputs, experiment.backbones[1], tmp_path, tracker=tracker, **options
        )

    return run


def of_kind(memory: MemoryBackend, kind: str) -> list[MemoryRun]:
    return [run for run in memory.runs.values() if run.tags["mlflow.runType"] == kind]


def replace_fit(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> list[trainer.FitSettings]:
    """Call `before` with the number of the fit first; returns the settings of all fits."""
    real, seen = trainer.fit, list[trainer.FitSettings]()

    def fit(*args: Any, **kwargs: Any) -> Any:
        seen.append(args[5])
        before(len(seen) - 1)
        return real(*args, **kwargs)

    monkeypatch.setattr(trainer, "fit", fit)
    return seen


def test_the_enqueued_trial_comes_first_and_its_values_reach_the_training(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = replace_fit(monkeypatch, lambda number: None)
    result = sweep()
    assert result.trials[0].params == {"learning_rate": 5e-3, "batch_size": 4}
    assert [(s.learning_rate, s.batch_size) for s in seen] == [
        (trial.params["learning_rate"], trial.params["batch_size"]) for trial in result.trials
    ]
    assert result.random_search


def test_only_the_best_checkpoint_stays(sweep: Sweep, tmp_path: Path) -> None:
    result = sweep()
    assert [folder.name for folder in (tmp_path / "trials").iterdir()] == [str(result.best_number)]
    assert result.best.value == max(trial.value or 0.0 for trial in result.trials)
    assert (result.checkpoint / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), torch.OutOfMemoryError("out of memory"), MemoryError()], ids=repr
)
def test_a_failed_trial_does_not_end_the_sweep(
    sweep: Sweep, memory: MemoryBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail_first(number: int) -> None:
        if number == 0:
            raise error

    replace_fit(monkeypatch, fail_first)
    result = sweep()
    assert [trial.state for trial in result.trials] == ["FAIL", "COMPLETE"]
    failed, completed = sorted(of_kind(memory, "trial"), key=lambda run: str(run.tags["trial_number"]))
    assert (failed.status, failed.tags["trial_state"]) == ("FAILED", "FAIL")
    assert (completed.status, completed.tags["trial_state"]) == ("FINISHED", "COMPLETE")
    assert result.record().metrics["n_failed_trials"] == 1


def test_a_sweep_without_a_completed_trial_fails(
    sweep: Sweep, memory: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        raise RuntimeError("no")

    replace_fit(monkeypatch, fail)
    with pytest.raises(StageError, match="none of the 2 trials of cut completed"):
        sweep()
    assert [run.status for run in of_kind(memory, "sweep")] == ["FAILED"]


def test_a_pruned_trial_is_finished_and_says_so(
    sweep: Sweep, memory: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prune_second(number: int) -> None:
        if number == 1:
            raise optuna.TrialPruned

    replace_fit(monkeypatch, prune_second)
    result = sweep()
    assert [trial.state for trial in result.trials] == ["COMPLETE", "PRUNED"]
    states = {run.tags["trial_state"]: run.status for run in of_kind(memory, "trial")}
    assert states == {"COMPLETE": "FINISHED", "PRUNED": "FINISHED"}
    assert result.record().metrics["n_pruned_trials"] == 1


def test_an_interrupted_trial_goes_on_under_its_number_and_in_its_run(
    sweep: Sweep, memory: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        replace_fit(patch, interrupt)
        sweep()
    before = {run.tags["trial_number"]: uid for uid, run in memory.runs.items() if "trial_number" in run.tags}
    result = sweep()
    assert [(trial.number, trial.state) for trial in result.trials] == [(0, "COMPLETE"), (1, "COMPLETE")]
    assert {str(trial.number): trial.uid for trial in result.trials} == {str(n): uid for n, uid in before.items()}


def test_a_finished_sweep_can_be_extended(sweep: Sweep, memory: MemoryBackend) -> None:
    first = sweep(max_trials=1)
    second = sweep(max_trials=2)
    assert second.trials[0] == first.trials[0]
    assert len(second.trials) == 2
    resumed = [run.params["resumed_from_checkpoint"] for run in of_kind(memory, "sweep")]
    assert sorted(str(value) for value in resumed) == ["False", "True"]


def test_folds_lie_below_their_trial_and_are_averaged(sweep: Sweep, memory: MemoryBackend) -> None:
    result = sweep(max_trials=1, k_folds=2)
    (trial,), folds = of_kind(memory, "trial"), of_kind(memory, "fold")
    assert sorted(str(run.tags["fold_idx"]) for run in folds) == ["0", "1"]
    values = [trial.metrics[f"fold_{index}_macro-f1-span"] for index in range(2)]
    assert trial.metrics["cv_mean"] == pytest.approx(statistics.fmean(values))
    assert trial.metrics["cv_std"] == pytest.approx(statistics.stdev(values))
    assert result.best.value == pytest.approx(trial.metrics["cv_mean"])
    for name in ("macro-f1", "macro-f1-span", "micro-f1-span", "loss"):
        found = [fold.metrics[name] for fold in folds]
        assert trial.metrics[name] == pytest.approx(statistics.fmean(found))
        assert trial.metrics[f"cv_std_{name}"] == pytest.approx(statistics.stdev(found))
    assert (result.checkpoint / "model.safetensors").is_file(), "the winner is refitted on the whole train split"


def test_workers_share_a_sweep(experiment: Experiment, inputs: Inputs, tmp_path: Path) -> None:
    config = SweepConfig.model_validate({**experiment.sweep.model_dump(), "epochs": 1, "max_trials": 4, "workers": 2})
    tracker = MLflowSweepTracker("e", run_dir=tmp_path)
    result = run_sweep(
        config, experiment.hyperparameters, inputs, experiment.backbones[1], tmp_path / "sweep", tracker=tracker
    )
    tracker.close()
    assert [trial.state for trial in result.trials] == ["COMPLETE"] * 4
    assert len({trial.params["learning_rate"] for trial in result.trials}) == 4, "workers draw differently"
    assert [path.name for path in (tmp_path / "sweep" / "trials").iterdir()] == [str(result.best_number)]
    memory = recorded.delivered(tmp_path)
    trials = of_kind(memory, "trial")
    assert {run.tags["mlflow.parentRunId"] for run in trials} == {memory.runs[result.uid].run_id}
    assert {run.tags["nertrail.run_uid"] for run in trials} == {trial.uid for trial in result.trials}
    assert {run.status for run in memory.runs.values()} == {"FINISHED"}
    writers = {path.parent.name for path in (tmp_path / "journal").glob("*/*.jnl")}
    assert len(writers) == 3, "the sweep's and each worker's"


def test_workers_cannot_share_a_study_in_memory() -> None:
    with pytest.raises(pydantic.ValidationError, match="can't share a study in memory"):
        SweepConfig.model_validate({"workers": 2, "storage": {"type": "memory"}})


@pytest.mark.parametrize("folds", [None, 2])
def test_data_is_read_tokenized_and_hashed_once_for_all_trials(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int | None
) -> None:
    calls = Counter[str]()

    def counted(module: str, name: str) -> None:
        holder = importlib.import_module(module)
        real = getattr(holder, name)

        def call(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return real(*given, **named)

        monkeypatch.setattr(holder, name, call)

    for module, name in (
        ("nertrail.stages.data", "read_dataset"),
        ("nertrail.stages.inputs", "data_version"),
        ("nertrail.ner.windows", "encode"),
    ):
        counted(module, name)
    inputs = read_inputs(experiment.data, experiment.windows, experiment.decoding, experiment.seed)
    config = SweepConfig.model_validate(
        {**experiment.sweep.model_dump(), "epochs": 1, "max_trials": 3, "k_folds": folds}
    )
    run_sweep(config, experiment.hyperparameters, inputs, experiment.backbones[1], tmp_path)
    assert calls == {"read_dataset": 1, "data_version": 1, "encode": 3 + 2 * (folds or 0)}


@pytest.mark.parametrize("metrics", [{}, {"macro-f1-span": math.nan}, {"macro-f1-span": math.inf}])
def test_a_useless_objective_is_an_error_and_never_zero(metrics: dict[str, float]) -> None:
    with pytest.raises(TrialError, match="the objective macro-f1-span is"):
        objective_of(metrics, "macro-f1-span")


def test_a_searched_window_takes_effect_and_stays_with_the_model(
    sweep: Sweep, inputs: Inputs, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials train on texts cut as they drew, texts are cut once per length, and the checkpoint keeps the trial's."""
    seen: list[Any] = []
    real = trainer.fit
    monkeypatch.setattr(trainer, "fit", lambda *given, **named: (seen.append(given[2]), real(*given, **named))[1])
    lengths = [9, 16, 9, 16]
    result = sweep(
        max_trials=4,
        search_space={"max_length": {"type": "choice", "values": [16, 9]}},
        enqueue=[{"max_length": length} for length in lengths],
    )
    assert [trial.params["max_length"] for trial in result.trials] == lengths
    assert [max(len(window.input_ids) for window in train.windows) for train in seen] == lengths
    assert seen[0] is seen[2] is inputs.prepare(experiment.backbones[1], 9).train
    best = result.best.params["max_length"]
    assert load_checkpoint(result.checkpoint).windows == WindowSettings(best, best // 4)


def test_windows_that_the_texts_leave_open_are_compared_alike(
    experiment: Experiment, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = replace_fit(monkeypatch, lambda number: None)
    config = experiment.sweep.model_copy(update={"epochs": 1, "max_trials": 3})
    data = replace(inputs, compared=(32, 16))
    result = run_sweep(config, experiment.hyperparameters, data, experiment.backbones[1], tmp_path)
    assert [trial.params["max_length"] for trial in result.trials[:2]] == [32, 16]
    assert seen[0] == seen[1]
    assert seen[0].learning_rate == 5e-3


@pytest.mark.parametrize(
    ("changes", "lengths", "first"),
    [
        ({}, (128,), None),
        ({"search_space": {"max_length": {"type": "choice", "values": [64]}}}, (128, 64), None),
        ({}, (128, 64), {}),
        ({"search_space": {"batch_size": {"type": "int", "low": 1, "high": 9}}}, (128, 64), {"batch_size": 8}),
        ({"search_space": {"batch_size": {"type": "int", "low": 1, "high": 4}}}, (128, 64), {}),
    ],
)
def test_the_first_trials_differ_in_the_window_alone(
    changes: dict[str, Any], lengths: tuple[int, ...], first: dict[str, Any] | None
) -> None:
    config = SweepConfig.model_validate(changes)
    made = config.comparing(lengths, Hyperparameters())
    if first is None:
        assert made is config
    else:
        assert made.enqueue == tuple({**first, "max_length": length} for length in lengths)
        assert made.window_lengths() == lengths


def test_a_study_behind_a_url_belongs_to_its_folder(sweep: Sweep, tmp_path: Path) -> None:
    storage = {"storage": {"type": "sqlite", "url": f"sqlite:///{tmp_path.parent}/shared-{tmp_path.name}.db"}}
    first = sweep(max_trials=1, **storage)
    again = sweep(max_trials=2, **storage)
    assert again.study_name == first.study_name
    assert [trial.uid for trial in again.trials][:1] == [trial.uid for trial in first.trials]
    shutil.rmtree(tmp_path)  # as a sweep that begins anew does
    anew = sweep(max_trials=1, **storage)
    assert anew.study_name != first.study_name
    assert {trial.uid for trial in anew.trials}.isdisjoint(trial.uid for trial in again.trials)
