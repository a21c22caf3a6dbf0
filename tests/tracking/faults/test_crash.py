"""Delivery is killed at every place where it changes the world, again while it recovers, and then left to finish.

Whatever the place, the store then holds what stock MLflow calls would have written.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scenario
from crashes import Crash, crashes
from direct import Direct
from mlflow import MlflowClient

from export import Export, export
from nertrail.records import Artifact, ModelVersion, RunRecord
from nertrail.tracking import registry
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.protocol import RunStart
from nertrail.tracking.receipt import Receipt
from nertrail.tracking.sync import sync
from tracking_fixtures import free_port, running_server

SOME, FEW = pytest.param(slice(0, None, 28), id="some"), pytest.param(slice(0, None, 12), id="some")


def parts_of_all(parts: int) -> list[Any]:
    """Every place, dealt to so many tests."""
    dealt = [slice(part, None, parts) for part in range(parts)]
    return [pytest.param(part, marks=pytest.mark.soak, id=f"all-{part.start + 1}-of-{parts}") for part in dealt]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of the scenario in `run`, the files that it speaks of in `files`."""
    folder = tmp_path_factory.mktemp("recorded")
    scenario.record(folder / "run", folder / "files")
    return folder


@pytest.fixture(scope="module")
def expected(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """What stock calls leave in a store."""
    folder = tmp_path_factory.mktemp("direct")
    backend = Direct(_fresh(fresh_store, folder), folder / "mlruns")
    scenario.play(backend, folder / "files")
    backend.finish()
    return export(_uri(folder), scenario.UIDS)


class Trial:
    """One journal and one store, and what happens to them. Without a `uri` the store is a file of its own.

    At a server the places are the requests: files are those of a store of its own just the same.
    """

    def __init__(self, recorded: Path, fresh_store: Path, folder: Path, uri: str = "") -> None:
        self.folder = folder
        shutil.copytree(recorded / "run", folder / "run")
        self.uri = uri or _fresh(fresh_store, folder)
        self._watched = folder / "nothing" if uri else folder

    def sync(self, at: int = 0) -> Receipt | None:
        """Deliver, and die at the `at`-th place; None if it died."""
        try:
            with crashes.watching(self._watched, at):
                return sync(self.folder / "run", self.uri)
        except Crash:
            return None


@pytest.fixture
def trial_of(recorded: Path, fresh_store: Path, tmp_path: Path) -> Callable[[], Trial]:
    numbers = itertools.count()
    return lambda: Trial(recorded, fresh_store, tmp_path / str(next(numbers)))


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def _fresh(fresh_store: Path, folder: Path) -> str:
    shutil.copyfile(fresh_store, folder / "mlflow.db")
    return _uri(folder)


def places_of(trial: Trial) -> list[str]:
    """Every place at which an undisturbed delivery can die."""
    assert trial.sync() is not None
    return list(crashes.seen)


def crash_at(trial: Trial, place: int) -> tuple[str, Export]:
    """Dead at the place, dead again somewhere in the recovery, then finished: where it died, what the store holds."""
    assert trial.sync(place) is None
    where = f"{place}: {crashes.seen[-1]}"
    trial.sync(random.Random(place).randint(1, 60))
    receipt = trial.sync()
    assert receipt is not None and receipt.complete and receipt.waiting == 0, (where, receipt)
    found = export(trial.uri)
    shutil.rmtree(trial.folder)
    return where, found


def test_undisturbed_delivery_equals_stock_calls(trial_of: Callable[[], Trial], expected: Export) -> None:
    trial = trial_of()
    receipt = trial.sync()
    assert receipt is not None and receipt.complete and receipt.waiting == 0
    assert export(trial.uri) == expected


@pytest.mark.parametrize("part", [SOME, *parts_of_all(6)])
def test_a_crash_at_any_place_loses_and_doubles_nothing(
    part: slice, trial_of: Callable[[], Trial], expected: Export
) -> None:
    places = places_of(trial_of())
    assert {"open", "os.rename", "before", "after"} <= {place.split()[0] for place in places}
    for place in range(1, len(places) + 1)[part]:
        where, found = crash_at(trial_of(), place)
        assert found == expected, where


class Server:
    """A real `mlflow server` whose store can be emptied while it runs."""

    def __init__(self, url: str, store: Path, fresh: Path) -> None:
        self.url, self._store, self._fresh = url, store, fresh

    def empty(self) -> str:
        with contextlib.closing(sqlite3.connect(self._fresh)) as fresh, contextlib.closing(_open(self._store)) as store:
            fresh.backup(store)
        return self.url


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=60)


@pytest.fixture(scope="module")
def server(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with running_server(folder, free_port()) as url:
        yield Server(url, folder / "mlflow.db", fresh_store)


@pytest.fixture(scope="module")
def expected_there(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """What stock calls leave on the server."""
    backend = Direct(server.empty())
    scenario.play(backend, tmp_path_factory.mktemp("direct") / "files")
    backend.finish()
    return export(server.url, scenario.UIDS)


@pytest.mark.server
@pytest.mark.parametrize("part", parts_of_all(4))
def test_a_crash_at_any_request_that_writes_loses_and_doubles_nothing(
    part: slice, server: Server, expected_there: Export, recorded: Path, fresh_store: Path, tmp_path: Path
) -> None:
    numbers = itertools.count()

    def trial() -> Trial:
        return Trial(recorded, fresh_store, tmp_path / str(next(numbers)), server.empty())

    places = [(number, place.split()) for number, place in enumerate(places_of(trial()), 1)]
    writing = [number for number, (_, verb, path) in places if verb != "GET" and not path.endswith("search")]
    assert {verb for _, (_, verb, _) in places} >= {"GET", "POST", "PUT"} and len(writing) > 40
    for place in writing[part]:
        where, found = crash_at(trial(), place)
        assert found == expected_there, where


def test_without_the_search_for_runs_there_are_duplicates(
    trial_of: Callable[[], Trial], expected: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the test above would see them."""
    monkeypatch.setattr(MlflowBackend, "_find", lambda *args: None)
    places = places_of(trial_of())
    created = [number for number, place in enumerate(places, 1) if place == "after commit"]
    exports = [crash_at(trial_of(), number)[1] for number in created[1:30:10]]
    doubled = [found for found in exports if any(len(runs) > 1 for runs in found.values())]
    assert doubled and all(found != expected for found in doubled)


@pytest.fixture
def registering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal with a converted model that is to be registered; building its MLflow model is made cheap."""
    monkeypatch.setattr(registry, "save_pyfunc", lambda folder, target: Path(shutil.copytree(folder, target)))
    model, journal = tmp_path / "model", JournalBackend(tmp_path / "registering" / "run")
    model.mkdir()
    (model / "model.onnx").write_bytes(b"weights")
    version = ModelVersion({"gate": "passed"}, {"source_training_run": ("t",)}, "challenger")
    journal.start(RunStart("t", "training", "e", 1))
    journal.start(RunStart("c", "conversion", "e", 2))
    journal.log("c", RunRecord(artifacts=(Artifact(model, "model", reference=True, version=version),)), 3)
    journal.end("c", "FINISHED", 4)
    journal.end("t", "FINISHED", 5)
    journal.close()
    return tmp_path / "registering"


@pytest.mark.parametrize("part", [FEW, *parts_of_all(1)])
def test_a_model_is_registered_once_wherever_delivery_dies(
    part: slice, registering: Path, fresh_store: Path, tmp_path: Path
) -> None:
    numbers = itertools.count()

    def trial() -> Trial:
        return Trial(registering, fresh_store, tmp_path / str(next(numbers)))

    for place in range(1, len(places_of(trial())) + 1)[part]:
        dying = trial()
        assert dying.sync(place) is None
        where = f"{place}: {crashes.seen[-1]}"
        dying.sync(random.Random(place).randint(1, 20))
        receipt = dying.sync()
        assert receipt is not None and receipt.complete, (where, receipt)
        check_registered(dying.uri, where)


def check_registered(uri: str, where: str) -> None:
    """One version, one logged model, the alias, and the version's run."""
    client = MlflowClient(uri, uri)
    (version,) = client.search_model_versions("name = 'e'")
    assert client.get_model_version_by_alias("e", "challenger").version == version.version, where
    (logged,) = client.search_logged_models([client.get_experiment_by_name("e").experiment_id])
    assert (logged.source_run_id, str(logged.status)) == (version.run_id, "READY"), where
    assert client.get_run(version.run_id).info.run_name == "conversion"
