"""What is written can be read again, whatever happens to the process or to the file."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.records import Artifact, DatasetInput, RunRecord, RunRef
from nertrail.tracking import blobs, events, segments
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.protocol import PARENT_TAG, Point, Rejected, RunStart
from nertrail.tracking.sync import sync

URI = "sqlite:////nowhere/mlflow.db"
START = RunStart("u1", "name", "experiment", 5, {"mlflow.parentRunId": RunRef("u0"), "n": 1})


def read_all(run_dir: Path) -> list[events.Event]:
    found = []
    for writer in segments.writers(run_dir / "journal"):
        for segment in segments.segments(writer):
            chunk = segments.read(segment, 0, complete=True)
            assert not chunk.damage
            found += [event for event, _ in chunk.events if event["op"] != "header"]
    return found


@pytest.fixture
def backend(tmp_path: Path) -> JournalBackend:
    return JournalBackend(tmp_path)


def segment_of(backend: JournalBackend) -> Path:
    return segments.segments(segments.writers(backend.journal)[0])[-1]


def test_events_survive_the_way_to_disk_and_back() -> None:
    record = RunRecord(
        {"a": 1, "b": RunRef("x"), "c": (RunRef("x"), RunRef("y")), "d": None, "e": True, "f": 0.1, "g": math.nan},
        {"nan": math.nan, "inf": -math.inf, "third": 1 / 3},
        {"ä\ud800": "ö\n"},
        datasets=(DatasetInput("d", "abc", "/p"),),
    )
    back = events.log_record(events.decode(events.encode(events.log_event("u", record, (), 3))))
    assert back.params == {**record.params, "g": "nan"}
    assert math.isnan(back.metrics["nan"]) and back.metrics["inf"] == -math.inf and back.metrics["third"] == 1 / 3
    assert back.datasets == record.datasets and list(back.tags.values()) == ["ö\n"]
    assert events.run_start(events.decode(events.encode(events.start_event(START)))) == START


def test_a_changed_byte_is_noticed() -> None:
    line = bytearray(events.encode({"op": "end"}))
    line[-4] ^= 1
    with pytest.raises(events.BadLine):
        events.decode(bytes(line))


def test_the_journal_holds_what_was_said_in_order(backend: JournalBackend, tmp_path: Path) -> None:
    backend.start(START)
    backend.log_metrics("u1", [Point("loss", math.nan, 1, 6)])
    backend.end("u1", "FINISHED", 7)
    assert [event["op"] for event in read_all(tmp_path)] == ["start", "metrics", "end"]


def test_half_a_line_at_the_end_is_left_for_later_or_dropped(backend: JournalBackend) -> None:
    backend.start(START)
    segment = segment_of(backend)
    whole = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b"12345678 {half")
    assert segments.read(segment, 0, complete=False).offset == whole
    chunk = segments.read(segment, 0, complete=True)
    assert (len(chunk.events), chunk.offset, chunk.damage) == (2, segment.stat().st_size, "")


def test_damage_in_the_middle_keeps_what_lies_before_it(backend: JournalBackend) -> None:
    backend.start(START)
    sound = segment_of(backend).stat().st_size
    for step in range(3):
        backend.log_metrics("u1", [Point("loss", 1.0, step, 6)])
    content = bytearray(segment_of(backend).read_bytes())
    content[sound + 20] ^= 1
    segment_of(backend).write_bytes(content)
    chunk = segments.read(segment_of(backend), 0, complete=True)
    assert [event["op"] for event, _ in chunk.events] == ["header", "start"]
    assert (chunk.damage, chunk.lost_lines, chunk.offset) == ("a line is damaged", 3, len(content))


def test_a_chunk_ends_with_a_whole_line(backend: JournalBackend) -> None:
    for step in range(50):
        backend.log_metrics("u1", [Point("loss", 1.0, step, 6)])
    segment, offset, seen = segment_of(backend), 0, 0
    while (chunk := segments.read(segment, offset, complete=True, limit=300)).offset > offset:
        offset, seen = chunk.offset, seen + len(chunk.events)
    assert seen == 51


def test_segments_rotate_and_the_first_one_tells_who_lives(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nertrail.tracking.writer.SEGMENT_BYTES", 1000)
    for step in range(100):
        backend.log_metrics("u1", [Point("loss", 1.0, step, 6)])
    [folder] = segments.writers(backend.journal)
    assert len(segments.segments(folder)) > 3
    assert len(read_all(tmp_path)) == 100
    assert segments.writer_lives(folder)
    backend.close()
    assert not segments.writer_lives(folder)


def test_what_is_worth_it_is_on_disk_before_the_call_returns(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(file))

    def syncs(action: Callable[[], object]) -> int:
        synced.clear()
        action()
        return len(synced)

    (tmp_path / "a").write_text("a")
    artifact = RunRecord(artifacts=(Artifact(tmp_path / "a", "a"),))
    assert syncs(lambda: backend.start(START)) == 1
    assert syncs(lambda: backend.log_metrics("u1", [Point("loss", 1.0, 1, 6)])) == 0
    assert syncs(lambda: backend.log("u1", RunRecord(params={"a": 1}), 1)) == 0
    assert syncs(lambda: backend.log("u1", artifact, 1)) == 2  # the blob, then the line that names it
    assert syncs(lambda: backend.end("u1", "FINISHED", 2)) == 1
    backend.log_metrics("u1", [Point("loss", 1.0, 1, 6)])
    assert syncs(lambda: segments.read(segment_of(backend), 0, complete=False)) == 1  # the reader sees to it


def test_a_million_points_come_back(backend: JournalBackend, tmp_path: Path) -> None:
    for step in range(1000):
        backend.log_metrics("u1", [Point(f"m{number}", step / 7, step, number) for number in range(1000)])
    backend.close()
    count, total = 0, 0.0
    [folder] = segments.writers(backend.journal)
    for segment in segments.segments(folder):
        offset = 0
        while (chunk := segments.read(segment, offset, complete=True)).offset > offset:
            offset = chunk.offset
            points = [p for event, _ in chunk.events if event["op"] == "metrics" for p in events.event_points(event)]
            count, total = count + len(points), total + sum(point.value for point in points)
    assert count == 1_000_000 and total == pytest.approx(1000 * sum(range(1000)) / 7)


@given(
    st.recursive(st.text() | st.floats() | st.integers() | st.none() | st.booleans(), lambda inner: st.tuples(inner))
)
def test_any_value_comes_back_as_it_was_or_as_its_text(value: Any) -> None:
    scalar = value if not isinstance(value, tuple) else str(value)
    line = events.encode(events.log_event("u", RunRecord(params={"p": scalar}, tags={str(scalar): scalar}), (), 3))
    back = events.log_record(events.decode(line))
    text = isinstance(scalar, float) and not math.isfinite(scalar)
    assert back.params == {"p": str(scalar) if text else scalar} and list(back.tags) == [str(scalar)]
    assert b"\n" not in line[:-1]


OLD = Path(__file__).parents[1] / "fixtures" / "journal-schema-1"


def test_a_journal_of_the_first_schema_is_read(tmp_path: Path) -> None:
    """The fixture is kept as it was written: a release that cannot read it any more has broken a promise."""
    shutil.copytree(OLD, tmp_path / "journal")
    [header, *told] = [event for event, _ in segments.read(next(OLD.glob("*/*.jnl")), 0, complete=True).events]
    assert (header["schema"], [event["op"] for event in told]) == (1, ["start", "log", "metrics", "end"])
    assert events.run_start(told[0]) == START
    record = events.log_record(told[1])
    assert record.params == {"lr": 5e-4, "from": RunRef("u0"), "both": (RunRef("u0"), RunRef("u2"))}
    assert record.tags == {"größe": "🦉"} and record.metrics == {"macro-f1": 0.5}
    assert [repr(point.value) for point in events.event_points(told[2])] == ["nan", "inf", "0.1"]
    assert (told[3]["status"], told[3]["t"]) == ("FINISHED", 9)


def test_a_journal_of_a_newer_schema_waits_for_a_release_that_can_read_it(
    backend: JournalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SCHEMA", 2)
    newer = JournalBackend(tmp_path)
    newer.start(START)
    newer.close()
    backend.start(RunStart("u5", "n", "e", 5))
    memory = MemoryBackend()
    receipt = sync(tmp_path, URI, backend=memory)
    assert (list(memory.runs), receipt.pending, receipt.dropped) == (["u5"], 1, 0)
    assert "newer nertrail" in receipt.why
    monkeypatch.setattr(segments, "SCHEMA", 2)
    assert sync(tmp_path, URI, backend=memory).complete and set(memory.runs) == {"u1", "u5"}


def test_runs_left_open_are_closed_with_the_run_above_them(backend: JournalBackend, tmp_path: Path) -> None:
    for uid, parent in [("sweep", "pipe"), ("t1", "sweep"), ("t2", "sweep"), ("other", "")]:
        backend.start(RunStart(uid, uid, "e", 1, {PARENT_TAG: RunRef(parent)} if parent else {}))
    backend.end("t1", "FINISHED", 5)
    backend.end("sweep", "FAILED", 7)
    ended = [(event["run"], event["status"], event["t"]) for event in read_all(tmp_path) if event["op"] == "end"]
    assert ended == [("t1", "FINISHED", 5), ("t2", "KILLED", 7), ("sweep", "FAILED", 7)]


def test_threads_share_a_writer(backend: JournalBackend, tmp_path: Path) -> None:
    def write() -> None:
        for step in range(100):
            backend.log_metrics("u1", [Point("loss", 1.0, step, 6)])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_all(tmp_path)) == 400


def test_a_forked_child_writes_its_own_file_and_does_not_keep_the_parent_alive(
    backend: JournalBackend, tmp_path: Path
) -> None:
    done, let_go = multiprocessing.get_context("fork").Event(), multiprocessing.get_context("fork").Event()

    def child() -> None:
        backend.end("u1", "FINISHED", 9)
        done.set()
        let_go.wait(20)

    process = multiprocessing.get_context("fork").Process(target=child)
    backend.start(START)
    process.start()
    assert done.wait(20)
    parent, forked = segments.writers(tmp_path / "journal")
    backend.close()
    assert (segments.writer_lives(parent), segments.writer_lives(forked)) == (False, True)
    let_go.set()
    process.join()
    assert not segments.writer_lives(forked)


def test_a_killed_writer_loses_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from nertrail.tracking.journal import JournalBackend\n"
        "from nertrail.tracking.protocol import Point\n"
        "backend = JournalBackend(Path(sys.argv[1]))\n"
        "for step in range(200): backend.log_metrics('u', [Point('loss', 1.0, step, 6)])\n"
        "print('written', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    folder = segments.writers(tmp_path / "journal")[0]
    assert segments.writer_lives(folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not segments.writer_lives(folder)
    assert len(read_all(tmp_path)) == 200


def test_an_artifact_may_change_after_it_was_logged(backend: JournalBackend, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("first")
    backend.log("u1", RunRecord(artifacts=(Artifact(file, "x/a.json"),)), 1)
    file.write_text("second")
    described = read_all(tmp_path)[0]["artifacts"][0]
    (tmp_path / "stage").mkdir()
    assert blobs.stage(backend.journal / "blobs", described, tmp_path / "stage").path.read_text() == "first"


@pytest.fixture
def big_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as big here, and is no text."""
    monkeypatch.setattr(blobs, "_TEXT_BYTES", 10)
    monkeypatch.setattr(blobs, "_LINK_BYTES", 10)
    (tmp_path / "model.onnx").write_bytes(b"x" * 100)
    return tmp_path / "model.onnx"


def test_a_big_file_is_kept_without_a_copy_if_it_is_a_reference(big_file: Path, tmp_path: Path) -> None:
    artifact = Artifact(big_file, "model.onnx", reference=True)
    described = blobs.store(tmp_path / "blobs", artifact)
    assert (tmp_path / "blobs" / described["files"][0]["sha256"]).samefile(big_file)
    assert blobs.store(tmp_path / "blobs", artifact) == described
    assert len(list((tmp_path / "blobs").iterdir())) == 1


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b"])
def test_a_big_file_may_be_written_to_after_it_was_logged(big_file: Path, tmp_path: Path, mode: str) -> None:
    described = blobs.store(tmp_path / "blobs", Artifact(big_file, "model.onnx"))
    with big_file.open(mode) as file:
        file.write(b"y" * 50)
    (tmp_path / "stage").mkdir()
    assert blobs.stage(tmp_path / "blobs", described, tmp_path / "stage").path.read_bytes() == b"x" * 100


def _cannot(*_: object) -> int:
    raise OSError


def test_a_big_file_is_copied_where_the_file_system_does_not_do_it(
    big_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", _cannot, raising=False)
    described = blobs.store(tmp_path / "blobs", Artifact(big_file, "model.onnx"))
    kept = tmp_path / "blobs" / described["files"][0]["sha256"]
    assert kept.read_bytes() == b"x" * 100 and not kept.samefile(big_file)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a big file (over 10 bytes here) and a small one."""
    monkeypatch.setattr(blobs, "_LINK_BYTES", 10)
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w" * 100)
    (folder / "a.json").write_bytes(b"{}")
    return folder


def test_a_checkpoint_outlives_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    described = blobs.store(tmp_path / "blobs", Artifact(checkpoint, "checkpoint", reference=True))
    assert (tmp_path / "blobs" / described["files"][1]["sha256"]).samefile(checkpoint / "model.safetensors")
    shutil.rmtree(checkpoint)
    staged = blobs.stage(tmp_path / "blobs", described, tmp_path / "stage")
    assert (staged.path / "model.safetensors").read_bytes() == b"w" * 100
    assert (staged.path / "a.json").read_bytes() == b"{}"


def test_a_reference_without_hard_links_that_changed_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "_linked", lambda path, draft: False)
    described = blobs.store(tmp_path / "blobs", Artifact(checkpoint, "checkpoint", reference=True))
    assert [("at" in file) for file in described["files"]] == [False, True]
    (checkpoint / "model.safetensors").write_bytes(b"v" * 100)
    with pytest.raises(Rejected, match="not what it was"):
        blobs.stage(tmp_path / "blobs", described, tmp_path / "stage")


def test_an_artifact_cannot_leave_its_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    assert blobs.store(tmp_path / "blobs", Artifact(tmp_path / "a", "../../etc/a"))["name"] == "etc/a"


def test_secrets_do_not_reach_the_journal(backend: JournalBackend, tmp_path: Path) -> None:
    token = "hf_" + "a" * 30
    (tmp_path / "log.txt").write_text(f"using {token}")
    backend.start(RunStart("u1", "n", "e", 1, {"mlflow.source.name": f"https://me:{token}@host"}))
    backend.log("u1", RunRecord(params={"t": token}, artifacts=(Artifact(tmp_path / "log.txt", "log.txt"),)), 1)
    written = b"".join(path.read_bytes() for path in (tmp_path / "journal").rglob("*") if path.is_file())
    assert token.encode() not in written
