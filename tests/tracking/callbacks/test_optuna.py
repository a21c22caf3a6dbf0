"""An Optuna study as runs: every state kept, from threads, resumed, stopped, and never disturbed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from nertrail.tracking.callbacks import OptunaCallback
from nertrail.tracking.memory import MemoryBackend, MemoryRun
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker
from nertrail.tracking.protocol import PARENT_TAG, RunStart

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), study_name="s")


def objective(trial: optuna.Trial) -> float:
    """Trial 1 is pruned at its second step, trial 2 fails."""
    x = trial.suggest_float("x", 0, 1)
    for step in (1, 2):
        trial.report(x * step, step)
        if trial.number == 1 and step == 2:
            raise optuna.TrialPruned
    if trial.number == 2:
        raise ValueError("no such thing")
    return x


def trials(memory: MemoryBackend) -> list[MemoryRun]:
    found = [run for run in memory.runs.values() if run.tags["mlflow.runType"] == "trial"]
    return sorted(found, key=lambda run: int(str(run.tags["trial_number"])))


def sweep(memory: MemoryBackend) -> MemoryRun:
    [found] = [run for run in memory.runs.values() if run.tags["mlflow.runType"] == "sweep"]
    return found


@pytest.mark.parametrize("jobs", [1, 4])
def test_every_trial_leaves_a_run_with_what_it_was(jobs: int, memory: MemoryBackend, study: optuna.Study) -> None:
    with OptunaCallback(study, MLflowSweepTracker.over(memory), metric="f1") as callback:
        study.optimize(callback.watched(objective), n_trials=8, n_jobs=jobs, catch=(ValueError,), callbacks=[callback])
    seen = trials(memory)
    assert [(run.status, run.tags["trial_state"]) for run in seen[:4]] == [
        ("FINISHED", "COMPLETE"), ("FINISHED", "PRUNED"), ("FAILED", "FAIL"), ("FINISHED", "COMPLETE"),
    ]  # fmt: skip
    assert len(seen) == 8 and {run.tags[PARENT_TAG] for run in seen} == {callback.run.ref}
    for run, trial in zip(seen, study.trials, strict=True):
        assert run.params == trial.params
        assert [point.step for point in run.points if point.key == "eval_f1"] == [1, 2]
        assert ("f1" in run.metrics) == (trial.state.name == "COMPLETE")
        assert run.start.start_ms == int(trial.datetime_start.timestamp() * 1000)
        assert run.end_ms == int(trial.datetime_complete.timestamp() * 1000)
        assert ("traceback.txt" in run.artifacts) == (trial.state.name == "FAIL")
    whole = sweep(memory)
    assert (whole.status, whole.params["objective_goal"]) == ("FINISHED", "minimize")
    assert (whole.metrics["n_failed_trials"], whole.metrics["n_pruned_trials"]) == (1, 1)
    best = next(run for run in seen if run.tags["trial_number"] == study.best_trial.number)
    assert whole.tags["best_trial_run_id_uid"] == best.start.uid and whole.metrics["best_f1"] == study.best_value


def test_a_failure_that_ends_the_study_is_kept(memory: MemoryBackend, study: optuna.Study) -> None:
    with (
        pytest.raises(ValueError, match="no such thing"),
        OptunaCallback(study, MLflowSweepTracker.over(memory)) as callback,
    ):
        study.optimize(objective, n_trials=8, callbacks=[callback])
    assert Counter(run.tags["trial_state"] for run in trials(memory)) == {"COMPLETE": 1, "PRUNED": 1, "FAIL": 1}
    assert sweep(memory).status == "FAILED" and "traceback.txt" in sweep(memory).artifacts


def test_trials_of_an_earlier_session_are_left_alone(memory: MemoryBackend, study: optuna.Study) -> None:
    study.optimize(objective, n_trials=2)
    with OptunaCallback(study, MLflowSweepTracker.over(memory)) as callback:
        study.optimize(lambda trial: trial.suggest_float("x", 2, 3), n_trials=2, callbacks=[callback])
    assert [run.tags["trial_number"] for run in trials(memory)] == [2, 3]
    assert sweep(memory).params["resumed_from_checkpoint"] is True
    assert "best_trial_run_id" not in sweep(memory).tags  # the best is of the earlier session


def test_a_trial_seen_by_two_workers_is_one_run(memory: MemoryBackend, study: optuna.Study) -> None:
    with (
        OptunaCallback(study, MLflowSweepTracker.over(memory)) as one,
        OptunaCallback(study, MLflowSweepTracker.over(memory)),
    ):
        study.optimize(objective, n_trials=2, callbacks=[one])
    assert len(trials(memory)) == 2


def test_an_objective_may_log_to_its_run(memory: MemoryBackend, study: optuna.Study) -> None:
    def logging(trial: optuna.Trial) -> float:
        callback.run_of(trial).log_metrics({"seconds": 1.0})
        return 1.0

    with OptunaCallback(study, MLflowSweepTracker.over(memory)) as callback:
        study.optimize(logging, n_trials=2, n_jobs=2, callbacks=[callback])
    assert [run.metrics["seconds"] for run in trials(memory)] == [1.0, 1.0]


def test_several_objectives(memory: MemoryBackend) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    with OptunaCallback(study, MLflowSweepTracker.over(memory), metric=("size", "f1")) as callback:
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 2.0), n_trials=2, callbacks=[callback])
    assert [run.metrics["f1"] for run in trials(memory)] == [2.0, 2.0]
    assert sweep(memory).params["objective_goal"] == "minimize,maximize" and sweep(memory).metrics["n_trials"] == 2


class Broken(MemoryBackend):
    def start(self, run: RunStart) -> None:
        raise RuntimeError("broken")


def test_what_breaks_here_does_not_reach_the_study(study: optuna.Study) -> None:
    with OptunaCallback(study, MLflowSweepTracker.over(Broken())) as callback:
        study.optimize(callback.watched(objective), n_trials=3, catch=(ValueError,), callbacks=[callback])
        callback(study, object())
    assert len(study.trials) == 3


def test_two_threads_that_ask_for_a_run_get_one(memory: MemoryBackend, study: optuna.Study) -> None:
    callback = OptunaCallback(study, MLflowSweepTracker.over(memory))
    trial, found = study.ask(), list[Any]()
    threads = [threading.Thread(target=lambda: found.append(callback.run_of(trial))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    callback.end()
    assert len({id(run) for run in found}) == 1 and len(trials(memory)) == 1


def test_naming_the_callbacks_loads_neither_library(tmp_path: Path) -> None:
    code = (
        "import sys; import nertrail.tracking.callbacks as c; c.OptunaCallback;"
        "print(sorted({'optuna', 'transformers', 'torch', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_trials_that_were_enqueued_before_are_of_this_session(memory: MemoryBackend, study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.25})
    study.enqueue_trial({"x": 0.5})
    with OptunaCallback(study, MLflowSweepTracker.over(memory)) as callback:
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3, callbacks=[callback])
    assert [run.params["x"] for run in trials(memory)][:2] == [0.25, 0.5] and len(trials(memory)) == 3
    assert sweep(memory).params["resumed_from_checkpoint"] is False


def test_a_trial_that_another_worker_runs_is_recorded_once_it_is_over(
    memory: MemoryBackend, study: optuna.Study
) -> None:
    running = study.ask()
    with OptunaCallback(study, MLflowSweepTracker.over(memory)):
        study.tell(running, 1.0)
    assert [run.status for run in trials(memory)] == ["FINISHED"]
    assert sweep(memory).params["resumed_from_checkpoint"] is False
