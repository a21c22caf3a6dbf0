"""What a run dir says of itself, in numbers that are all different: the page, the table and the lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nertrail import summary
from nertrail.ledger import Ledger
from nertrail.report import write_report
from nertrail.stages.benchmark import BenchmarkResult
from nertrail.stages.conversion import ConversionResult
from nertrail.stages.seeds import SeedScores
from nertrail.stages.selection import SelectionCandidate, SelectionConfig, run_selection
from nertrail.stages.sweep import SweepResult, TrialSummary
from nertrail.stages.training import TrainingResult

STEPS = ["sweep-a", "benchmark-trials", "selection", "training", "conversion-onnx_fp32", "conversion-onnx_int8"]
STEPS += ["benchmark-final"]


def _sweep() -> SweepResult:
    trials = (
        TrialSummary(number=0, uid="t0", state="COMPLETE", params={"learning_rate": 0.00123}, value=0.8123),
        TrialSummary(number=1, uid="t1", state="PRUNED", params={"learning_rate": 0.00456}),
        TrialSummary(number=2, uid="t2", state="FAIL", params={}),
    )
    base = {"backbone": "a", "study_name": "s", "metric": "macro-f1-span", "goal": "maximize", "epochs": 2}
    return SweepResult(uid="s", **base, trials=trials, best_number=0, checkpoints={0: Path("c")}, random_search=True)


def _benchmark(name: str, backend: str, ms: float) -> BenchmarkResult:
    batch = {"mean_ms": ms, "std_ms": ms / 10, "p50_ms": ms, "p95_ms": ms, "p99_ms": ms + 0.5, "n": 17}
    batches = {"1": {**batch, "throughput_samples_per_sec": 1000 / ms, "e2e": {"mean_ms": ms + 2}}}
    report = {"batches": batches, "hardware": {"cpu": "x"}, "device": "cpu", "threads": 1, "max_length": 32}
    return BenchmarkResult(
        uid="m", name=name, backbone="a", backend=backend, source="conversion", report=report, path=Path("b")
    )


def _training(folder: Path) -> TrainingResult:
    scores = {"macro-f1-span": 0.7001, "micro-f1-span": 0.7002, "macro-f1": 0.7003, "loss": 0.31}
    intervals = {"micro-f1-span_ci_low": 0.65, "micro-f1-span_ci_high": 0.75, "errors_missed": 7.0}
    entity = {"<PER>_precision": 0.61, "<PER>_recall": 0.62, "<PER>_f1": 0.63, "<PER>_support": 41.0}
    return TrainingResult(
        backbone="a",
        uid="u",
        training_type="final",
        params={"source_checkpoint": "runs/<old>"},
        comparison={"new_test_before_macro-f1": 0.2222, "new_test_after_macro-f1": 0.3333},
        seeds=tuple(SeedScores(seed=seed, uid="u", metrics={"test_macro-f1-span": 0.6 + seed / 10}) for seed in (1, 2)),
        checkpoint=folder,
        metrics={**scores, **intervals},
        entity_metrics={**entity, "ORG_f1": 0.0, "ORG_support": 0.0, "<PER>_f1_ci_low": 0.6, "<PER>_f1_ci_high": 0.66},
        test_metrics={name: value - 0.1 for name, value in scores.items()},
        test_entity_metrics={"<PER>_f1": 0.53, "<PER>_support": 40.0, "ORG_f1": 0.0, "ORG_support": 0.0},
        absent_types=("GPE",),
        best_epoch=3,
        tokens_per_second=1234.0,
        dataset_digest="abcdef",
        dataset_source="d",
        files={},
    )


def _conversion(target: Any, size: int, drop: float) -> ConversionResult:
    base = {"backbone": "a", "source": "c", "source_uid": "u", "success": True, "log_path": Path("l"), "opset": 17}
    return ConversionResult(
        uid=target, target=target, **base, onnx_bytes=size, checkpoint_bytes=91_000_000, f1_drop=drop
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A run dir with every step done but one."""
    candidates = [
        SelectionCandidate(name="a-trial-0", backbone="a", params={"learning_rate": 0.00123}, score=0.8123),
        SelectionCandidate(name="b-trial-4", backbone="b", params={"learning_rate": 0.00789}, score=0.7456),
    ]
    results: dict[str, Any] = {
        "sweep-a": _sweep(),
        "benchmark-trials": [_benchmark("a-trial-0", "torch", 12.25)],
        "selection": run_selection(SelectionConfig(), candidates, tmp_path / "selection"),
        "training": _training(tmp_path),
        "conversion-onnx_fp32": _conversion("onnx_fp32", 88_000_000, 0.0001),
        "benchmark-final": [_benchmark("final-torch", "torch", 11.75), _benchmark("final-x", "onnx_fp32", 6.5)],
        "sweep-removed": _sweep(),
    }
    ledger = Ledger(tmp_path)
    ledger.begin("pipeline", "mark")
    for step, result in results.items():
        plain = (
            [r.model_dump(mode="json") for r in result] if isinstance(result, list) else result.model_dump(mode="json")
        )
        ledger.finish(ledger.begin(step, "mark"), plain, 1.5)
    ledger.fail(ledger.begin("conversion-onnx_int8", "mark"), 2.5)
    return ledger


@pytest.fixture
def page(ledger: Ledger, tmp_path: Path) -> str:
    results = Ledger(tmp_path).shown(STEPS)
    return write_report(tmp_path / "report.html", "my <title>", results).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "cells",
    [
        ["a-trial-0", "0.8123", "", "learning_rate 0.00123", "the best score"],
        ["b-trial-4", "0.7456", "", "learning_rate 0.00789", "0.0667 behind the best score"],
        ["macro-f1-span", "0.7001", "0.6001"],
        ["loss", "0.3100", "0.2100"],
        ["micro-f1-span", "0.7002 (0.6500 to 0.7500)", "0.6002"],
        ["errors_missed", "7", ""],
        ["&lt;PER&gt;", "0.6100", "0.6200", "0.6300 (0.6000 to 0.6600)", "41", "0.5300"],
        ["ORG", "", "", "", "0", ""],
        ["1", "0.7000"],
        ["2", "0.8000"],
        ["95 %", "0.1147 to 1.3853"],
        ["new_test", "macro-f1", "0.2222", "0.3333"],
        ["torch", "91.0", "11.75 (batch 1)", "", "85.1 (batch 1)", ""],
        ["onnx_fp32", "88.0", "6.50 (batch 1)", "", "153.8 (batch 1)", "-0.0001"],
        ["0", "COMPLETE", "0.8123", "0.00123"],
        ["1", "PRUNED", "", "0.00456"],
        ["2", "FAIL", "", ""],
        ["a-trial-0", "1", "12.25", "1.23", "12.25", "12.25", "12.75", "81.6", "14.25", "17", ""],
        ["final-x", "1", "6.50", "0.65", "6.50", "6.50", "7.00", "153.8", "8.50", "17", ""],
    ],
    ids=lambda cells: cells[0],
)
def test_the_page_has_the_row(page: str, cells: list[str]) -> None:
    plain = page.replace("<td class=n>", "<td>")
    assert "".join(f"<td>{cell}</td>" for cell in cells) in plain


def test_the_page_says_what_else_there_is_to_know(page: str) -> None:
    assert "<h1>my &lt;title&gt;</h1>" in page
    assert "not measured alike" in page
    assert "So few trials are random search" in page
    assert "<h3>Trained further from runs/&lt;old&gt;</h3>" in page
    assert "best epoch 3, types absent from validation: GPE" in page
    assert "data version abcdef" in page
    assert "data:image/png;base64," not in page, "pictures that are not there are left out"
    assert "<script" not in page
    assert "http" not in page


def test_a_failed_step_is_shown_and_a_removed_one_is_not(page: str) -> None:
    assert "<td>conversion-onnx_int8</td><td>failed</td><td class=n>2.5</td>" in page
    assert "removed" not in page


def test_a_run_dir_that_has_only_begun(tmp_path: Path) -> None:
    Ledger(tmp_path).begin("sweep-a", "mark")
    page = write_report(tmp_path / "report.html", "t", Ledger(tmp_path).shown(STEPS)).read_text(encoding="utf-8")
    assert "<td>sweep-a</td><td>open</td>" in page
    assert "Final model" not in page


def test_the_table(ledger: Ledger) -> None:
    assert {line.step: line.number for line in summary.lines(ledger, STEPS)} == {
        "sweep-a": "macro-f1-span 0.8123 (1 of 3 trials, best: 0)",
        "benchmark-trials": "a-trial-0 12.2 ms (batch 1)",
        "selection": "a-trial-0, macro-f1-span 0.8123",
        "training": "validation macro-f1-span 0.7001, test macro-f1-span 0.6001; "
        "2 seeds: mean on test 0.7500 (95 % 0.1147 to 1.3853)",
        "conversion-onnx_fp32": "88.0 MB, micro-f1-span -0.0001 against PyTorch",
        "benchmark-final": "final-torch 11.8 ms (batch 1), final-x 6.5 ms (batch 1)",
    }


def test_the_final_models_side_by_side(ledger: Ledger, tmp_path: Path) -> None:
    timed = _benchmark("final-x", "onnx_fp32", 6.5)
    speedup = {"batches": {"1": {"ratio": 1.81, "low": 1.7, "high": 1.9}}}
    timed = timed.model_copy(update={"report": {**timed.report, "speedup": speedup}})
    made = _conversion("onnx_fp32", 88_000_000, 0.0001).model_copy(update={"f1": 0.6999})
    for step, result in (("benchmark-final", [_benchmark("t", "torch", 11.75), timed]), ("conversion-onnx_fp32", made)):
        plain = (
            [r.model_dump(mode="json") for r in result] if isinstance(result, list) else result.model_dump(mode="json")
        )
        ledger.finish(ledger.begin(step, "again"), plain, 1.0)
    assert summary.comparison(ledger) == [
        ("torch", "91.0 MB", "11.8 ms (batch 1)", "85.1 /s (batch 1)", "1", "0.7000"),
        ("onnx_fp32", "88.0 MB", "6.5 ms (batch 1)", "153.8 /s (batch 1)", "1.81 (1.70 to 1.90)", "0.6999"),
    ]
    assert summary.comparison(Ledger(tmp_path / "empty")) == []


def test_the_lineage(ledger: Ledger) -> None:
    found = summary.lineage(ledger, "abcdef", STEPS)
    assert found["data_version"] == "abcdef"
    assert {step["step"]: step["made_from"] for step in found["steps"]} == {
        "sweep-a": [],
        "benchmark-trials": ["sweep-a"],
        "selection": ["sweep-a", "benchmark-trials"],
        "training": ["selection"],
        "conversion-onnx_fp32": ["training"],
        "conversion-onnx_int8": ["training"],
        "benchmark-final": ["training", "conversion-onnx_fp32"],
    }
    entry = ledger.entry("training")
    assert entry is not None
    assert next(step["runs"] for step in found["steps"] if step["step"] == "training") == entry.uids
