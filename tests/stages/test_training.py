"""The final training: what it leaves, and that an interruption does not show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nertrail.experiment import Experiment
from nertrail.ner.checkpoint import load_checkpoint
from nertrail.records import RunRef
from nertrail.stages.inputs import Inputs
from nertrail.stages.training import TrainingResult, train_model
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker

Train = Callable[..., TrainingResult]


@pytest.fixture(scope="module")
def train(experiment: Experiment, inputs: Inputs) -> Train:
    def run(folder: Path, data: Inputs = inputs, **options: Any) -> TrainingResult:
        values = experiment.hyperparameters.with_values({"learning_rate": 5e-3, "batch_size": 8})
        return train_model(experiment.training, values, data, experiment.backbones[1], folder, **options)

    return run


@pytest.fixture(scope="module")
def trained(train: Train, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(tmp_path_factory.mktemp("trained"))


def test_an_interrupted_training_ends_like_an_uninterrupted_one(
    train: Train, trained: TrainingResult, tmp_path: Path
) -> None:
    def interrupt(_what: str, done: int, total: int) -> None:
        if done > 0.6 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, progress=interrupt)
    assert (tmp_path / "fit" / "resume").is_dir()
    resumed = train(tmp_path)
    assert resumed.metrics == trained.metrics
    assert resumed.test_metrics == trained.test_metrics
    assert not (tmp_path / "fit" / "resume").exists()


def test_texts_leave_only_when_they_may(train: Train, trained: TrainingResult, inputs: Inputs, tmp_path: Path) -> None:
    assert "errors.jsonl" not in trained.files
    assert "errors.jsonl" in train(tmp_path, replace(inputs, show_texts=True)).files


def test_a_checkpoint_is_trained_further(train: Train, tmp_path: Path) -> None:
    memory = MemoryBackend()
    tracker = MLflowTrainingTracker.over(memory)
    first = train(tmp_path / "first", tracker=tracker)
    result = train(tmp_path / "second", source_checkpoint=first.checkpoint, tracker=tracker)
    run = memory.runs[result.uid]
    assert run.tags["source_training_run"] == RunRef(first.uid)
    assert result.training_type == "continued"
    assert run.tags["training_type"] == "continued"
    assert (run.params["source_checkpoint"], run.params["data_strategy"]) == (str(first.checkpoint), "new_only")
    assert result.metrics["loss"] != first.metrics["loss"]


def test_an_untracked_checkpoint_names_no_run(trained: TrainingResult) -> None:
    assert load_checkpoint(trained.checkpoint).run_uid is None


def test_the_record_names_what_made_the_model(trained: TrainingResult, inputs: Inputs) -> None:
    record = trained.record()
    assert record.params["data_version"] == inputs.version == record.datasets[0].digest
    assert record.params["dropout"] == 0.1
    assert (record.params["precision"], record.params["score_precision"]) == ("fp32", "fp32")
    assert record.metrics["PER_support"] > 0
    assert record.metrics["test_PER_f1"] == trained.test_entity_metrics["PER_f1"]
