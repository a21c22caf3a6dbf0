"""kill -9 of the pipeline and of its uploader: the same command goes on in the same runs, nothing is lost or twice."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

import tiny_experiment
from e2e.commands import nertrail
from e2e.killing import Killer, Moment, Pipeline, draw, timeline
from export import export
from nertrail.ledger import Ledger
from nertrail.tracking.sync import sync

COUNTS = {"pipeline": 1, "sweep": 2, "trial": 4, "benchmark": 5, "selection": 1, "training": 1, "conversion": 2}
MEASURED = re.compile(r"latency|throughput|seconds|per_second|first_call_ms|speedup|peak_memory")
CHOICE = {"accuracy_threshold": 0.0001}  # by score alone: a choice by latency differs from day to day


def begun(step: str) -> Moment:
    return lambda pipeline: (pipeline.run_dir / "results" / f"{step}.json").is_file()


def second_trial_runs(run_dir: Path) -> bool:
    """The first trial of the first sweep is over, the second is being trained."""
    folder = run_dir / "checkpoints" / "sweep-whole"
    return (folder / "trials" / "1").is_dir() and (folder / "whole-macro-f1-span.log").is_file()


def an_epoch_is_saved(pipeline: Pipeline) -> bool:
    """The final training has something to go on from."""
    return any((pipeline.run_dir / "checkpoints" / "training" / "fit").glob("resume/checkpoint-*"))


STAGES: list[Moment] = [
    lambda pipeline: second_trial_runs(pipeline.run_dir),
    begun("benchmark-trials"),
    an_epoch_is_saved,
    begun("conversion-onnx_int8"),
    begun("benchmark-final"),
]
DRAWN = [
    pytest.param(seed, marks=[pytest.mark.soak, pytest.mark.xdist_group(f"killed-{seed}")], id=f"seed-{seed}")
    for seed in range(3)
]


@dataclass(frozen=True)
class Story:
    """What became of a run dir after some kills, as many restarts and a sync."""

    run_dir: Path
    uri: str
    runs: list[Run]
    planned: int
    pipelines: int
    uploaders: int


@dataclass(frozen=True)
class Undisturbed:
    """A run dir's pipeline that nobody killed: its runs, and how long it was where."""

    runs: list[Run]
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    seconds = timeline(Pipeline(folder, tiny_experiment.write(folder, tiny_backbone, {}, selection=CHOICE)))
    assert nertrail(folder, "sync", "runs/tiny").returncode == 0
    return Undisturbed(runs_of(f"sqlite:///{folder}/mlflow.db"), seconds)


@pytest.fixture(scope="module", params=["stages", *DRAWN])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Story:
    """Killed once in every kind of stage, or at one drawn moment at every place of the pipeline."""
    folder = tmp_path_factory.mktemp("killed")
    config = tiny_experiment.write(folder, tiny_backbone, {}, selection=CHOICE)
    run_dir, uri = folder / "runs" / "tiny", f"sqlite:///{folder}/mlflow.db"
    told = request.param == "stages"
    moments = STAGES if told else draw(request.param, request.getfixturevalue("undisturbed").seconds)
    killer = Killer(run_dir, uri, seed=0 if told else request.param)
    for moment in moments:
        killer.kill_at(Pipeline(folder, config), moment)
    done = nertrail(folder, "run", str(config))
    assert done.returncode == 0, done.stderr
    verified = nertrail(folder, "sync", "runs/tiny", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert Ledger(run_dir).is_done("pipeline", Ledger(run_dir).entry("pipeline").fingerprint)
    return Story(run_dir, uri, runs_of(uri), len(moments), killer.pipelines, killer.uploaders)


def runs_of(uri: str, name: str = "tiny") -> list[Run]:
    """All runs of an experiment, each with the histories of its metrics."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    for run in found:
        run.histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return list(found)


@pytest.fixture(scope="module")
def runs(story: Story) -> list[Run]:
    return story.runs


def test_every_pipeline_and_some_uploaders_were_killed(story: Story) -> None:
    assert story.pipelines == story.planned >= 5 and story.uploaders >= 1


def test_the_store_holds_what_one_undisturbed_delivery_of_the_journal_brings(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    assert sync(story.run_dir, f"sqlite:///{tmp_path}/mlflow.db").complete
    assert export(story.uri) == export(f"sqlite:///{tmp_path}/mlflow.db")


def test_the_tree_is_that_of_an_uninterrupted_run(runs: list[Run]) -> None:
    assert Counter(run.data.tags["mlflow.runType"] for run in runs) == COUNTS


def test_no_run_is_doubled_or_left_running(runs: list[Run]) -> None:
    uids = [run.data.tags["nertrail.run_uid"] for run in runs]
    assert len(uids) == len(set(uids))
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_study_counts_its_trials(runs: list[Run]) -> None:
    for run in runs:
        if run.data.tags["mlflow.runType"] == "sweep":
            assert run.data.metrics["n_trials"] == 2
            assert run.data.metrics["n_completed_trials"] == 2
            assert run.data.metrics["n_failed_trials"] == 0


def test_a_value_has_one_number_and_a_measurement_that_of_its_last_time(runs: list[Run]) -> None:
    """A step that was killed between its records and its end is done again: its scores must come out the same."""
    for run in runs:
        for key, points in run.histories.items():
            numbers = {step: {point.value for point in points if point.step == step} for step in steps(points)}
            if not MEASURED.search(key):
                assert {len(values) for values in numbers.values()} == {1}, (run.info.run_name, key, numbers)
            last = max(points, key=lambda point: (point.step, point.timestamp))
            assert run.data.metrics[key] == last.value, (run.info.run_name, key)


def steps(points: list[Any]) -> list[int]:
    return sorted({point.step for point in points})


def test_epochs_follow_each_other(runs: list[Run]) -> None:
    (training,) = [run for run in runs if run.data.tags["mlflow.runType"] == "training"]
    assert steps(training.histories["eval_loss"]) == [1, 2, 3]


@pytest.mark.parametrize("story", DRAWN, indirect=True)
def test_the_results_are_those_of_an_uninterrupted_pipeline(story: Story, undisturbed: Undisturbed) -> None:
    assert results(story.runs) == results(undisturbed.runs)


def results(runs: list[Run]) -> dict[str, tuple[dict[str, Any], dict[str, dict[int, float]]]]:
    """The params and the metrics of every run that are no measurements, by its name; a name may end in a uid."""
    return {re.sub(r"_[0-9a-f]{8}$", "", run.info.run_name): (params_of(run), scores_of(run)) for run in runs}


def params_of(run: Run) -> dict[str, Any]:
    """Without those that name runs or folders."""
    return {key: value for key, value in run.data.params.items() if not re.search(r"run_id|path|source", key)}


def scores_of(run: Run) -> dict[str, dict[int, float]]:
    kept = {key: points for key, points in run.histories.items() if not MEASURED.search(key)}
    return {key: {point.step: point.value for point in points} for key, points in kept.items()}
