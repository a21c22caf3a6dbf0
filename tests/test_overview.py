"""What the pipeline's run shows of its stages, and what the report says of where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tiny
from nertrail import __version__, overview
from nertrail.experiment import Experiment
from nertrail.ledger import Ledger
from nertrail.stages.benchmark import BenchmarkResult
from nertrail.stages.selection import SelectionCandidate, SelectionConfig, run_selection
from nertrail.steps import Steps
from nertrail.trackers import Trackers


def _keep(ledger: Ledger, step: str, result: Any) -> None:
    ledger.finish(ledger.begin(step, "mark"), result, 1.0)


def _timed(backend: str, ms: float) -> dict[str, Any]:
    report = {"hardware": {"cpu": "A processor", "cores": 2, "isa": "avx2"}, "batches": {"1": {"mean_ms": ms}}}
    base: dict[str, Any] = {"uid": "u", "name": f"final-{backend}", "backbone": "a", "source": "conversion"}
    return BenchmarkResult(**base, backend=backend, report=report, path=Path("b")).model_dump(mode="json")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A run dir in which everything is chosen and timed."""
    candidate = SelectionCandidate(name="a-trial-3", backbone="a", params={}, score=0.9)
    ledger = Ledger(tmp_path)
    chosen = run_selection(SelectionConfig(), [candidate], tmp_path / "artifacts" / "selection")
    _keep(ledger, "selection", chosen.model_dump(mode="json"))
    _keep(ledger, "benchmark-final", [_timed("torch", 12.5), _timed("onnx_int8", 4.5)])
    return ledger


def test_the_choice_is_in_tags_and_the_times_are_in_metrics(ledger: Ledger, tmp_path: Path) -> None:
    record = overview.record(ledger, "abc", tmp_path, ["Look here."])
    assert record.metrics == {"torch_latency_batch_1_ms": 12.5, "onnx_int8_latency_batch_1_ms": 4.5}
    note = str(record.tags["mlflow.note.content"]).split("\n\n")
    assert note[0].startswith("a-trial-3 has the best macro-f1-span") and note[1:] == [
        f"Run dir: {tmp_path}",
        "Look here.",
    ]
    assert {name: value for name, value in record.tags.items() if name != "mlflow.note.content"} == {
        "data_version": "abc",
        "selected_backbone": "a",
        "selected_candidate": "a-trial-3",
    }
    assert not record.params, "a step that is done again may choose anew, and a param can't change"


def test_a_run_dir_that_has_only_begun_has_little_to_show(tmp_path: Path) -> None:
    record = overview.record(Ledger(tmp_path), "abc", tmp_path)
    assert (set(record.metrics), set(record.tags)) == (set(), {"data_version", "mlflow.note.content"})


def test_the_report_says_where_it_comes_from(ledger: Ledger, tmp_path: Path) -> None:
    tiny.write_corpus(tmp_path / "corpus")
    _keep(ledger, "benchmark-models", [])
    values = {"data": {"path": str(tmp_path / "corpus")}, "backbones": [{"name": "a", "source": "s"}]}
    experiment = Experiment.model_validate(values)
    inputs = experiment.inputs()
    about = overview.about(Steps(experiment, tmp_path, inputs, Trackers(None, "t", tmp_path)))
    sizes = ", ".join(f"{name} {len(texts)}" for name, texts in inputs.dataset.splits.items())
    assert about["data"] == f"{tmp_path / 'corpus'} (texts: {sizes})"
    assert about["machine"] == "A processor, cores: 2, avx2"
    assert (about["nertrail"], about["run dir"], about["data version"]) == (__version__, str(tmp_path), inputs.version)
    assert about["written"][:2] == "20"
