"""kill -9 of the pipeline and of its uploader: the same command goes on in the same runs, nothing is lost or twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

import tiny_experiment
from e2e.commands import nertrail, start
from export import export
from nertrail.ledger import Ledger
from nertrail.tracking.destination import state_folder
from nertrail.tracking.liveness import holder
from nertrail.tracking.sync import sync

COUNTS = {"pipeline": 1, "sweep": 2, "trial": 4, "benchmark": 5, "selection": 1, "training": 1, "conversion": 2}


def begun(run_dir: Path, step: str) -> bool:
    return (run_dir / "results" / f"{step}.json").is_file()


def second_trial_runs(run_dir: Path) -> bool:
    """The first trial of the first sweep is over, the second is being trained."""
    log = run_dir / "checkpoints" / "sweep-whole" / "whole-macro-f1-span.log"
    return (run_dir / "checkpoints" / "sweep-whole" / "trials" / "1").is_dir() and log.is_file()


def an_epoch_is_saved(run_dir: Path) -> bool:
    """The final training has something to go on from."""
    return any((run_dir / "checkpoints" / "training" / "fit").glob("resume/checkpoint-*"))


Moment = Callable[[Path], bool]
STAGES: list[Moment] = [
    second_trial_runs,
    lambda run_dir: begun(run_dir, "benchmark-trials"),
    an_epoch_is_saved,
    lambda run_dir: begun(run_dir, "conversion-onnx_int8"),
    lambda run_dir: begun(run_dir, "benchmark-final"),
]
WHOLE_BYTES = 36_000  # about what the journal of one whole run holds
SERIES = ["stages", *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(6))]


def written(run_dir: Path) -> int:
    return sum(segment.stat().st_size for segment in run_dir.glob("journal/[!.]*/*.jnl"))


def moments(series: str | int) -> list[Moment]:
    """One in every kind of stage, or five that are drawn: when the journal has reached a length."""
    if series == "stages":
        return STAGES
    lengths = sorted(random.Random(series).sample(range(1_000, int(0.9 * WHOLE_BYTES)), 5))
    return [lambda run_dir, length=length: written(run_dir) >= length for length in lengths]  # type: ignore[misc]


class Killer:
    """Kills a pipeline at a moment, and on the way there now and then its uploader alone."""

    def __init__(self, run_dir: Path, uri: str, seed: int) -> None:
        self.run_dir, self.uploaders = run_dir, 0
        self._lock = state_folder(run_dir, uri) / "lock"
        self._random = random.Random(seed)
        self._next = 0

    def kill_at(self, process: subprocess.Popen[bytes], moment: Moment) -> bool:
        """Whether the moment came before the program's end."""
        deadline = time.monotonic() + 300
        while not moment(self.run_dir):
            if process.poll() is not None:
                return False
            assert time.monotonic() < deadline
            self._kill_uploader()
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True

    def _kill_uploader(self) -> None:
        owner = holder(self._lock) if written(self.run_dir) >= self._next else None
        if owner and self._is_ours(owner.get("pid", 0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(owner["pid"], signal.SIGKILL)
                self.uploaders += 1
            self._next = written(self.run_dir) + self._random.randint(500, 4_000)

    def _is_ours(self, pid: int) -> bool:
        """Whether this process is an uploader of our run dir: an old note of a lock may name any other."""
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_text()
            return "nertrail.tracking.uploader" in command and str(self.run_dir) in command
        return False


@dataclass(frozen=True)
class Story:
    """What became of a run dir after five kills, restarts and a sync."""

    run_dir: Path
    uri: str
    runs: list[Run]
    pipelines: int
    uploaders: int


@pytest.fixture(scope="module", params=SERIES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Story:
    folder = tmp_path_factory.mktemp("killed")
    config = tiny_experiment.write(folder, tiny_backbone, {})
    run_dir, uri = folder / "runs" / "tiny", f"sqlite:///{folder}/mlflow.db"
    killer = Killer(run_dir, uri, seed=0 if request.param == "stages" else request.param)
    kills = [killer.kill_at(start(folder, "run", str(config)), moment) for moment in moments(request.param)]
    done = nertrail(folder, "run", str(config))
    assert done.returncode == 0, done.stderr
    assert "continues" in done.stdout
    verified = nertrail(folder, "sync", "runs/tiny", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert Ledger(run_dir).is_done("pipeline", Ledger(run_dir).entry("pipeline").fingerprint)
    return Story(run_dir, uri, runs_of(uri), sum(kills), killer.uploaders)


def runs_of(uri: str) -> list[Run]:
    """All runs of the store, each with the histories of its metrics."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tiny")
    found = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    for run in found:
        run.histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return list(found)


@pytest.fixture(scope="module")
def runs(story: Story) -> list[Run]:
    return story.runs


def test_five_pipelines_and_five_uploaders_were_killed(story: Story) -> None:
    assert story.pipelines == 5 and story.uploaders >= 5


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


def test_metrics_logged_once_are_there_once(runs: list[Run]) -> None:
    for run in runs:
        for key, points in run.histories.items():
            if not key.startswith(("eval_", "train_loss", "learning_rate_now")):
                assert len({(point.step, point.value) for point in points}) == 1, (run.info.run_name, key)


def test_epochs_follow_each_other(runs: list[Run]) -> None:
    (training,) = [run for run in runs if run.data.tags["mlflow.runType"] == "training"]
    steps = [point.step for point in training.histories["eval_loss"]]
    assert sorted(set(steps)) == [1, 2, 3]
    values = {(point.step, point.value) for point in training.histories["eval_loss"]}
    assert len(values) == 3, "an epoch that was repeated must give the same number"
