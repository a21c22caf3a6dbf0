"""What is done, of what, in which runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nertrail.ledger import Ledger, fingerprint, forced


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
