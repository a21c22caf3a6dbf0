"""Whatever a stage gives to a tracker, a run or a callback: nothing is raised, and the stage goes on."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from nertrail.errors import ConfigError
from nertrail.records import Artifact, DatasetInput, RunRecord
from nertrail.tracking import mlflow_tracker as trackers
from nertrail.tracking.callbacks import OptunaCallback, TransformersCallback
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.run import Run
from nertrail.tracking.sync import sync
from nertrail.tracking.tracker import Tracker

URI = "sqlite:////nowhere/mlflow.db"
KINDS: list[type[Tracker]] = [
    trackers.MLflowPipelineTracker,
    trackers.MLflowSweepTracker,
    trackers.MLflowBenchmarkTracker,
    trackers.MLflowSelectionTracker,
    trackers.MLflowTrainingTracker,
    trackers.MLflowConversionTracker,
]


class Unspeakable:
    """Nothing can be done with it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


class UnspeakableError(Exception):
    """Not even its text can be had, nor that of the error which this leads to."""

    def __str__(self) -> str:
        raise UnspeakableError


BAD: Any = Unspeakable()
PATH: Any = Path("models/x")
NONE: Any = None
JUNK: dict[str, Any] = {
    "none": None,
    "path": PATH,
    "numpy": np.float32(0.5),
    "array": np.zeros(3),
    "bytes": b"\xff\x00",
    "nan": math.nan,
    "minus infinity": -math.inf,
    "huge": 10**9999,
    "tensor": torch.zeros(2),
    "text": "a\0b\ud800",
    "pairs": [("a", 1)],
    "odd keys": {5: 1.0, None: 2.0, (1, 2): BAD},
    "nested": {"verdicts": [BAD], "batches": {"1": None}},
    "record": RunRecord({"a": BAD}, {}, {}, (Artifact(BAD, PATH), NONE), (DatasetInput(PATH, BAD, ""), NONE)),
    "empty record": RunRecord(NONE, NONE, NONE, NONE, NONE),
    "unspeakable": BAD,
    "error": UnspeakableError(),
}  # fmt: skip
SANE = {"storage_path": None, "parent": None, "uid": None, "checkpoint_config": None}


def calls(owner: Any, junk: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every public method with junk for everything, and for one argument at a time."""
    for name, method in inspect.getmembers(type(owner), inspect.isfunction):
        if name.startswith("_"):
            continue
        parameters = list(inspect.signature(method).parameters.values())[1:]
        named = [each.name for each in parameters]
        yield f"{name}(all)", lambda n=name, a=named: getattr(owner, n)(**dict.fromkeys(a, junk))
        needed = {each.name: SANE.get(each.name, "1") for each in parameters if each.default is each.empty}
        for one in named:
            yield f"{name}({one})", lambda n=name, a={**needed, one: junk}: getattr(owner, n)(**a)


def complaints(owner: Any, junk: Any) -> list[str]:
    found = []
    for name, call in calls(owner, junk):
        try:
            call()
        except Exception as error:  # noqa: BLE001  so that one test names all that raise
            found.append(f"{type(owner).__name__}.{name}: {type(error).__name__}")
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", JUNK)
def test_no_method_of_a_tracker_raises(junk: str, kind: type[Tracker], tmp_path: Path) -> None:
    tracker = kind("e", tracking_uri=URI, run_dir=tmp_path / "run")
    tracker.run = tracker._start("r", run_type="t", tags={})
    assert complaints(tracker, JUNK[junk]) == []


@pytest.mark.parametrize("junk", JUNK)
def test_no_method_of_a_run_raises(junk: str, tmp_path: Path) -> None:
    tracker = trackers.MLflowSelectionTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    run = tracker.start_selection_run("r")
    assert complaints(run, JUNK[junk]) == [] and run.ended
    memory = MemoryBackend()
    sync(tmp_path / "run", URI, backend=memory)
    assert memory.runs[run.uid].status != "RUNNING"


@pytest.mark.parametrize("junk", JUNK)
def test_no_tracker_is_refused_but_for_its_switches(junk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: Any = JUNK[junk]
    for name in ("experiment_name", "tracking_uri", "run_dir", "parent", "pipeline_uid", "linger_s"):
        tracker = trackers.MLflowSelectionTracker(**{"experiment_name": "e", "tracking_uri": URI, name: given})
        assert isinstance(tracker.start_selection_run("r"), Run)
    with pytest.raises(ConfigError):
        trackers.MLflowSelectionTracker("e", switches={"unknown": given})


@pytest.mark.parametrize("junk", JUNK)
def test_no_callback_raises(junk: str, tmp_path: Path) -> None:
    given: Any = JUNK[junk]
    study = optuna.create_study()
    sweep = trackers.MLflowSweepTracker("e", tracking_uri=URI, run_dir=tmp_path / "run")
    for name in ("study", "metric", "backbone", "run_name", "parent"):
        callback = OptunaCallback(**{"study": study, "tracker": sweep, name: given})
        callback(study, given)
        assert isinstance(callback.run_of(given), Run)
        assert callback.watched(lambda trial: 1.0)(given) == 1.0
        callback.end()
    training = TransformersCallback(trackers.MLflowTrainingTracker("e", tracking_uri=URI, run_dir=tmp_path / "run"))
    state: Any
    for state in (given, SimpleNamespace(is_world_process_zero=True, global_step=given)):
        training.on_train_begin(given, state, None, model=given)
        training.on_log(given, state, None, logs={"loss": given})
        training.on_log(given, state, None, logs=given)
        training.on_train_end(given, state, None)


@pytest.fixture
def no_temporary_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the folder of a job was removed before the job was over."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))


@pytest.mark.usefixtures("no_temporary_place")
def test_without_a_temporary_place_files_go_through_the_run_dir(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    pipeline = trackers.MLflowPipelineTracker("e", tracking_uri=URI, run_dir=run_dir)
    with pytest.raises(ZeroDivisionError), pipeline.start_pipeline_run("p", {"a": np.float32(1), 2: PATH}):
        raise ZeroDivisionError
    benchmark = trackers.MLflowBenchmarkTracker("e", tracking_uri=URI, run_dir=run_dir)
    with benchmark.start_benchmark_run("b", PATH):
        batch = {"throughput_samples_per_sec": np.float32(2)}
        benchmark.log_benchmark_results(benchmark_data={"batches": {"1": batch}})
    memory = MemoryBackend()
    with pytest.MonkeyPatch.context() as delivery:
        delivery.setattr("tempfile.tempdir", None)
        sync(run_dir, URI, backend=memory)
    kept = [set(run.artifacts) for run in memory.runs.values()]
    assert kept == [{"config.yaml", "traceback.txt"}, {"benchmark.json"}]
    assert sorted(path.name for path in run_dir.iterdir()) == ["journal", "tracking.json"]
