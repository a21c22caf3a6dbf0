"""Tracking never changes a result: every stage, in every state of tracking, when it succeeds and when it raises."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import recorded
import tiny_experiment
from nertrail.errors import ConversionError
from nertrail.experiment import Experiment, load_experiment
from nertrail.stages import benchmark, conversion, selection, sweep, training
from nertrail.stages.inputs import Inputs, read_inputs
from nertrail.tracking import mlflow_tracker as trackers
from nertrail.tracking.uploader import sync
from tracking_fixtures import free_port

STAGES = ("sweep", "benchmark", "selection", "training", "conversion")
SITUATIONS = ("none", "working", "refusing", "dying", "disabled", "no mlflow")


class Proxy:
    """Passes connections on to a server until it is told to die."""

    def __init__(self, target: str) -> None:
        self._target = ("127.0.0.1", int(target.rsplit(":", 1)[1]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def die(self) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for a, b in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)


class World:
    """What the stages need, made once: data, a finished sweep, a checkpoint."""

    def __init__(self, folder: Path, backbone: Path) -> None:
        path = tiny_experiment.write(folder, backbone)
        self.experiment: Experiment = load_experiment(
            path, ["sweep.max_trials=1", "sweep.epochs=1", "training.epochs=2"]
        )
        data = self.experiment
        self.inputs: Inputs = read_inputs(data.data, data.windows, data.decoding, data.seed)
        self.cut = self.experiment.backbones[1]
        self.checkpoint = self.train(folder / "made", None).checkpoint

    def sweep(self, folder: Path, tracker: Any) -> sweep.SweepResult:
        values = self.experiment.hyperparameters
        return sweep.run_sweep(self.experiment.sweep, values, self.inputs, self.cut, folder, tracker=tracker)

    def benchmark(self, folder: Path, tracker: Any) -> list[benchmark.BenchmarkResult]:
        texts = [document.text for document in self.inputs.dataset.validation]
        candidates = [benchmark.Candidate("final-torch", self.checkpoint, "cut")]
        return benchmark.run_benchmarking(self.experiment.benchmark, candidates, texts, folder, tracker=tracker)

    def selection(self, folder: Path, tracker: Any) -> selection.SelectionResult:
        found = [
            selection.SelectionCandidate(name=name, backbone=name, params={}, score=score, latency_ms={1: ms})
            for name, score, ms in (("a", 0.9, 9.0), ("b", 0.89, 3.0))
        ]
        return selection.run_selection(self.experiment.selection, found, folder, tracker=tracker)

    def train(self, folder: Path, tracker: Any) -> training.TrainingResult:
        values = self.experiment.hyperparameters
        return training.train_model(self.experiment.training, values, self.inputs, self.cut, folder, tracker=tracker)

    def convert(self, folder: Path, tracker: Any) -> conversion.ConversionResult:
        config = self.experiment.conversion
        return conversion.convert_model(config, self.checkpoint, "onnx_int8", folder, tracker=tracker)

    def run(self, stage: str, folder: Path, tracker: Any) -> Any:
        functions: dict[str, Callable[[Path, Any], Any]] = {"training": self.train, "conversion": self.convert}
        return (functions.get(stage) or getattr(self, stage))(folder, tracker)


# stage → where its body is found at run time, and its tracker
BODIES = {
    "sweep": ("nertrail.ner.trainer.fit", trackers.MLflowSweepTracker),
    "benchmark": ("nertrail.ner.latency.measure", trackers.MLflowBenchmarkTracker),
    "selection": (
        "nertrail.stages.selection.select_best_configuration_across_studies",
        trackers.MLflowSelectionTracker,
    ),
    "training": ("nertrail.ner.trainer.fit", trackers.MLflowTrainingTracker),
    "conversion": ("nertrail.ner.onnx.quantize_int8", trackers.MLflowConversionTracker),
}


def essence(stage: str, result: Any) -> Any:
    """What of a result must not depend on tracking: no uid, no time, no path."""
    if stage == "sweep":
        return [(trial.number, trial.state, trial.params, trial.value) for trial in result.trials]
    if stage == "benchmark":
        return [(item.name, item.report["inputs"], item.record().metrics.keys()) for item in result]
    if stage == "selection":
        return result.selection
    if stage == "training":
        return result.metrics, result.test_metrics, result.entity_metrics, result.best_epoch
    return result.success, result.onnx_bytes, result.max_abs_diff, result.argmax_agreement


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> World:
    return World(tmp_path_factory.mktemp("world"), tiny_backbone)


@pytest.fixture(scope="module")
def expected(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results without any tracking."""
    folder = tmp_path_factory.mktemp("expected")
    return {stage: essence(stage, world.run(stage, folder / stage, None)) for stage in STAGES}


@pytest.fixture
def proxy(mlflow_server: str) -> Iterator[Proxy]:
    made = Proxy(mlflow_server)
    yield made
    made.die()


def tracker_for(
    situation: str, stage: str, run_dir: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Any:
    if situation == "none":
        return None
    uris = {
        "refusing": lambda: f"http://127.0.0.1:{free_port()}",
        "dying": lambda: request.getfixturevalue("proxy").url,
    }
    uri = uris.get(situation, lambda: request.getfixturevalue("store"))()
    monkeypatch.setenv("NERTRAIL_UPLOADER", "inline")
    if situation == "no mlflow":
        monkeypatch.setitem(sys.modules, "mlflow", None)
    switches = {"enabled": situation != "disabled"}
    return BODIES[stage][1]("matrix", tracking_uri=uri, run_dir=run_dir, switches=switches)


@pytest.mark.server
@pytest.mark.parametrize("raises", [False, True], ids=["succeeds", "raises"])
@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_the_result_is_the_same(
    stage: str,
    situation: str,
    raises: bool,
    world: World,
    expected: dict[str, Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boom = ZeroDivisionError("the stage's own")
    calls: list[str] = []
    place, name = BODIES[stage][0].rsplit(".", 1)
    real = getattr(sys.modules[place], name)
    tracker = tracker_for(situation, stage, tmp_path / "run", request, monkeypatch)

    def body(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if situation == "dying":
            tracker.flush()
            request.getfixturevalue("proxy").die()
        if raises:
            raise boom
        return real(*args, **kwargs)

    monkeypatch.setattr(f"{place}.{name}", body)
    if raises:
        raised = run_to_its_error(stage, world, tmp_path, tracker)
        assert boom in (raised, raised.__cause__) or stage == "sweep"
    else:
        assert essence(stage, world.run(stage, tmp_path / "out", tracker)) == expected[stage]
    assert len(calls) == 1
    monkeypatch.undo()
    check_the_runs(situation, raises, stage, tmp_path / "run", tracker)


def run_to_its_error(stage: str, world: World, folder: Path, tracker: Any) -> BaseException:
    """A sweep reports that no trial completed, a conversion wraps what happened, others pass it on as it is."""
    from nertrail.errors import StageError

    kinds = {"sweep": StageError, "conversion": ConversionError}
    with pytest.raises(kinds.get(stage, ZeroDivisionError)) as caught:
        world.run(stage, folder / "out", tracker)
    return caught.value


def check_the_runs(situation: str, raises: bool, stage: str, run_dir: Path, tracker: Any) -> None:
    if situation in ("none", "disabled"):
        assert not (run_dir / "journal").exists()
        return
    tracker.close()
    memory = recorded.delivered(run_dir)
    found = {run.tags["mlflow.runType"]: run for run in memory.runs.values()}
    assert found[stage].status == ("FAILED" if raises else "FINISHED")
    assert {run.status for run in memory.runs.values()} <= {"FINISHED", "FAILED"}
    assert ("traceback.txt" in found[stage].artifacts) == raises
    if situation == "working":
        assert sync(run_dir).complete
