"""What the measurement of inference makes of its numbers, and of rivals that are not installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nertrail.ner.documents import Document, Span

PERF = Path(__file__).parents[2] / "perf"
KINDS = ("short x1", "128 x1", "short x8")


@pytest.fixture
def goals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PERF))
    return importlib.import_module("goals")


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PERF))
    return importlib.import_module("rivals")


def seed(ratio: float, *models: str, f1: float = 0.5) -> dict[str, Any]:
    """What is found with one seed: each model `ratio` times as fast as PyTorch, and of an F1 beside PyTorch's 0.5."""
    times = {"times_torch": {"ratio": ratio}, "times_onnx_fp32": {"ratio": ratio / 2}}
    return {
        "sizes": {model: 3.95 for model in models},
        "latency": {kind: {model: times for model in models} for kind in KINDS},
        "f1": {"torch": {"f1": 0.5}, **{model: {"f1": f1} for model in models}},
        "conversion_cpu_seconds": {"onnx_fp32": 4.0, "onnx_int8": 12.0},
        "max_abs_diff": 5e-6,
    }


def told(found: list[Any]) -> dict[str, tuple[str, str, int, str]]:
    return {row.what: (row.value, row.spread, row.n, row.goal) for row in found}


def test_a_number_stands_beside_its_goal_met_or_missed(goals: ModuleType) -> None:
    found = told(goals.rows({"seeds": {"1": seed(4.0, "plain"), "2": seed(6.0, "plain"), "3": seed(5.5, "plain")}}))
    assert found["plain, short x1, times PyTorch"] == ("5.50", "4.00 to 6.00", 3, ">= 5")
    assert found["plain, short x1, times ONNX fp32"] == ("2.75", "2.00 to 3.00", 3, ">= 2")
    assert found["conversion to onnx_fp32, parity included, CPU s"] == ("4.00", "4.00 to 4.00", 3, "<= 10")
    assert found["conversion to onnx_int8, parity included, CPU s"] == ("12.00", "12.00 to 12.00", 3, "<= 10")
    assert found["fp32 logits off PyTorch's, millionths"] == ("5.00", "5.00 to 5.00", 3, "<= 20")


def test_only_what_was_made_has_a_row(goals: ModuleType) -> None:
    """A gate may be failed under one seed, or under all."""
    one = told(goals.rows({"seeds": {"1": seed(5.0, "plain", "gated", f1=0.49), "2": seed(5.0, "plain")}}))
    assert one["gated, share of PyTorch's test F1"] == ("0.9800", "0.9800 to 0.9800", 1, ">= 0.99")
    assert one["plain, times smaller"] == ("3.95", "3.95 to 3.95", 2, ">= 3.9")
    none = told(goals.rows({"seeds": {"1": seed(5.0, "plain")}}))
    assert not [what for what in none if what.startswith(("gated", "end to end", "start to"))]


def test_rivals_are_compared_round_by_round(goals: ModuleType) -> None:
    seconds = {
        "nertrail": [1.0, 2.0],
        "pipeline, default": [11.0, 24.0],
        "nertrail, long": [1.0, 1.0],
        "pipeline with stride, long": [4.0, 4.0],
    }
    end_to_end = {"cpu_seconds": seconds, "f1": {"nertrail": 0.5, "pipeline, first": 0.48, "pipeline, max": 0.51}}
    cold = {name: {"wall": [0.2], "cpu": [0.2], "mb": [160.0]} for name in ("nertrail", "pipeline")}
    found = told(goals.rows({"seeds": {"1": seed(5.0, "plain")}, "end_to_end": end_to_end, "cold_start": cold}))
    assert found["end to end, times pipeline, default"] == ("11.50", "11.00 to 12.00", 2, ">= 10")
    assert not [what for what in found if "spaCy" in what]
    assert found["long documents, times pipeline with stride"] == ("4.00", "4.00 to 4.00", 2, ">= 4.5")
    assert found["test F1 above the pipeline's best decoding"] == ("-0.0100", "-0.0100 to -0.0100", 1, ">= 0")
    assert found["start to first prediction, nertrail, s"][3] == "<= 0.25"
    assert found["start to first prediction, nertrail, MB"] == ("160.00", "160.00 to 160.00", 1, "<= 150")
    assert found["start to first prediction, pipeline, s"][3] == ""


def test_a_pipelines_spans_are_scored_as_they_are(rivals: ModuleType) -> None:
    documents = [
        Document("a", "Anna Baker lives in Oslo.", (Span(0, 10, "PER"), Span(20, 24, "LOC"))),
        Document("b", "it was a long day.", ()),
        Document("c", "Rome", (Span(0, 4, "LOC"),)),
    ]
    parts = {
        documents[0].text: [(0, 10, "PER"), (20, 24, "ORG")],  # right, and of another type
        documents[1].text: [(0, 2, "PER")],  # made up
        documents[2].text: [(0, 4, "LOC"), (0, 4, "LOC")],  # right, told twice
    }

    def run(texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        return [[{"start": start, "end": end, "entity_group": kind} for start, end, kind in parts[t]] for t in texts]

    assert rivals.f1(run, documents) == pytest.approx(2 * 2 / (3 + 4))
    assert rivals.f1(lambda texts: [[] for _ in texts], documents) == 0


def test_spacy_is_skipped_where_it_is_not_installed(rivals: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "spacy.py").write_text("raise ImportError('No module named spacy')\n", encoding="utf-8")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    spacy = rivals.Spacy(["Anna lives in Oslo."], str(python))
    assert spacy.told == {"skipped": "No module named spacy"}
    assert spacy.calls() == {}
    spacy.close()


@pytest.mark.soak
def test_the_script_knows_what_it_imports() -> None:
    command = [sys.executable, str(PERF / "inference.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "--spacy-python" in done.stdout) == (0, True), done.stderr
