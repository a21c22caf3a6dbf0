"""No room, no folder, no right to write: the stage goes on, one warning says so, and what is lost is counted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from nertrail.records import Artifact, RunRecord
from nertrail.tracking import blobs, events, segments
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.receipt import receipt_of

START = RunStart("u1", "name", "experiment", 5)


@pytest.fixture
def backend(tmp_path: Path) -> JournalBackend:
    return JournalBackend(tmp_path)


def read_all(run_dir: Path) -> list[events.Event]:
    """Every event, in files of which none is damaged."""
    found = []
    for path in sorted((run_dir / "journal").glob("*/*.jnl")):
        chunk = segments.read(path, 0, complete=True)
        assert not chunk.damage
        found += [event for event, _ in chunk.events if event["op"] != "header"]
    return found


def fail(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


def test_a_full_disk_spoils_nothing(backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend.start(START)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[: len(line) // 2]))
    backend.end("u1", "FINISHED", 1)
    monkeypatch.undo()
    backend.end("u1", "FINISHED", 2)
    assert [event["op"] for event in read_all(tmp_path)] == ["start", "end"]
    assert backend.dropped == 1


def test_a_disk_that_is_full_when_segments_rotate_takes_nothing_along(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend.start(START)
    monkeypatch.setattr("nertrail.tracking.writer.SEGMENT_BYTES", 1000)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda *_: fail(errno.ENOSPC))
        for step in range(3):
            backend.log_metrics("u1", [Point("x" * 900, 1.0, step, 6)])
    backend.log_metrics("u1", [Point("x" * 900, 1.0, 3, 6)])
    [folder] = segments.writers(backend.journal)
    assert [event["op"] for event in read_all(tmp_path)] == ["start", "metrics"]
    assert [path.name for path in segments.segments(folder)] == ["000001.jnl", "000002.jnl"]
    assert all(segments.read(path, 0, complete=True).events[0][0]["op"] == "header" for path in folder.iterdir())


def test_what_could_not_be_written_is_counted_for_ever(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    backend.start(START)
    with monkeypatch.context() as full:
        for name in ("write", "open", "mkdir"):
            full.setattr(os, name, lambda *_, **__: fail(errno.ENOSPC))
        full.setattr(blobs, "_draft", lambda _: fail(errno.ENOSPC))
        for step in range(20):
            backend.log_metrics("u1", [Point("loss", 1.0, step, 6)])
        backend.log(
            "u1", RunRecord(artifacts=(Artifact(tmp_path / "a.bin", "a"), Artifact(tmp_path / "a.bin", "b"))), 1
        )
        assert backend.note_unwritten() == 23
    assert len(caplog.records) == 1 and "No space left" in caplog.text and str(backend.journal) in caplog.text
    backend.end("u1", "FINISHED", 2)
    backend.close()
    receipt = receipt_of(tmp_path, tmp_path / "nowhere")
    assert (receipt.written, receipt.dropped, receipt.pending) == (25, 23, 2)
    assert "23 could not be written" in receipt.why


def test_an_outage_that_ends_and_comes_back_is_a_second_warning(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with monkeypatch.context() as full:
            full.setattr(os, "write", lambda *_: fail(errno.ENOSPC))
            backend.log_metrics("u1", [Point("loss", 1.0, 1, 6)])
        backend.log_metrics("u1", [Point("loss", 1.0, 1, 6)])
    assert len(caplog.records) == 2


def test_an_artifact_that_is_not_there_is_named_and_takes_no_other_with_it(
    backend: JournalBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").write_text("a")
    artifacts = (Artifact(tmp_path / "none", "x/none.bin"), Artifact(tmp_path / "a", "a"))
    backend.log("u1", RunRecord(artifacts=artifacts), 1)
    assert [entry["name"] for entry in read_all(tmp_path)[0]["artifacts"]] == ["a"]
    assert backend.dropped == 1 and "'x/none.bin' cannot be kept: No such file" in caplog.text


def test_a_removed_journal_stays_removed_until_a_run_begins(
    backend: JournalBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend.start(START)
    shutil.rmtree(backend.journal)
    for step in range(3):
        backend.log_metrics("u1", [Point("loss", 1.0, step, 6)])
    backend.end("u1", "FINISHED", 9)
    assert not backend.journal.exists() and backend.dropped == 4
    assert len(caplog.records) == 1 and "removed" in caplog.text
    backend.start(RunStart("u2", "n", "e", 10))
    assert [event["run"] for event in read_all(tmp_path)] == ["u2"]


LIMITED = """
import resource, signal, sys
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
tracker = MLflowTrainingTracker("e", tracking_uri="http://127.0.0.1:9", run_dir=sys.argv[1])
with tracker.start_training_run("r", "mini") as run:
    for step in range(100):
        run.log_metrics({"loss": 1.0}, step=step)
print(tracker.flush().dropped)
"""


def test_a_file_system_that_takes_no_more_bytes_ends_in_whole_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count("cannot be written") == 1 and len(done.stderr.splitlines()) == 1
    told = read_all(tmp_path)
    assert told[0]["op"] == "start" and len(told) > 10
    assert int(done.stdout) == 103 - len(told)
    assert json.loads((tmp_path / "tracking.json").read_text())["dropped"] == int(done.stdout)


def test_a_folder_that_cannot_be_written_costs_one_warning_and_the_receipt_says_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = MLflowTrainingTracker("e", tracking_uri="http://127.0.0.1:9", run_dir="/proc/nertrail")
    with tracker.start_training_run("r", "mini") as run:
        for step in range(20):
            run.log_metrics({"loss": 1.0}, step=step)
    receipt = tracker.flush()
    tracker.close()
    assert (receipt.written, receipt.dropped, receipt.complete) == (23, 23, False)
    assert "23 could not be written" in receipt.why
    assert len(caplog.records) == 1 and "cannot be written" in caplog.text
