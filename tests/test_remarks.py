"""What a reader should not overlook is said, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nertrail.experiment import Experiment
from nertrail.ledger import Ledger
from nertrail.remarks import remarks, setback
from nertrail.stages.benchmark import BenchmarkResult
from nertrail.stages.selection import Selection, SelectionCandidate, SelectionConfig
from nertrail.stages.selection import select_best_configuration_across_studies as select
from nertrail.stages.training import TrainingResult


def experiment(**sections: Any) -> Experiment:
    backbone = {"name": "a", "source": "somewhere"}
    return Experiment.model_validate({"data": {"path": "p"}, "backbones": [backbone], **sections})


def selection(score: float, **config: Any) -> Selection:
    candidate = SelectionCandidate(name="a-trial-0", backbone="a", params={}, score=score)
    metric = config.pop("metric", "macro-f1-span")
    goal = "minimize" if metric == "loss" else "maximize"
    return select([candidate], SelectionConfig(**config), objective=metric, goal=goal)


def training(**changes: Any) -> TrainingResult:
    values = {
        "backbone": "a", "uid": "u", "training_type": "final", "params": {}, "checkpoint": "c",
        "metrics": {"macro-f1-span": 0.6, "loss": 0.5}, "entity_metrics": {}, "test_metrics": {},
        "test_entity_metrics": {}, "absent_types": (), "best_epoch": 1, "tokens_per_second": 1.0,
        "dataset_digest": "d", "dataset_source": "s", "files": {},
    }  # fmt: skip
    return TrainingResult.model_validate({**values, **changes})


def timed(busy: bool) -> BenchmarkResult:
    path = Path("run/artifacts/benchmark-final/m/benchmark.json")
    base: dict[str, Any] = {"uid": "u", "backbone": "a", "backend": "torch", "source": "hpo_trial"}
    return BenchmarkResult(name="m", **base, report={"contended": busy}, path=path)


@pytest.mark.parametrize(
    ("chosen", "config", "said"),
    [
        (0.95, {}, True),
        (0.6119, {}, False),  # 2 % of 0.6119 may be given up
        (0.6130, {}, True),
        (0.6130, {"accuracy_threshold": 0.02, "use_relative_threshold": False}, False),
        (0.6130, {"min_accuracy_gain": 0.03}, False),
        (0.6119, {"accuracy_threshold": None}, False),
        (0.6130, {"accuracy_threshold": None}, True),
        (0.5, {}, False),
        (0.45, {"metric": "loss"}, True),
        (0.55, {"metric": "loss"}, False),
    ],
)
def test_a_final_model_behind_its_trial_by_more_than_the_threshold(
    chosen: float, config: dict[str, Any], said: bool
) -> None:
    assert bool(setback(selection(chosen, **config), training(), experiment())) is said


def test_the_sentence_has_the_numbers_and_the_suspect() -> None:
    few = experiment(sweep={"epochs": 2}, training={"epochs": 1})
    assert setback(selection(0.95), training(), few) == (
        "the final model is 0.3500 worse on validation than a-trial-0, which it was chosen for "
        "(macro-f1-span 0.6000 against 0.9500); training.epochs (1) is below sweep.epochs (2)"
    )
    assert "mean over 3 folds" in setback(selection(0.95), training(), experiment(sweep={"k_folds": 3}))


@pytest.mark.parametrize("other", [{"training_type": "continued"}, {"backbone": "b"}, {"metrics": {}}])
def test_what_was_not_chosen_is_not_compared(other: dict[str, Any]) -> None:
    assert setback(selection(0.95), training(**other), experiment()) == ""


def test_remarks_are_those_of_the_steps_that_are_done(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert remarks(ledger, experiment()) == []
    result = {"selection": selection(0.95).model_dump(mode="json"), "path": "p"}
    ledger.finish(ledger.begin("selection", "m"), result, 1.0)
    ledger.finish(ledger.begin("training", "m"), training().model_dump(mode="json"), 1.0)
    for step, busy in (("benchmark-trials", False), ("benchmark-final", True)):
        ledger.finish(ledger.begin(step, "m"), [timed(busy).model_dump(mode="json")], 1.0)
    behind, waited = remarks(ledger, experiment())
    assert behind.startswith("the final model is 0.3500 worse")
    assert waited.startswith("benchmark-final: the machine was busy while timing m, ")
    assert waited.endswith("run/artifacts/benchmark-final/*/benchmark.json")
    assert remarks(ledger, experiment(), {"selection", "benchmark-final"}) == [waited]


@pytest.mark.parametrize(
    ("gate", "said"),
    [("passed", []), ("not compared", ["no validation texts"]), ("switched off", ["min_f1_share is 0"])],
)
def test_a_converted_model_that_was_not_held_to_anything(gate: str, said: list[str], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    entry = ledger.begin("conversion-onnx_int8", "mark")
    result = {
        "uid": "u", "target": "onnx_int8", "backbone": "a", "source": "s", "source_uid": None, "success": True,
        "log_path": "log", "opset": 17, "gate": gate,
    }  # fmt: skip
    ledger.finish(entry, result, 1.0)
    found = remarks(ledger, experiment())
    assert len(found) == len(said)
    assert all("onnx_int8 was not held to" in text and why in text for text, why in zip(found, said, strict=True))
