"""A Trainer's training as a run: joined or its own, and never disturbed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from nertrail.tracking.callbacks import TransformersCallback
from nertrail.tracking.memory import MemoryBackend, MemoryRun
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.protocol import RunStart


class Line(torch.nn.Module):
    """y = w x, as small as a model can be."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": ((self.weight * x - labels) ** 2).mean()}


class Bomb(TrainerCallback):  # type: ignore[misc]
    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        raise ZeroDivisionError("in the training")


def trainer(folder: Path, *callbacks: TrainerCallback) -> Trainer:
    rows = [{"x": torch.tensor([float(n)]), "labels": torch.tensor([2.0 * n])} for n in range(16)]
    arguments = TrainingArguments(
        str(folder), num_train_epochs=1, logging_steps=1, save_strategy="no", use_cpu=True, disable_tqdm=True,
        report_to="none", learning_rate=0.5, hub_token="hf_" + "t" * 30,
    )  # fmt: skip
    return Trainer(Line(), arguments, train_dataset=rows, callbacks=list(callbacks))


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def tracker(memory: MemoryBackend) -> MLflowTrainingTracker:
    return MLflowTrainingTracker.over(memory)


def only(memory: MemoryBackend) -> MemoryRun:
    [run] = memory.runs.values()
    return run


def test_it_starts_a_run_and_ends_it(tracker: MLflowTrainingTracker, memory: MemoryBackend, tmp_path: Path) -> None:
    trainer(tmp_path, TransformersCallback(tracker)).train()
    run = only(memory)
    assert run.status == "FINISHED" and run.params == {
        "backbone": "Line", "training_type": "final", "learning_rate": 0.5, "batch_size": 8, "weight_decay": 0.0,
        "epochs": 1.0, "random_seed": 42,
    }  # fmt: skip
    assert [point.step for point in run.points if point.key == "loss"] == [1, 2]
    assert {"learning_rate", "epoch", "train_runtime"} <= run.metrics.keys()
    arguments = run.artifacts["training_arguments.json"]
    assert json.loads(arguments)["num_train_epochs"] == 1 and b"hf_t" not in arguments


def test_it_joins_a_run_and_leaves_it_open(
    tracker: MLflowTrainingTracker, memory: MemoryBackend, tmp_path: Path
) -> None:
    with tracker.start_training_run("mine", "mini") as run:
        for _ in range(2):
            trainer(tmp_path, TransformersCallback(tracker)).train()
            assert only(memory).status == "RUNNING"
        run.log_metrics({"mine": 1.0})
    assert only(memory).status == "FINISHED" and {"mine", "loss"} <= only(memory).metrics.keys()


def test_a_second_training_gets_a_run_of_its_own(
    tracker: MLflowTrainingTracker, memory: MemoryBackend, tmp_path: Path
) -> None:
    callback = TransformersCallback(tracker)
    for _ in range(2):
        trainer(tmp_path, callback).train()
    assert [run.status for run in memory.runs.values()] == ["FINISHED", "FINISHED"]


def test_a_training_that_fails_leaves_its_traceback(
    tracker: MLflowTrainingTracker, memory: MemoryBackend, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), TransformersCallback(tracker) as callback:
        trainer(tmp_path, callback, Bomb()).train()
    assert only(memory).status == "FAILED" and b"in the training" in only(memory).artifacts["traceback.txt"]


class Broken(MemoryBackend):
    def start(self, run: RunStart) -> None:
        raise RuntimeError("broken")


def test_what_breaks_here_does_not_reach_the_training(tmp_path: Path) -> None:
    callback = TransformersCallback(MLflowTrainingTracker.over(Broken()))
    assert trainer(tmp_path, callback).train().global_step == 2
    state = SimpleNamespace(is_world_process_zero=True, global_step=1)
    callback.on_train_begin(object(), state, None)
    callback.on_log(object(), state, None, {"loss": object(), "text": "x"})
    callback.on_train_end(object(), state, None)


def test_only_the_first_of_several_processes_records(tracker: MLflowTrainingTracker, memory: MemoryBackend) -> None:
    callback = TransformersCallback(tracker)
    state = SimpleNamespace(is_world_process_zero=False, global_step=1)
    callback.on_train_begin(SimpleNamespace(), state, None)
    callback.on_log(SimpleNamespace(), state, None, {"loss": 1.0})
    callback.on_train_end(SimpleNamespace(), state, None)
    assert memory.runs == {}


def test_every_kind_of_number_is_kept(tracker: MLflowTrainingTracker, memory: MemoryBackend) -> None:
    callback = TransformersCallback(tracker)
    tracker.start_training_run("r", "mini")
    state = SimpleNamespace(is_world_process_zero=True, global_step=np.int64(3))
    callback.on_train_begin(SimpleNamespace(), state, None)
    logs = {"a": np.float32(1), "b": np.int64(2), "c": torch.tensor(3.0), "d": 4, "text": "5", "none": None}
    callback.on_log(SimpleNamespace(), state, None, logs)
    assert only(memory).metrics == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert {point.step for point in only(memory).points} == {3}
