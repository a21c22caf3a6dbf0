"""A journal becomes runs: in order, once, with references resolved and orphans closed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking import segments
from nertrail.tracking.delivery import Delivery
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.liveness import held
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.protocol import PARENT_TAG, Point, Rejected, RunStart, Unreachable
from nertrail.tracking.receipt import receipt_of
from nertrail.tracking.rows import run_rows
from nertrail.tracking.state import Health, add_rejected, load_progress, load_rejected, save_health, save_progress
from nertrail.tracking.uploader import Uploader


@pytest.fixture
def journal(tmp_path: Path) -> JournalBackend:
    return JournalBackend(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "journal" / ".state" / "x"
    path.mkdir(parents=True)
    return path


class Failing(MemoryBackend):
    """Goes away before the n-th call, like a server that is restarted."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def takes_writes(self, experiment: str) -> bool:
        return False

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unreachable("gone")

    def start(self, run: RunStart) -> None:
        self._tick()
        super().start(run)

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        self._tick()
        super().log(uid, record, at_ms)

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        self._tick()
        super().log_metrics(uid, points)

    def end(self, uid: str, status: str, at_ms: int) -> None:
        self._tick()
        super().end(uid, status, at_ms)


def deliver(tmp_path: Path, folder: Path, backend: Any) -> Delivery:
    delivery = Delivery(tmp_path / "journal", backend, folder, load_progress(folder))
    delivery.drain()
    return delivery


def write_a_bit_of_everything(journal: JournalBackend, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    journal.start(RunStart("pipe", "p", "e", 1, {}))
    journal.start(RunStart("child", "c", "e", 2, {PARENT_TAG: RunRef("pipe")}))
    journal.log("child", RunRecord({"a": 1}, {"m": 1.0}, {"t": "x"}, (Artifact(tmp_path / "a.json", "a.json"),)), 3)
    for step in range(5):
        journal.log_metrics("child", [Point("loss", 1 / (step + 1), step, 4 + step)])
    journal.end("child", "FINISHED", 20)
    journal.log("pipe", RunRecord(tags={"source": (RunRef("child"), RunRef("pipe"))}), 21)
    journal.end("pipe", "FINISHED", 22)


def test_runs_arrive_with_parent_and_references_as_server_ids(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    write_a_bit_of_everything(journal, tmp_path)
    target = MemoryBackend()
    deliver(tmp_path, folder, target)
    assert target.runs["child"].tags == {PARENT_TAG: "memory-0", "t": "x"}
    assert target.runs["pipe"].tags == {"source": "memory-1,memory-0"}
    assert len(target.runs["child"].points) == 6
    assert receipt_of(tmp_path, folder).to_json() == {
        "written": 11, "delivered": 11, "pending": 0, "dropped": 0, "waiting": 0, "why": "", "command": "",
    }  # fmt: skip


def test_a_receipt_says_whether_somebody_delivers_what_is_pending(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    write_a_bit_of_everything(journal, tmp_path)
    with held(folder / "lock"):
        assert receipt_of(tmp_path, folder).why == "an uploader is at work on them"
        save_health(folder, Health("waiting", "the server is away"))
        assert receipt_of(tmp_path, folder).why == "the server is away"
        save_health(folder, Health())
        deliver(tmp_path, folder, MemoryBackend())
        assert receipt_of(tmp_path, folder).why == ""
    (folder / "state.json").unlink()
    assert receipt_of(tmp_path, folder).why == ""


@pytest.mark.parametrize("after", range(10))
def test_a_server_that_goes_away_at_any_call_gets_all_of_it_in_the_end(
    journal: JournalBackend, tmp_path: Path, folder: Path, after: int
) -> None:
    write_a_bit_of_everything(journal, tmp_path)
    whole, target = MemoryBackend(), Failing(after)
    (folder / "whole").mkdir()
    deliver(tmp_path, folder / "whole", whole)
    for _ in range(20):
        try:
            deliver(tmp_path, folder, target)
        except Unreachable:
            target.left = 4
    assert target.runs == whole.runs
    assert receipt_of(tmp_path, folder).complete


def test_a_full_disk_of_ours_is_neither_a_refusal_nor_an_outage_of_the_server(
    journal: JournalBackend, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_a_bit_of_everything(journal, tmp_path)
    target = MemoryBackend()
    with monkeypatch.context() as full:
        full.setattr(tempfile, "tempdir", str(tmp_path / "no" / "such"))
        for _ in range(7):
            with pytest.raises(Unreachable, match="this machine's own disk fails, not the server") as caught:
                deliver(tmp_path, folder, target)
            assert caught.value.for_all
    assert load_rejected(folder) == [] and receipt_of(tmp_path, folder).pending > 0
    deliver(tmp_path, folder, target)
    assert receipt_of(tmp_path, folder).complete


def test_a_name_that_no_disk_takes_is_refused_and_holds_nothing_up(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "a.json").write_text("{}")
    journal.start(RunStart("a", "a", "e", 1))
    journal.log("a", RunRecord(artifacts=(Artifact(tmp_path / "a.json", "x" * 300),)), 2)
    journal.end("a", "FINISHED", 3)
    target = MemoryBackend()
    deliver(tmp_path, folder, target)
    assert target.runs["a"].status == "FINISHED"
    assert "no file of that name" in load_rejected(folder)[0]["why"]


class Busy(MemoryBackend):
    """While it takes points, the stage writes more of them."""

    def __init__(self, journal: JournalBackend) -> None:
        super().__init__()
        self._journal = journal
        self.calls = 0

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        super().log_metrics(uid, points)
        self.calls += 1
        if len(self.runs[uid].points) < 40:
            for step in range(5):
                self._journal.log_metrics(uid, [Point("loss", 1.0, len(self.runs[uid].points) + step, 4)])


def test_what_is_written_during_a_pass_goes_with_the_next(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    target = Busy(journal)
    journal.start(RunStart("r", "name", "e", 1))
    journal.log_metrics("r", [Point("loss", 1.0, 0, 4)])
    delivery = Delivery(tmp_path / "journal", target, folder, load_progress(folder))
    for calls, points in enumerate((1, 6, 11, 16), start=1):
        delivery.drain()
        assert (target.calls, len(target.runs["r"].points)) == (calls, points)


def test_an_event_whose_run_was_started_behind_the_end_that_was_looked_up_is_not_refused(
    journal: JournalBackend, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, target = JournalBackend(tmp_path), MemoryBackend()
    deliver(tmp_path, folder, target)
    real, looks = segments.ends, list[int]()

    def ends(path: Path) -> dict[str, int]:
        found = real(path)
        if not looks:  # the first writer is looked at, then both write, then the second is looked at
            journal.start(RunStart("r", "name", "e", 1))
            other.log_metrics("r", [Point("loss", 1.0, 0, 4)])
            found |= {name: end for name, end in real(path).items() if name.startswith(other_name)}
        looks.append(1)
        return found

    other_name = max(writer.name for writer in segments.writers(tmp_path / "journal"))
    monkeypatch.setattr(segments, "ends", ends)
    deliver(tmp_path, folder, target)
    assert len(target.runs["r"].points) == 1
    assert load_rejected(folder) == []


def test_a_lost_state_changes_nothing(journal: JournalBackend, tmp_path: Path, folder: Path) -> None:
    write_a_bit_of_everything(journal, tmp_path)
    target, once = MemoryBackend(), MemoryBackend()
    deliver(tmp_path, folder, target)
    (folder / "state.json").write_text("{half")
    deliver(tmp_path, folder, target)
    (folder / "once").mkdir()
    deliver(tmp_path, folder / "once", once)
    assert target.runs == once.runs


def test_a_value_waits_for_the_run_that_it_names(journal: JournalBackend, tmp_path: Path, folder: Path) -> None:
    target = MemoryBackend()
    journal.start(RunStart("a", "a", "e", 1, {PARENT_TAG: RunRef("b")}))
    journal.log("a", RunRecord(params={"best_trial_run_id": RunRef("b")}), 2)
    deliver(tmp_path, folder, target)
    assert "best_trial_run_id" not in target.runs["a"].params
    assert (receipt_of(tmp_path, folder).waiting, receipt_of(tmp_path, folder).pending) == (2, 0)
    JournalBackend(tmp_path).start(RunStart("b", "b", "e", 3))
    deliver(tmp_path, folder, target)
    assert target.runs["a"].params == {"best_trial_run_id": "memory-1"}
    assert target.runs["a"].tags == {PARENT_TAG: "memory-1"}
    assert receipt_of(tmp_path, folder).waiting == 0


def test_a_run_whose_writer_died_is_closed_with_its_last_time(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    target = MemoryBackend()
    journal.start(RunStart("a", "a", "e", 1))
    journal.log_metrics("a", [Point("loss", 1.0, 1, 77)])
    deliver(tmp_path, folder, target)
    assert target.runs["a"].status == "RUNNING"
    journal.close()
    deliver(tmp_path, folder, target)
    assert (target.runs["a"].status, target.runs["a"].end_ms) == ("KILLED", 77)
    journal.start(RunStart("a", "a", "e", 90))
    deliver(tmp_path, folder, target)
    assert target.runs["a"].status == "RUNNING"


def test_a_child_that_is_read_first_waits_for_the_start_of_its_run(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    late = JournalBackend(tmp_path)
    late.start(RunStart("a", "a", "e", 1))
    journal.log_metrics("a", [Point("loss", 1.0, 1, 77)])  # the older writer speaks of the younger one's run
    target = MemoryBackend()
    deliver(tmp_path, folder, target)
    assert target.runs["a"].metrics == {"loss": 1.0}
    assert receipt_of(tmp_path, folder).complete


def test_events_of_a_run_that_never_began_are_set_aside(journal: JournalBackend, tmp_path: Path, folder: Path) -> None:
    journal.log_metrics("nobody", [Point("loss", 1.0, 1, 77)])
    journal.start(RunStart("a", "a", "e", 1))
    target = MemoryBackend()
    deliver(tmp_path, folder, target)
    receipt = receipt_of(tmp_path, folder)
    assert (receipt.delivered, receipt.dropped, list(target.runs)) == (1, 1, ["a"])
    assert "never started" in (folder / "rejected.jsonl").read_text()


def test_what_is_refused_is_set_aside_and_the_rest_goes_on(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    class Picky(MemoryBackend):
        def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
            raise Rejected("no metrics today")

    write_a_bit_of_everything(journal, tmp_path)
    target = Picky()
    deliver(tmp_path, folder, target)
    assert [run.status for run in target.runs.values()] == ["FINISHED", "FINISHED"]
    receipt = receipt_of(tmp_path, folder)
    assert receipt.dropped == 2 and "rejected.jsonl" in receipt.why


def test_a_run_that_the_server_refuses_is_asked_for_once(journal: JournalBackend, tmp_path: Path, folder: Path) -> None:
    class Picky(MemoryBackend):
        asked = 0

        def start(self, run: RunStart) -> None:
            if run.uid == "child":
                raise Rejected("not this one")
            super().start(run)

        def run_id(self, uid: str) -> str | None:
            self.asked += uid == "child"
            return super().run_id(uid)

    write_a_bit_of_everything(journal, tmp_path)
    target = Picky()
    deliver(tmp_path, folder, target)
    assert (target.asked, list(target.runs), target.runs["pipe"].status) == (1, ["pipe"], "FINISHED")
    refused = load_rejected(folder)
    assert [entry["why"] for entry in refused] == ["not this one", *["the server refused its run"] * 7]
    assert {entry["event"]["run"] for entry in refused} == {"child"}


def test_a_refusal_is_kept_once_though_its_writer_is_killed_at_any_byte(folder: Path) -> None:
    entries = [{"at": 1.0, "place": f"w/000001.jnl:{n}", "why": "no", "event": {"run": "a", "n": "é"}} for n in (1, 2)]
    add_rejected(folder, entries[:1])
    whole = (folder / "rejected.jsonl").read_bytes()
    for length in range(len(whole) + 1):
        (folder / "rejected.jsonl").write_bytes(whole[:length])
        add_rejected(folder, entries)
        assert load_rejected(folder) == entries


def test_a_damaged_segment_is_reported_and_the_other_writers_go_on(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    journal.start(RunStart("a", "a", "e", 1))
    for step in range(3):
        journal.log_metrics("a", [Point("loss", 1.0, step, 7)])
    segment = segments.segments(segments.writers(journal.journal)[0])[0]
    content = segment.read_bytes().replace(b'"loss",1.0,0', b'"loss",9.0,0')
    segment.write_bytes(content)
    JournalBackend(tmp_path).start(RunStart("b", "b", "e", 1))
    target = MemoryBackend()
    deliver(tmp_path, folder, target)
    assert list(target.runs) == ["a", "b"]
    assert (receipt_of(tmp_path, folder).dropped, receipt_of(tmp_path, folder).pending) == (3, 0)


@pytest.fixture
def in_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The segments of a writer that is gone."""
    monkeypatch.setattr("nertrail.tracking.writer.SEGMENT_BYTES", 400)
    writer = JournalBackend(tmp_path)
    writer.start(RunStart("a", "a", "e", 1))
    for step in range(20):
        writer.log_metrics("a", [Point("loss", 1.0, step, 7)])
    writer.end("a", "FINISHED", 30)
    writer.close()
    found = segments.segments(segments.writers(tmp_path / "journal")[0])
    assert len(found) > 4
    return found


@pytest.mark.parametrize("number", [0, 2])
def test_a_missing_segment_is_told_until_it_is_put_back(
    in_segments: list[Path], number: int, tmp_path: Path, folder: Path
) -> None:
    segment = in_segments[number]
    content = segment.read_bytes()
    segment.unlink()
    name, target = f"{segment.parent.name}/{segment.name}", MemoryBackend()
    assert name in receipt_of(tmp_path, folder).why  # as with --dry-run
    for _ in "again":
        deliver(tmp_path, folder, target)
        receipt = receipt_of(tmp_path, folder)
        assert f"missing from the journal: {name}" in receipt.why
        assert receipt.dropped == 1 + len(load_rejected(folder)) and receipt.pending == 0
    segment.write_bytes(content)
    deliver(tmp_path, folder, target)
    assert "missing from" not in receipt_of(tmp_path, folder).why and list(target.runs) == ["a"]


def test_a_segment_that_went_after_its_delivery_is_not_missed(
    in_segments: list[Path], tmp_path: Path, folder: Path
) -> None:
    deliver(tmp_path, folder, MemoryBackend())
    in_segments[1].unlink()
    assert receipt_of(tmp_path, folder).complete
    (folder / "state.json").unlink()
    assert not receipt_of(tmp_path, folder).complete


def test_files_of_a_desktop_are_no_segments(in_segments: list[Path], tmp_path: Path, folder: Path) -> None:
    (in_segments[0].parent / "._000001.jnl").write_bytes(b"\0\5\x16\7")
    (in_segments[0].parent.parent / ".DS_Store").write_bytes(b"\0")
    deliver(tmp_path, folder, MemoryBackend())
    assert receipt_of(tmp_path, folder).complete


def test_the_rows_show_runs_before_and_after_delivery(journal: JournalBackend, tmp_path: Path, folder: Path) -> None:
    write_a_bit_of_everything(journal, tmp_path)
    before = {row.uid: (row.run_id, row.status, row.pending) for row in run_rows(tmp_path, folder)}
    assert before == {"pipe": ("", "FINISHED", 3), "child": ("", "FINISHED", 8)}
    deliver(tmp_path, folder, MemoryBackend())
    after = {row.uid: (row.run_id, row.status, row.delivered, row.pending) for row in run_rows(tmp_path, folder)}
    assert after == {"pipe": ("memory-0", "FINISHED", 3, 0), "child": ("memory-1", "FINISHED", 8, 0)}


def test_an_outage_is_counted_once(journal: JournalBackend, tmp_path: Path, folder: Path) -> None:
    from nertrail.tracking.state import load_health

    journal.start(RunStart("a", "a", "e", 1))
    uploader = Uploader(tmp_path, folder, Failing(after=0))
    for _ in range(3):
        uploader._breaker.worked()
        assert not uploader.step()
    assert (load_health(folder).outage, load_health(folder).state) == (1, "waiting")


class Strict(MemoryBackend):
    """Takes the ends of runs that MLflow takes."""

    def end(self, uid: str, status: str, at_ms: int) -> None:
        if status not in ("FINISHED", "FAILED", "KILLED"):
            raise Rejected(f"no such status: {status}")
        super().end(uid, status, at_ms)


@pytest.mark.parametrize(("said", "seen"), [("finished", "FINISHED"), ("RUNNING", "FAILED"), ("done?", "FAILED")])
def test_a_journal_with_an_unknown_status_closes_its_run(
    said: str, seen: str, journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    target = Strict()
    journal.start(RunStart("a", "a", "e", 1))
    journal.end("a", said, 5)
    deliver(tmp_path, folder, target)
    assert (target.runs["a"].status, target.runs["a"].end_ms) == (seen, 5)


def test_a_run_whose_end_was_refused_in_an_earlier_release_is_closed(
    journal: JournalBackend, tmp_path: Path, folder: Path
) -> None:
    target = Strict()
    journal.start(RunStart("a", "a", "e", 5))
    deliver(tmp_path, folder, target)
    progress = load_progress(folder)
    progress.runs["a"].status = "finished"
    save_progress(folder, progress)
    deliver(tmp_path, folder, target)
    assert target.runs["a"].status == "RUNNING"  # its writer lives
    journal.close()
    deliver(tmp_path, folder, target)
    assert (target.runs["a"].status, target.runs["a"].end_ms) == ("FINISHED", 5)
