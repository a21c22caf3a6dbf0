"""Kept copies of artifacts go once every server holds them; wherever that is interrupted, nothing is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nertrail.cli import app
from nertrail.records import Artifact, RunRecord
from nertrail.tracking import prune as pruning
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.protocol import RunStart
from nertrail.tracking.prune import Pruned, prune
from nertrail.tracking.segments import ends
from nertrail.tracking.sync import sync

URI, OTHER = "sqlite:////nowhere/mlflow.db", "sqlite:////other/mlflow.db"


def record(run_dir: Path, uid: str, text: str = "") -> JournalBackend:
    """A finished run with a file of its own, one that all runs share, and a folder of both."""
    files = run_dir.parent / "files"
    files.mkdir(exist_ok=True)
    (files / "own.json").write_text(text or f'"{uid}"')
    (files / "shared.json").write_text("{}")
    journal = JournalBackend(run_dir)
    journal.start(RunStart(uid, uid, "e", 1))
    names = [Artifact(files / name, name) for name in ("own.json", "shared.json")]
    journal.log(uid, RunRecord({"a": 1}, artifacts=(*names, Artifact(files, "all"))), 2)
    journal.end(uid, "FINISHED", 3)
    return journal


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for uid in "ab":
        record(tmp_path / "run", uid).close()
    return tmp_path / "run"


@pytest.fixture
def server(run_dir: Path) -> MemoryBackend:
    """A server that holds all of it."""
    backend = MemoryBackend()
    assert sync(run_dir, URI, backend=backend).complete
    return backend


def kept(run_dir: Path) -> set[str]:
    blobs = run_dir / "journal" / "blobs"
    return {path.name for path in [*blobs.glob("*"), *blobs.glob(".pruned/*")] if path.is_file()} - {".pruned.json"}


def again(run_dir: Path, backend: MemoryBackend, uri: str = URI) -> Any:
    """Deliver from the first event on, as where the state was lost."""
    (state_folder(run_dir, uri) / "state.json").unlink(missing_ok=True)
    return sync(run_dir, uri, backend=backend)


def test_what_every_server_holds_goes_and_is_not_missed(run_dir: Path, server: MemoryBackend) -> None:
    before, size = repr(server.runs), sum(path.stat().st_size for path in (run_dir / "journal" / "blobs").iterdir())
    assert prune(run_dir, ends(run_dir / "journal")) == Pruned(3, size)
    assert kept(run_dir) == set()
    assert again(run_dir, server).complete and repr(server.runs) == before
    assert prune(run_dir, ends(run_dir / "journal")) == Pruned(0, 0)


def test_another_server_gets_all_else_and_is_told_what_is_missing(run_dir: Path, server: MemoryBackend) -> None:
    prune(run_dir, ends(run_dir / "journal"))
    other = MemoryBackend()
    receipt = sync(run_dir, OTHER, backend=other)
    assert (receipt.pending, receipt.dropped) == (0, 2)
    assert {run.status for run in other.runs.values()} == {"FINISHED"} and other.runs["a"].params == {"a": 1}
    refused = (state_folder(run_dir, OTHER) / "rejected.jsonl").read_text()
    assert refused.count("another server has it, and it was pruned") == 6
    assert prune(run_dir, ends(run_dir / "journal")).why == "not all is delivered"


def test_what_is_logged_again_is_kept_again(run_dir: Path, server: MemoryBackend) -> None:
    prune(run_dir, ends(run_dir / "journal"))
    record(run_dir, "c", text='"a"').close()
    assert len(kept(run_dir)) == 2
    assert sync(run_dir, URI, backend=server).complete
    assert server.runs["c"].artifacts["own.json"] == b'"a"'
    assert prune(run_dir, ends(run_dir / "journal")).files == 2
    before = repr(server.runs)
    assert again(run_dir, server).complete and repr(server.runs) == before


def test_nothing_goes_while_somebody_may_need_it(run_dir: Path, server: MemoryBackend) -> None:
    marks, whole = ends(run_dir / "journal"), kept(run_dir)
    journal = record(run_dir, "c")
    assert prune(run_dir, marks).why == "a program still writes here"
    journal.close()
    assert prune(run_dir, marks).why == "more was written meanwhile"
    assert prune(run_dir, ends(run_dir / "journal")).why == "not all is delivered"
    sync(run_dir, OTHER, backend=MemoryBackend())
    assert prune(run_dir, ends(run_dir / "journal")).why == "not all is delivered"  # at one of two servers
    with pruning.held(state_folder(run_dir, URI) / "lock"):
        assert prune(run_dir, ends(run_dir / "journal")).why == "another process delivers this run dir"
    assert whole < kept(run_dir)


def test_a_writer_that_comes_meanwhile_has_all_put_back(
    run_dir: Path, server: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[JournalBackend] = []
    note = pruning._note

    def begin(*given: Any) -> None:
        note(*given)
        late.append(record(run_dir, "c"))

    monkeypatch.setattr(pruning, "_note", begin)
    whole = kept(run_dir)
    assert prune(run_dir, ends(run_dir / "journal")).why == "a program still writes here"
    late[0].close()
    assert whole < kept(run_dir)
    assert sync(run_dir, URI, backend=server).complete and sync(run_dir, OTHER, backend=MemoryBackend()).complete


@pytest.mark.parametrize("place", range(8))
def test_it_may_be_interrupted_at_any_place(
    place: int, run_dir: Path, server: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, whole, left = repr(server.runs), kept(run_dir), [place]

    def dying(real: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return real(*given, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(pruning, "write_json", dying(pruning.write_json))
        for name in ("rename", "unlink"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        if place < 7:  # a note, three files on their way out, three that go
            with pytest.raises(KeyboardInterrupt):
                prune(run_dir, ends(run_dir / "journal"))
        else:
            assert prune(run_dir, ends(run_dir / "journal")).files == 3
    if place <= 4:  # none is gone yet: another server gets them all
        assert kept(run_dir) == whole
        other = MemoryBackend()
        assert sync(run_dir, OTHER, backend=other).complete and other.runs["a"].artifacts == server.runs["a"].artifacts
    assert again(run_dir, server).complete and repr(server.runs) == before
    record(run_dir, "c").close()
    assert sync(run_dir, URI, backend=server).complete and len(server.runs["c"].artifacts) == 4
    if place > 4:
        assert prune(run_dir, ends(run_dir / "journal")).why == ""
        assert kept(run_dir) == set()


def test_the_command_verifies_first(run_dir: Path, store: str) -> None:
    arguments = ["sync", str(run_dir), "--prune"]
    assert CliRunner().invoke(app, [*arguments, "--to", store]).exit_code == 2
    assert CliRunner().invoke(app, ["sync", str(run_dir), "--to", store]).exit_code == 0
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "pruned      3 files" in done.output, done.output
    assert kept(run_dir) == set()
    done = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert (done.exit_code, done.output) == (0, "")


def test_the_command_keeps_what_the_server_does_not_hold(run_dir: Path, store: str) -> None:
    assert CliRunner().invoke(app, ["sync", str(run_dir), "--to", store]).exit_code == 0
    victims = [*(Path(store.removeprefix("sqlite:///")).parent / "mlruns").rglob("own.json")]
    victims[0].write_text("something else")
    whole = kept(run_dir)
    done = CliRunner().invoke(app, ["sync", str(run_dir), "--prune"])
    assert done.exit_code == 3 and "has another sha256" in done.output
    assert kept(run_dir) == whole
