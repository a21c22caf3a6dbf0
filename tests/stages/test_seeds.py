"""Several seeds: their runs, their numbers, and that an interruption costs none twice."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nertrail.experiment import Experiment
from nertrail.ner import trainer
from nertrail.stages.inputs import Inputs
from nertrail.stages.seeds import SeedScores, compared, summarize
from nertrail.stages.training import TrainingResult, train_model
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker

VALUES = [0.40, 0.44, 0.43, 0.47, 0.39]


def test_a_single_seed_says_nothing_of_chance() -> None:
    scores = [SeedScores.of(seed, "u", {"loss": value}) for seed, value in enumerate(VALUES)]
    assert summarize(scores[:1]) == {}
    shown = summarize(scores)
    assert shown["n_seeds"] == 5
    assert set(shown) == {"n_seeds", *(f"seeds_{what}_loss" for what in ("mean", "std", "ci_low", "ci_high"))}


@pytest.fixture
def train(experiment: Experiment, inputs: Inputs, tmp_path: Path) -> Callable[..., TrainingResult]:
    """Train with three seeds, always in the same folder, over the same backend."""

    def run(memory: MemoryBackend, seeds: int = 3) -> TrainingResult:
        config = experiment.training.model_copy(update={"epochs": 1, "seeds": seeds})
        values = experiment.hyperparameters.with_values({"learning_rate": 5e-3})
        tracker = MLflowTrainingTracker.over(memory)
        return train_model(config, values, inputs, experiment.backbones[1], tmp_path, tracker=tracker, uid="u")

    return run


def test_each_seed_has_a_run_below_the_training(train: Any, tmp_path: Path) -> None:
    memory = MemoryBackend()
    result = train(memory)
    below = [run for run in memory.runs.values() if run.tags["mlflow.runType"] == "seed"]
    assert [(run.params["random_seed"], run.tags["seed"]) for run in below] == [(1, 1), (2, 2), (3, 3)]
    assert all(run.tags["mlflow.parentRunId"].uid == "u" and run.status == "FINISHED" for run in below)
    values = [run.metrics["test_loss"] for run in below]
    assert len(set(values)) == 3 and values[0] == result.test_metrics["loss"]
    assert memory.runs["u"].metrics["seeds_mean_test_loss"] == pytest.approx(statistics.fmean(values))
    assert result.record().metrics["n_seeds"] == 3
    assert {path.name for path in tmp_path.rglob("*.safetensors")} == {"model.safetensors"}
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1, "only the first seed's model stays"


def test_the_first_seed_is_the_model_that_one_seed_gives(train: Any) -> None:
    assert train(MemoryBackend()).metrics == train(MemoryBackend(), 1).metrics


def test_a_seed_that_is_done_is_not_done_again(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = trainer.fit, list[int]()

    def fit(*given: Any, **named: Any) -> Any:
        if len(seen) == 2:
            seen.append(0)
            raise KeyboardInterrupt
        seen.append(given[5].seed)
        return real(*given, **named)

    monkeypatch.setattr(trainer, "fit", fit)
    memory = MemoryBackend()
    with pytest.raises(KeyboardInterrupt):
        train(memory)
    train(memory)
    assert seen == [1, 2, 0, 1, 3]
    assert [run.tags["mlflow.runType"] for run in memory.runs.values()].count("seed") == 3


def test_ends_of_intervals_and_counts_of_mistakes_are_no_scores() -> None:
    validation = {"loss": 0.5, "macro-f1-span": 0.7, "macro-f1-span_ci_low": 0.1, "errors_type": 3.0}
    test = {"macro-f1": 0.6, "micro-f1-span_ci_high": 0.2, "errors_missed": 4.0}
    assert compared(validation, test) == {"loss": 0.5, "macro-f1-span": 0.7, "test_macro-f1": 0.6}
