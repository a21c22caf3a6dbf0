"""A store of artifacts that is away holds nothing up but uploads, and loses none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nertrail.records import Artifact, RunRecord
from nertrail.tracking.backlog import _TRIES
from nertrail.tracking.carrier import Uploader
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.protocol import Point, RunStart, Unreachable
from nertrail.tracking.rows import run_rows
from nertrail.tracking.state import load_health, load_progress
from nertrail.tracking.sync import sync

pytestmark = pytest.mark.usefixtures("no_pauses")
URI = "sqlite:////nowhere/mlflow.db"
NAMES = ("0.json", "1.json", "2.json")


class Store(MemoryBackend):
    """Takes records, but of the uploads only those that `takes` says."""

    def __init__(self, takes: Callable[[str, str], bool] = lambda uid, name: False) -> None:
        super().__init__()
        self.takes = takes
        self.away = False
        self.tried: list[tuple[str, str]] = []

    def takes_writes(self, experiment: str) -> bool:
        return not self.away

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        for artifact in record.artifacts:
            self.tried.append((uid, artifact.name))
            if self.away or not self.takes(uid, artifact.name):
                raise Unreachable("500: no bucket")
        super().log(uid, record, at_ms)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two runs, each with three records that hold an artifact, metrics between them, and an end."""
    journal = JournalBackend(tmp_path / "run")
    for uid in ("a", "b"):
        journal.start(RunStart(uid, uid, "e", 1))
        for number, name in enumerate(NAMES):
            (tmp_path / name).write_text(f"{uid} {number}")
            journal.log_metrics(uid, [Point("loss", 1.0, number, 2)])
            journal.log(uid, RunRecord(tags={name: "there"}, artifacts=(Artifact(tmp_path / name, name),)), 3)
        journal.end(uid, "FINISHED", 9)
    journal.close()
    return tmp_path / "run"


def whole(run_dir: Path) -> MemoryBackend:
    backend = MemoryBackend()
    assert sync(run_dir, "sqlite:////other/mlflow.db", backend=backend).complete
    return backend


def without_artifacts(backend: MemoryBackend) -> list[object]:
    return [(run.name, run.status, run.end_ms, run.params, run.tags, run.points) for run in backend.runs.values()]


def test_all_but_the_uploads_arrives_while_the_store_is_away(run_dir: Path) -> None:
    store, folder = Store(), state_folder(run_dir, URI)
    for _ in range(3 * _TRIES):  # each is a delivery of its own
        receipt = sync(run_dir, URI, backend=store)
        assert (receipt.pending, receipt.dropped, receipt.delivered) == (6, 0, receipt.written - 6)
    assert without_artifacts(store) == without_artifacts(whole(run_dir))
    assert (
        "uploads that wait: 6" in receipt.why and "500: no bucket" in receipt.why and "nertrail sync" in receipt.command
    )
    assert [(row.pending, row.delivered, row.status) for row in run_rows(run_dir, folder)] == [(3, 5, "FINISHED")] * 2
    assert load_health(folder).state == "waiting"


def test_once_the_store_is_back_they_arrive_unasked(run_dir: Path) -> None:
    store = Store()
    uploader = Uploader(run_dir, state_folder(run_dir, URI), store)
    uploader.folder.mkdir(parents=True)
    assert not any(uploader.step() for _ in range(3 * _TRIES))
    store.takes = lambda uid, name: True
    assert uploader.step()
    assert store.runs == whole(run_dir).runs
    assert load_progress(uploader.folder).uploads == []


def test_few_are_tried_while_none_is_taken(run_dir: Path) -> None:
    """Each may take minutes to fail."""
    store = Store()
    sync(run_dir, URI, backend=store)
    assert len(store.tried) == 3  # where the first was logged, and two at the end
    sync(run_dir, URI, backend=store)
    assert len(store.tried) == 5


@pytest.mark.parametrize("bad", [{("a", "0.json")}, {("a", "0.json"), ("b", "0.json")}])
def test_one_that_fails_though_others_arrive_is_given_up(bad: set[tuple[str, str]], run_dir: Path) -> None:
    store = Store(lambda uid, name: (uid, name) not in bad)
    receipt = sync(run_dir, URI, backend=store)
    assert (receipt.pending, receipt.dropped) == (0, len(bad))
    assert f"{len(bad)} refused" in receipt.why
    assert {(uid, name) for uid, run in store.runs.items() for name in run.artifacts} == {
        (uid, name) for uid in "ab" for name in NAMES
    } - bad
    assert all(_TRIES <= store.tried.count(one) <= _TRIES + 2 for one in bad)
    assert load_health(state_folder(run_dir, URI)).outage == 0
    store.takes = lambda uid, name: True
    assert sync(run_dir, URI, backend=store, retry_rejected=True).complete
    assert store.runs == whole(run_dir).runs


def test_the_last_one_alone_proves_nothing_and_waits(run_dir: Path) -> None:
    """The store may have gone away just before it."""
    store = Store(lambda uid, name: (uid, name) != ("b", "2.json"))
    for _ in range(3 * _TRIES):
        receipt = sync(run_dir, URI, backend=store)
        assert (receipt.pending, receipt.dropped) == (1, 0)
    store.takes = lambda uid, name: True
    assert sync(run_dir, URI, backend=store).complete


def test_two_that_always_fail_do_not_keep_the_others_from_their_turn(run_dir: Path) -> None:
    """The two that were logged first fail: in a store that is away, these would be all that is tried."""
    store = Store(lambda uid, name: (uid, name) == ("b", "2.json"))
    for _ in range(4):
        sync(run_dir, URI, backend=store)
    assert list(store.runs["b"].artifacts) == ["2.json"]


def test_the_last_one_of_a_name_stays(tmp_path: Path) -> None:
    run_dir, source = tmp_path / "run", tmp_path / "file"
    journal = JournalBackend(run_dir)
    journal.start(RunStart("a", "a", "e", 1))
    for number in range(3):
        source.write_text(str(number))
        journal.log("a", RunRecord(artifacts=(Artifact(source, "report/file"),)), 2 + number)
    source.write_text("other")
    journal.log("a", RunRecord(artifacts=(Artifact(source, "other"),)), 5)
    journal.close()
    refusals = iter([True, True, False])

    def takes(uid: str, name: str) -> bool:
        return name == "other" or not next(refusals, False)

    store = Store(takes)
    assert sync(run_dir, URI, backend=store).complete
    assert store.runs == whole(run_dir).runs
    assert store.tried.index(("a", "other")) < len(store.tried) - 1  # it did not stand behind the others


def test_an_outage_of_all_of_it_is_one(run_dir: Path) -> None:
    store = Store()
    sync(run_dir, URI, backend=store)
    store.away = True
    for _ in range(3 * _TRIES):
        assert sync(run_dir, URI, backend=store).pending == 6
    store.away, store.takes = False, lambda uid, name: True
    assert sync(run_dir, URI, backend=store).complete
    assert store.runs == whole(run_dir).runs


def test_what_is_logged_meanwhile_waits_behind(run_dir: Path, tmp_path: Path) -> None:
    store = Store()
    sync(run_dir, URI, backend=store)
    tried = len(store.tried)
    journal = JournalBackend(run_dir)
    journal.start(RunStart("c", "c", "e", 20))
    (tmp_path / "late").write_text("late")
    journal.log("c", RunRecord(tags={"late": "yes"}, artifacts=(Artifact(tmp_path / "late", "late"),)), 21)
    journal.end("c", "FINISHED", 22)
    journal.close()
    assert sync(run_dir, URI, backend=store).pending == 7
    assert store.runs["c"].tags == {"late": "yes"} and store.runs["c"].status == "FINISHED"
    assert len(store.tried) - tried <= 2
    store.takes = lambda uid, name: True
    assert sync(run_dir, URI, backend=store).complete
    assert store.runs == whole(run_dir).runs


def test_being_stopped_between_two_uploads_loses_none(run_dir: Path) -> None:
    store = Store()
    sync(run_dir, URI, backend=store)
    left = iter([True])

    def takes(uid: str, name: str) -> bool:
        if not next(left, False):
            raise KeyboardInterrupt
        return True

    store.takes = takes
    with pytest.raises(KeyboardInterrupt):
        sync(run_dir, URI, backend=store)
    assert len(load_progress(state_folder(run_dir, URI)).uploads) == 5
    store.takes = lambda uid, name: True
    store.tried.clear()
    assert sync(run_dir, URI, backend=store).complete
    assert len(store.tried) == 5 and store.runs == whole(run_dir).runs


def test_a_store_that_needs_a_missing_package_holds_up_no_metrics(run_dir: Path, store: str) -> None:
    """MLflow imports the client of a bucket with the first upload; here none is installed."""
    pytest.importorskip("mlflow")
    with pytest.raises(ImportError):
        import boto3  # noqa: F401
    from mlflow import MlflowClient

    MlflowClient(store).create_experiment("e", artifact_location="s3://nowhere/at/all")
    receipt = sync(run_dir, store)
    assert (receipt.pending, receipt.dropped) == (6, 0)
    assert "boto3" in receipt.why
    backend = MlflowBackend(store)
    held = [backend.held(uid) for uid in ("a", "b")]
    assert [(one.status, one.points) for one in held if one] == [("FINISHED", 3)] * 2
