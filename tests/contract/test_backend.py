"""What every backend does, straight or behind a journal."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nertrail.records import Artifact, DatasetInput, RunRecord
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.memory import MemoryBackend, NullBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.protocol import Backend, Point, Rejected, RunStart
from nertrail.tracking.uploader import sync
from tracking_views import view

KINDS = ["memory", "journal", "sqlite", "journal-sqlite", pytest.param("server", marks=pytest.mark.server)]


class Place:
    """A backend to write to, and a way to look at what arrived."""

    def __init__(self, backend: Backend, target: Any, deliver: Callable[[], object]) -> None:
        self.backend, self._target, self._deliver = backend, target, deliver

    def view(self, uid: str) -> Any:
        self._deliver()
        return view(self._target, uid)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    kind: str = request.param
    if kind == "memory":
        memory = MemoryBackend()
        return Place(memory, memory, lambda: None)
    if kind == "journal":
        target: Any = MemoryBackend()
    else:
        uri = request.getfixturevalue("mlflow_server" if kind == "server" else "store")
        target = MlflowBackend(uri, overflow=tmp_path / "overflow")
    if not kind.startswith("journal"):
        return Place(target, target, lambda: None)
    backend = JournalBackend(tmp_path / "run")
    return Place(backend, target, lambda: sync(tmp_path / "run", "sqlite:////nowhere", backend=target))


@pytest.fixture
def start() -> RunStart:
    return RunStart(uuid.uuid4().hex, "a run", "an experiment", 1_700_000_000_000, {"mlflow.user": "me", "stage": "x"})


def test_a_run_keeps_its_name_its_times_and_its_status(place: Place, start: RunStart) -> None:
    place.backend.start(start)
    place.backend.end(start.uid, "FAILED", 1_700_000_009_000)
    seen = place.view(start.uid)
    assert (seen.name, seen.status, seen.start_ms, seen.end_ms) == (
        "a run",
        "FAILED",
        1_700_000_000_000,
        1_700_000_009_000,
    )


def test_params_and_tags_are_text(place: Place, start: RunStart) -> None:
    place.backend.start(start)
    place.backend.log(start.uid, RunRecord(params={"lr": 5e-4, "on": True, "none": None}, tags={"n": 3}), 1)
    seen = place.view(start.uid)
    assert seen.params == {"lr": "0.0005", "on": "True", "none": "None"}
    tags = {key: value for key, value in seen.tags.items() if key != "nertrail.run_uid"}
    assert tags == {"mlflow.user": "me", "stage": "x", "n": "3"}


def test_metrics_keep_value_step_and_time(place: Place, start: RunStart) -> None:
    points = [Point("loss", 0.1 + 0.2, 1, 5), Point("loss", float("nan"), 2, 6), Point("loss", float("inf"), 3, 7)]
    place.backend.start(start)
    place.backend.log(start.uid, RunRecord(metrics={"macro-f1": 0.5}), 8)
    place.backend.log_metrics(start.uid, points)
    expected = [
        ("loss", "0.30000000000000004", 1, 5),
        ("loss", "inf", 3, 7),
        ("loss", "nan", 2, 6),
        ("macro-f1", "0.5", 0, 8),
    ]
    assert sorted(place.view(start.uid).history) == sorted(expected)


def test_everything_may_be_said_twice(place: Place, start: RunStart, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("{}")
    dataset = DatasetInput("d", "abc", "/data")
    record = RunRecord({"a": 1}, {"m": 1.0}, {"t": "x"}, (Artifact(tmp_path / "f.json", "f.json"),), (dataset,))
    for _ in range(2):
        place.backend.start(start)
        place.backend.log(start.uid, record, 5)
        place.backend.log_metrics(start.uid, [Point("loss", float("nan"), 1, 5)])
        place.backend.end(start.uid, "FINISHED", 9)
    seen = place.view(start.uid)
    assert seen.history == [("loss", "nan", 1, 5), ("m", "1.0", 0, 5)]
    assert (seen.params, seen.status, seen.datasets) == ({"a": "1"}, "FINISHED", [("d", "abc", "training")])


def test_artifacts_lie_at_their_names(place: Place, start: RunStart, tmp_path: Path) -> None:
    folder = tmp_path / "best"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "w.safetensors").write_bytes(b"\x00w")
    file = tmp_path / "results-17.json"
    file.write_text('{"a": 1}')
    place.backend.start(start)
    artifacts = (Artifact(folder, "checkpoint"), Artifact(file, "benchmark.json"), Artifact(file, "deep/er/b.json"))
    place.backend.log(start.uid, RunRecord(artifacts=artifacts), 5)
    assert place.view(start.uid).artifacts == {
        "checkpoint/sub/w.safetensors": b"\x00w",
        "benchmark.json": b'{"a": 1}',
        "deep/er/b.json": b'{"a": 1}',
    }


def test_a_run_started_again_is_running_again(place: Place, start: RunStart) -> None:
    place.backend.start(start)
    place.backend.end(start.uid, "KILLED", 9)
    place.backend.start(start)
    assert place.view(start.uid).status == "RUNNING"


def test_a_param_keeps_its_first_value(place: Place, start: RunStart) -> None:
    place.backend.start(start)
    place.backend.log(start.uid, RunRecord(params={"lr": 1}), 1)
    place.backend.log(start.uid, RunRecord(params={"lr": 2, "new": 3}), 2)
    assert place.view(start.uid).params == {"lr": "1", "new": "3"}


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_destination_refuses_a_run_that_never_began(kind: str, store: str) -> None:
    backend: Any = MemoryBackend() if kind == "memory" else MlflowBackend(store)
    with pytest.raises(Rejected):
        backend.log("0" * 32, RunRecord(params={"a": 1}), 1)


def test_the_null_backend_takes_everything() -> None:
    backend = NullBackend()
    backend.start(RunStart("u", "n", "e", 1))
    backend.log("u", RunRecord(), 1)
    backend.log_metrics("u", [])
    backend.end("u", "FINISHED", 1)
    assert backend.run_id("u") is None
