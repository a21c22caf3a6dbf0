"""Delivering once: from anywhere, twice at the same time, interrupted, looked at before and checked behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nertrail.cli import app
from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking import liveness
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.liveness import held, holder, identity
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_view import Held
from nertrail.tracking.profiles import Profile
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.state import Health, save_health
from nertrail.tracking.sync import outlook, status, sync
from nertrail.tracking.verify import Told, differences, told_by, verify
from tracking_fixtures import free_port
from tracking_views import view

URI = "sqlite:////nowhere/mlflow.db"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run dir with one finished run of everything."""
    run_dir = tmp_path / "run"
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "w.bin").write_bytes(b"weights")
    (tmp_path / "f.json").write_text("{}")
    artifacts = (Artifact(tmp_path / "best", "checkpoint"), Artifact(tmp_path / "f.json", "deep/f.json"))
    journal = JournalBackend(run_dir)
    journal.start(RunStart("a", "first", "e", 1, {"pipeline.stage": "training"}))
    journal.log("a", RunRecord({"lr": 1, "n": 2}, {"f1": 0.5}, {"t": "x"}, artifacts), 2)
    for step in (1, 2, 2):
        journal.log_metrics("a", [Point("loss", 1.0 / step, step, 2 + step), Point("nan", float("nan"), step, 3)])
    journal.end("a", "FINISHED", 9)
    journal.close()
    return run_dir


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


class Dying(MemoryBackend):
    """Is interrupted in the middle, once."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh = True

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        if self.fresh:
            self.fresh = False
            raise KeyboardInterrupt
        super().log_metrics(uid, points)


def test_an_interrupted_sync_goes_on_where_it_was(recorded: Path) -> None:
    backend = Dying()
    with pytest.raises(KeyboardInterrupt):
        sync(recorded, URI, backend=backend)
    assert holder(state_folder(recorded, URI) / "lock") is None
    assert sync(recorded, URI, backend=backend).complete
    whole = MemoryBackend()
    sync(recorded, "sqlite:////other/mlflow.db", backend=whole)
    assert repr(backend.runs) == repr(whole.runs)  # NaN is not equal to itself


class Slow(MemoryBackend):
    """Waits in the middle until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.calls = 0

    def start(self, run: RunStart) -> None:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(20)
        super().start(run)


def test_two_at_once_deliver_once_and_the_second_knows_whom_it_waits_for(recorded: Path) -> None:
    backend, receipts = Slow(), []
    first, second = (
        threading.Thread(target=lambda: receipts.append(sync(recorded, URI, backend=backend))) for _ in "ab"
    )
    first.start()
    assert backend.begun.wait(20)
    owner = holder(state_folder(recorded, URI) / "lock")
    assert owner and (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
    second.start()
    backend.go.set()
    first.join(20)
    second.join(20)
    assert [receipt.complete for receipt in receipts] == [True, True] and backend.calls == 1


def test_it_does_not_wait_for_one_that_waits_itself_and_says_who_that_is(recorded: Path) -> None:
    folder = state_folder(recorded, URI)
    folder.mkdir(parents=True)
    save_health(folder, Health("waiting", "server is away", 1))
    with held(folder / "lock") as mine:
        assert mine
        receipt = sync(recorded, URI, backend=MemoryBackend())
    assert not receipt.complete
    assert f"server is away; process {os.getpid()} on {socket.gethostname()}" in receipt.why


@pytest.mark.parametrize(
    ("owner", "silent", "mine"),
    [
        ({}, 0, True),
        ({"pid": os.getpid()}, 0, False),
        ({"pid": 2**22 + 5}, 0, True),
        ({"host": "another"}, 0, False),
        ({"host": "another"}, 3600, True),
    ],
)
def test_without_locks_the_signature_is_the_lock(
    owner: dict[str, Any], silent: float, mine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    path = tmp_path / "lock"
    path.write_text(json.dumps({**identity(), **owner}) if owner else "")
    os.utime(path, (path.stat().st_mtime - silent,) * 2)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert (holder(path) is None) == mine
    with held(path) as taken:
        assert taken == mine
        assert holder(path) is not None
    assert (holder(path) is None) == mine


def test_a_lock_that_could_not_be_signed_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness.json, "dumps", lambda _: "x" * 10)
    with held(tmp_path / "lock") as mine:
        assert mine and holder(tmp_path / "lock") == {}
        with held(tmp_path / "lock") as again:
            assert not again


def test_progress_is_told_in_bytes_up_to_the_end(recorded: Path) -> None:
    told: list[tuple[int, int]] = []
    sync(recorded, URI, lambda done, total: told.append((done, total)), backend=MemoryBackend())
    size = sum(path.stat().st_size for path in (recorded / "journal").rglob("*.jnl"))
    assert told[0] == (0, size) and told[-1] == (size, size) and told == sorted(told)


def test_a_dry_run_delivers_nothing_and_exits_3_while_something_is_missing(recorded: Path, store: str) -> None:
    before = sorted(recorded.rglob("*"))
    done = run("sync", str(recorded), "--to", store, "--dry-run")
    assert done.exit_code == 3 and "0 of 6 delivered, 6 pending" in done.output and "first" in done.output
    assert sorted(recorded.rglob("*")) == before
    assert run("sync", str(recorded), "--to", store, "--quiet").exit_code == 0
    assert run("sync", str(recorded), "--to", store, "--dry-run").exit_code == 0


def test_verify_compares_counts_and_sha256_with_the_server(recorded: Path, store: str) -> None:
    done = run("sync", str(recorded), "--to", store, "--verify")
    assert done.exit_code == 0 and "verified    1 of 1 runs, 5 metric points, 2 artifacts" in done.output
    spoil(store)
    done = run("sync", str(recorded), "--to", store, "--verify", "--quiet")
    assert done.exit_code == 3
    assert "status FAILED, not FINISHED; 3 of 2 params; 6 of 5 metric points" in done.output
    assert "checkpoint/w.bin has another sha256" in done.output


def test_a_store_that_was_made_anew_gets_everything_again(
    recorded: Path, store: str, fresh_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Profile("tiny", params=1)
    monkeypatch.setattr("nertrail.tracking.mlflow_backend.profile_of", lambda _: tiny)  # some of it is overflow
    assert run("sync", str(recorded), "--to", store).exit_code == 0
    before = view(MlflowBackend(store), "a")
    (tmp_path / "store" / "mlflow.db").write_bytes(fresh_store.read_bytes())
    (tmp_path / "store" / "mlruns").rename(tmp_path / "old")
    stale = run("sync", str(recorded), "--to", store, "--verify")
    assert stale.exit_code == 3 and f"once more with: nertrail sync {recorded} --to {store} --again" in stale.output
    for _ in "twice":
        done = run("sync", str(recorded), "--to", store, "--again", "--verify")
        assert done.exit_code == 0 and "6 of 6 delivered" in done.output, done.output
        assert view(MlflowBackend(store), "a") == before
    assert "overflow.json" in before.artifacts


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("failing", ["sync.name_destination", "carrier.save_health", "sync.write_receipt"])
def test_a_disk_that_takes_nothing_is_told_in_words(
    recorded: Path, store: str, number: int, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(recorded / "x"))

    monkeypatch.setattr(f"nertrail.tracking.{failing}", fail)
    done = run("sync", str(recorded), "--to", store)
    assert done.exit_code == 3 and "Traceback" not in done.output
    assert f"error: {recorded}/x: {os.strerror(number)}" in done.output


@pytest.mark.parametrize("option", ["--verify", "--prune"])
def test_a_server_that_cannot_be_compared_with_is_no_failure_of_ours(
    recorded: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    done = run("sync", str(recorded), option)
    assert done.exit_code == 3 and "Traceback" not in done.output
    assert "error: cannot be done now: MlflowException" in done.output


def test_a_full_disk_of_ours_keeps_from_comparing(recorded: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("sync", str(recorded), "--to", store).exit_code == 0
    monkeypatch.setattr("tempfile.tempdir", str(recorded / "no" / "such"))
    done = run("sync", str(recorded), "--to", store, "--verify")
    assert done.exit_code == 3 and "error: cannot be done now: this machine's own disk fails" in done.output


def test_files_of_a_desktop_are_no_counts(recorded: Path) -> None:
    (recorded / "journal" / "unwritten").mkdir(exist_ok=True)
    (recorded / "journal" / "unwritten" / ".DS_Store").write_bytes(b"\0\xff")
    (recorded / "journal" / "unwritten" / "x.tmp").write_text("abc")
    (recorded / "journal" / "unwritten" / "1").write_text("2\n")
    assert outlook(recorded, URI).dropped == 2


def test_again_goes_not_with_a_dry_run(recorded: Path) -> None:
    assert run("sync", str(recorded), "--again", "--dry-run").exit_code == 2


def spoil(store: str) -> None:
    """What a colleague may do to a run."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    [found] = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    client.log_param(found.info.run_id, "other", 1)
    client.log_metric(found.info.run_id, "loss", 7.0)
    client.set_terminated(found.info.run_id, "FAILED")
    Path(found.info.artifact_uri.removeprefix("file://"), "checkpoint", "w.bin").write_bytes(b"other")


@pytest.mark.parametrize(
    ("held_run", "found"),
    [
        (None, ("it is not there",)),
        (Held("FINISHED", 1, 2, 0, {"a": "1"}), ()),
        (Held("FINISHED", 1, 1, 0, {}), ("1 of 2 metric points", "a is not there")),
        (Held("FINISHED", 0, 0, 3, {"a": "2"}), ("a has another sha256",)),
    ],
)
def test_differences_are_named(held_run: Held | None, found: tuple[str, ...]) -> None:
    assert differences(Told("r", "FINISHED", {"p"}, {1, 2}, {"a": "1"}), held_run) == found


def test_a_run_that_was_left_open_is_killed_on_the_server_and_that_is_no_difference() -> None:
    assert differences(Told("r", "RUNNING"), Held("KILLED", 0, 0, 0, {})) == ()


def test_a_run_that_the_journal_did_not_begin_is_not_compared(tmp_path: Path) -> None:
    JournalBackend(tmp_path).log("nobody", RunRecord(params={"a": 1}), 1)
    assert told_by(tmp_path / "journal") == {}


def test_verify_names_a_run_that_is_not_there(recorded: Path, store: str) -> None:
    [found] = verify(recorded, store)
    assert found.differences == ("it is not there",)


def test_status_shows_written_delivered_pending_and_refused_per_run(recorded: Path) -> None:
    folder = state_folder(recorded, URI)
    folder.mkdir(parents=True)
    later = JournalBackend(recorded)
    sync(recorded, URI, backend=MemoryBackend())
    later.start(RunStart("b", "second", "e", 10))
    later.log("b", RunRecord(tags={"of": RunRef("z")}), 11)
    (folder / "rejected.jsonl").write_text('{"event": {"run": "a"}}\n{"torn')
    rows = {row.uid: (row.written, row.delivered, row.pending, row.refused) for row in status(recorded, URI)[URI]}
    assert rows == {"a": (6, 5, 0, 1), "b": (2, 0, 2, 0)}
    assert outlook(recorded, URI).pending == 2
    done = run("status", str(recorded))
    assert done.exit_code == 0 and "rejected.jsonl" in done.output
    head, first, second = (line.split() for line in done.output.splitlines() if line[2:5] in ("run", "fir", "sec"))
    assert head[:8] == ["run", "stage", "status", "written", "delivered", "pending", "refused", "waiting"]
    assert first[:8] == ["first", "training", "FINISHED", "6", "5", "0", "1", "0"]
    assert second[:7] == ["second", "RUNNING", "2", "0", "2", "0", "0"]


@pytest.mark.parametrize(("versions", "found"), [(0, ("its model is not registered",)), (1, ())])
def test_a_model_is_looked_for_in_the_registry(versions: int, found: tuple[str, ...]) -> None:
    held_run = Held("FINISHED", 0, 0, 0, {}, versions)
    assert differences(Told("r", "FINISHED", versions=1), held_run) == found
