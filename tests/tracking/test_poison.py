"""A record that the server fails at every time holds nothing up: it is found, tried a few times, and set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking.carrier import Uploader
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.patience import _TRIES
from nertrail.tracking.protocol import Point, RunStart, Unreachable
from nertrail.tracking.rows import run_rows
from nertrail.tracking.state import load_health, load_progress, load_rejected
from nertrail.tracking.sync import sync

pytestmark = pytest.mark.usefixtures("no_pauses")
URI = "sqlite:////nowhere/mlflow.db"
Call = tuple[str, str, Any]  # verb, uid, what
Fails = Callable[[Call], bool]


class Poisoned(MemoryBackend):
    """Answers with 500 to the calls that are poison; `away`: to all of them."""

    def __init__(self, fails: Fails) -> None:
        super().__init__()
        self.fails, self.away = fails, False
        self.failed: Counter[str] = Counter()

    def takes_writes(self, experiment: str) -> bool:
        assert experiment == "e"
        return not self.away

    def _call(self, verb: str, uid: str, what: Any) -> None:
        if self.away or self.fails((verb, uid, what)):
            self.failed[f"{verb} {uid}"] += 1
            raise Unreachable("500: oh no")

    def start(self, run: RunStart) -> None:
        self._call("start", run.uid, run)
        super().start(run)

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        self._call("log", uid, record)
        super().log(uid, record, at_ms)

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        self._call("metrics", uid, points)
        super().log_metrics(uid, points)

    def end(self, uid: str, status: str, at_ms: int) -> None:
        self._call("end", uid, status)
        super().end(uid, status, at_ms)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two runs of 40 points, two artifacts and all else; the second names the first."""
    (tmp_path / "good.json").write_text("{}")
    (tmp_path / "bad.json").write_text("[]")
    journal = JournalBackend(tmp_path / "run")
    for uid in ("a", "b"):
        journal.start(RunStart(uid, uid, "e", 1))
        for step in range(40):
            journal.log_metrics(uid, [Point("loss", 1 / (step + 1), step, step)])
        files = tuple(Artifact(tmp_path / name, name) for name in ("bad.json", "good.json"))
        journal.log(uid, RunRecord({"lr": 1}, {"f1": 0.5}, {"of": RunRef("a")}, files), 50)
        journal.log(uid, RunRecord(tags={"state": "late"}), 51)
        journal.end(uid, "FINISHED", 52)
    journal.close()
    return tmp_path / "run"


def whole(run_dir: Path) -> MemoryBackend:
    backend = MemoryBackend()
    assert sync(run_dir, "sqlite:////other/mlflow.db", backend=backend).complete
    return backend


def rejected(run_dir: Path) -> list[dict[str, Any]]:
    folder = state_folder(run_dir, URI)
    return load_rejected(folder, load_progress(folder).round)


def one_point(call: Call) -> bool:
    return call[:2] == ("metrics", "a") and any(point.step == 17 for point in call[2])


def one_artifact(call: Call) -> bool:
    return call[0] == "log" and any(artifact.name == "bad.json" for artifact in call[2].artifacts)


POISON: dict[str, tuple[Fails, int]] = {  # and how many records are set aside
    "a point": (one_point, 1),
    "an artifact of either run": (one_artifact, 2),
    "all params": (lambda call: call[0] == "log" and bool(call[2].params), 2),
    "the end of a run": (lambda call: call[:2] == ("end", "a"), 1),
    "a run that cannot begin": (lambda call: call[1] == "a", 44),
    "whatever comes of a run that began": (lambda call: call[1] == "a" and call[0] != "start", 43),
}


@pytest.mark.parametrize("poison", POISON)
def test_what_fails_every_time_is_set_aside_and_the_rest_arrives(poison: str, run_dir: Path) -> None:
    fails, lost = POISON[poison]
    backend = Poisoned(fails)
    receipt = sync(run_dir, URI, backend=backend)
    assert (receipt.pending, receipt.dropped, receipt.written) == (0, lost, receipt.delivered + lost)
    assert "--retry-rejected" in receipt.why
    assert {entry["why"].partition(" (")[0] for entry in rejected(run_dir)} <= {
        "500: oh no",
        "the server refused its run",
    }
    rows = {row.uid: row for row in run_rows(run_dir, state_folder(run_dir, URI))}
    assert sum(row.refused for row in rows.values()) == lost and not any(row.pending for row in rows.values())
    expected = whole(run_dir)
    if poison not in ("an artifact of either run", "all params"):
        tags = {"of": backend.run_id("a") or "", "state": "late"} if "a" in backend.runs else {"state": "late"}
        assert backend.runs["b"].tags == tags
        assert backend.runs["b"].points == expected.runs["b"].points and backend.runs["b"].status == "FINISHED"
    if poison == "a point":
        assert backend.runs["a"].points == [p for p in expected.runs["a"].points if p.step != 17]
    if poison == "an artifact of either run":
        assert [list(run.artifacts) for run in backend.runs.values()] == [["good.json"], ["good.json"]]

    backend.fails = lambda _: False
    again = sync(run_dir, URI, backend=backend, retry_rejected=True)
    assert again.complete and again.delivered == receipt.written, again
    assert arranged(backend) == arranged(expected)
    assert sync(run_dir, URI, backend=backend, retry_rejected=True) == again


def arranged(backend: MemoryBackend) -> Any:
    """Runs and points by name, whenever they came."""
    ids = {run.run_id: uid for uid, run in backend.runs.items()}
    return {
        uid: (
            *(run.name, run.status, run.end_ms, run.params, run.artifacts),
            {key: ids.get(str(value), value) for key, value in run.tags.items()},
            sorted(run.points),
        )
        for uid, run in backend.runs.items()
    }


def test_a_record_has_a_few_tries_and_each_after_it_fewer(run_dir: Path) -> None:
    backend = Poisoned(one_artifact)
    sync(run_dir, URI, backend=backend)
    alone = 3  # at most: of batches that hold it, until it is found
    assert all(_TRIES <= backend.failed[f"log {uid}"] <= _TRIES + alone for uid in "ab")
    backend = Poisoned(lambda call: call[1] == "a" and call[0] != "start")
    sync(run_dir, "sqlite:////third/mlflow.db", backend=backend)
    assert backend.failed.total() <= 43 + 50


def test_a_server_that_is_away_as_a_whole_is_waited_for(run_dir: Path) -> None:
    backend = Poisoned(one_point)
    backend.away = True
    for _ in range(3 * _TRIES):
        receipt = sync(run_dir, URI, backend=backend)
        assert (receipt.dropped, receipt.delivered) == (0, 0)
    assert load_health(state_folder(run_dir, URI)).state == "waiting"
    backend.away, backend.fails = False, lambda _: False
    assert sync(run_dir, URI, backend=backend).complete
    assert backend.runs == whole(run_dir).runs


def test_an_outage_between_two_tries_makes_the_first_one_void(run_dir: Path) -> None:
    """Half of a server that is started again may answer: that says nothing of a record."""
    backend = Poisoned(one_point)
    uploader = Uploader(run_dir, state_folder(run_dir, URI), backend)
    state_folder(run_dir, URI).mkdir(parents=True)
    for number in range(20 * _TRIES):
        backend.away = number % 3 == 0
        assert not uploader.step()
    assert rejected(run_dir) == []


@pytest.mark.parametrize("error", [Unreachable("429", retry_after=0.0), Unreachable("401", for_all=True)])
def test_a_server_that_speaks_of_itself_blames_no_record(
    error: Unreachable, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Poisoned(lambda _: False)

    def busy(*_: Any) -> None:
        raise error

    monkeypatch.setattr(backend, "log_metrics", busy)
    for _ in range(3 * _TRIES):
        receipt = sync(run_dir, URI, backend=backend)
        assert receipt.dropped == 0 and receipt.pending > 0


def test_one_call_that_fails_is_no_outage(run_dir: Path) -> None:
    sync(run_dir, URI, backend=Poisoned(one_artifact))
    assert load_health(state_folder(run_dir, URI)).outage == 0


def test_a_late_retry_undoes_nothing_that_came_since(run_dir: Path) -> None:
    """A tag that was set aside is older than the one that replaced it."""
    journal = JournalBackend(run_dir)
    journal.start(RunStart("c", "c", "e", 60))
    journal.log("c", RunRecord(tags={"state": "old"}), 61)
    backend = Poisoned(lambda call: call[0] == "log" and call[2].tags.get("state") == "old")
    assert sync(run_dir, URI, backend=backend).dropped == 1
    journal.log("c", RunRecord(tags={"state": "new"}), 62)
    journal.end("c", "FINISHED", 63)
    journal.close()
    assert sync(run_dir, URI, backend=backend).dropped == 1
    backend.fails = lambda _: False
    assert sync(run_dir, URI, backend=backend, retry_rejected=True).complete
    assert (backend.runs["c"].tags["state"], backend.runs["c"].status) == ("new", "FINISHED")


def test_a_retry_sends_only_the_runs_that_need_it_and_may_be_interrupted(run_dir: Path) -> None:
    backend = Poisoned(one_point)
    written = sync(run_dir, URI, backend=backend).written
    backend.fails, left = seen_by(seen := [], 3)
    with pytest.raises(KeyboardInterrupt):
        sync(run_dir, URI, backend=backend, retry_rejected=True)
    left.append(10**6)
    assert sync(run_dir, URI, backend=backend).complete  # goes on without being told again
    assert {uid for _, uid, _ in seen} == {"a"}
    assert sync(run_dir, URI, backend=backend).delivered == written
    assert arranged(backend) == arranged(whole(run_dir))


def seen_by(seen: list[Call], calls: int) -> tuple[Fails, list[int]]:
    """Notes the calls, and is interrupted once after so many."""
    left = [calls]

    def call(what: Call) -> bool:
        seen.append(what)
        left[-1] -= 1
        if left[-1] < 0:
            raise KeyboardInterrupt
        return False

    return call, left
