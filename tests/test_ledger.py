"""What is done, of what, in which runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nertrail.errors import InputError
from nertrail.ledger import Entry, Ledger, fingerprint, forced, parsed
from nertrail.records import write_json


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def test_an_interrupted_step_keeps_its_run(ledger: Ledger) -> None:
    assert ledger.begin("training", "a").uid == ledger.begin("training", "a").uid


@pytest.mark.parametrize("end", ["changed", "failed", "done"])
def test_a_step_that_is_done_again_gets_a_new_run(ledger: Ledger, end: str) -> None:
    first = ledger.begin("training", "a")
    if end == "failed":
        ledger.fail(first, 1.0)
    if end == "done":
        ledger.finish(first, {}, 1.0)
    second = ledger.begin("training", "b" if end == "changed" else "a")
    assert second.uid != first.uid
    assert second.superseded == first.uids


def test_only_a_finished_unchanged_step_is_done(ledger: Ledger) -> None:
    entry = ledger.begin("selection", "a")
    assert not ledger.is_done("selection", "a")
    ledger.finish(entry, {"x": 1}, 2.0)
    assert ledger.is_done("selection", "a")
    assert not ledger.is_done("selection", "b")
    kept = ledger.entry("selection")
    assert kept is not None
    assert (kept.result, kept.seconds) == ({"x": 1}, 2.0)


def test_the_pipeline_keeps_its_run_whatever_changes(ledger: Ledger) -> None:
    first = ledger.reopen("pipeline", "a")
    ledger.finish(first, None, 1.0)
    assert ledger.reopen("pipeline", "b").uid == first.uid


def test_entries_come_in_the_order_they_began(ledger: Ledger) -> None:
    for step in ("sweep-x", "benchmark-trials", "conversion-onnx_fp32"):
        ledger.begin(step, "a")
    assert [entry.step for entry in ledger.entries()] == ["sweep-x", "benchmark-trials", "conversion-onnx_fp32"]


def test_fingerprints_follow_their_parts() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_force_names_a_stage_or_a_step() -> None:
    assert forced("sweep-minilm-l6", {"sweep"})
    assert forced("sweep-minilm-l6", {"sweep-minilm-l6"})
    assert not forced("sweep-minilm-l6", {"sweep-minilm-l3", "training"})


def test_a_moved_run_dir_is_read_where_it_lies(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    ledger = Ledger(before)
    kept = write_json(before / "artifacts" / "scores.json", {})
    ledger.finish(ledger.begin("training", "f"), {"files": [str(kept)], "elsewhere": "/data/x"}, 1.0)
    before.rename(after)
    entry = Ledger(after).entry("training")
    assert entry is not None
    assert entry.result == {"files": [str(after / "artifacts" / "scores.json")], "elsewhere": "/data/x"}


def test_a_step_whose_files_are_gone_is_not_done(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    kept = write_json(tmp_path / "model.json", {})
    ledger.finish(ledger.begin("training", "f"), {"path": str(kept), "note": "elsewhere/model"}, 1.0)
    assert ledger.is_done("training", "f")
    kept.unlink()
    assert not ledger.is_done("training", "f")


@pytest.mark.parametrize("gone", ["model.json", "deep/weights.json"])
def test_a_step_of_whose_folder_a_file_is_gone_is_not_done(tmp_path: Path, gone: str) -> None:
    ledger = Ledger(tmp_path)
    kept = [write_json(tmp_path / "checkpoint" / name, {}) for name in ("model.json", "deep/weights.json")]
    ledger.finish(ledger.begin("training", "f"), {"path": str(kept[0].parent)}, 1.0)
    assert ledger.is_whole("training")
    (tmp_path / "checkpoint" / gone).unlink()
    assert not ledger.is_whole("training")


def test_a_retired_step_begins_anew(ledger: Ledger) -> None:
    first = ledger.begin("sweep-x", "f")
    ledger.finish(first, {}, 1.0)
    ledger.retire(first)
    assert not ledger.is_done("sweep-x", "f")
    again = ledger.begin("sweep-x", "f")
    assert again.uid != first.uid
    assert again.superseded == first.uids


@pytest.mark.parametrize("spelling", [".", "", "../run"])
def test_a_relative_run_dir_is_read_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    before, after = tmp_path / "run", tmp_path / "after"
    before.mkdir()
    monkeypatch.chdir(before)
    ledger = Ledger(Path(spelling))
    kept = write_json(before / "model.json", {})
    ledger.finish(ledger.begin("training", "f"), {"path": str(kept)}, 1.0)
    ledger.close()
    before.rename(after)
    entry = Ledger(after).entry("training")
    assert entry is not None
    assert entry.result == {"path": str(after / "model.json")}
    (after / "model.json").unlink()
    assert not Ledger(after).is_done("training", "f")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"step": "training", "state": "halted"}', None],
    ids=["empty", "half", "list", "null", "binary", "deep", "unknown state", "folder"],
)
def test_what_is_no_record_of_a_step_is_told(tmp_path: Path, content: bytes | None) -> None:
    ledger, path = Ledger(tmp_path), tmp_path / "results" / "training.json"
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_bytes(content)
    for read in (
        ledger.entries,
        ledger.check,
        lambda: ledger.entry("training"),
        lambda: ledger.is_done("training", ""),
    ):
        with pytest.raises(InputError, match="is no record of a step") as caught:
            read()
        assert (caught.value.place, "remove it" in str(caught.value.remedy)) == (str(path), True)
    assert [each.name for each in tmp_path.iterdir()] == ["results"]


def test_a_result_of_another_shape_is_told() -> None:
    entry = Entry(step="training", fingerprint="f", state="done", uids={"": "u"}, result={"x": "y"})
    assert parsed(entry, dict[str, str]) == {"x": "y"}
    with pytest.raises(InputError, match="x: Input should be a valid integer") as caught:
        parsed(entry, dict[str, int])
    assert caught.value.place == "results/training.json"
