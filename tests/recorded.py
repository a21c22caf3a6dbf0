"""The tiny experiment run with tracking, and its journal delivered to memory: real records without a server."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import yaml

import tiny_experiment
from nertrail.experiment import load_experiment
from nertrail.pipeline import run_pipeline
from nertrail.stages.inputs import read_inputs
from nertrail.stages.sweep import run_sweep
from nertrail.stages.training import train_model
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker, MLflowTrainingTracker
from nertrail.tracking.uploader import sync

# For the whole process: what is still undelivered at its exit would otherwise be sent to the working directory's store.
os.environ["NERTRAIL_UPLOADER"] = "off"


def delivered(run_dir: Path) -> MemoryBackend:
    """Every run in the journal of a run dir. A run's parent is named by the id that the backend gave it."""
    memory = MemoryBackend()
    # a name of its own: delivery to a known one would go on where the last ended
    receipt = sync(run_dir, f"memory-{uuid.uuid4().hex}", backend=memory)
    assert receipt.complete and not receipt.waiting, receipt
    return memory


def pipeline(folder: Path, backbone: Path) -> MemoryBackend:
    """The runs that `nertrail run` leaves. Needs NERTRAIL_UPLOADER=off."""
    path = tiny_experiment.write(folder, backbone, {})
    result = run_pipeline(load_experiment(path), "tiny", folder / "pipeline")
    assert not result.failures, result.failures
    return delivered(result.run_dir)


def side_paths(folder: Path, backbone: Path) -> MemoryBackend:
    """What the pipeline of the tiny experiment does not do: k-fold, a continued training, texts in artifacts."""
    experiment = load_experiment(tiny_experiment.write(folder, backbone, data=_shown(folder, backbone)))
    config = experiment.sweep.model_copy(update={"max_trials": 1, "epochs": 1, "k_folds": 2})
    training = experiment.training.model_copy(update={"epochs": 1, "seeds": 2})
    inputs = read_inputs(experiment.data, experiment.windows, experiment.decoding, experiment.seed)
    run_dir, cut, values = folder / "side", experiment.backbones[1], experiment.hyperparameters
    tracker = MLflowSweepTracker("side", run_dir=run_dir)
    sweep = run_sweep(config, values, inputs, cut, run_dir / "sweep", tracker=tracker)
    trainer = MLflowTrainingTracker("side", run_dir=run_dir)
    further = {"source_checkpoint": sweep.checkpoint, "old": inputs}
    train_model(training, values, inputs, cut, run_dir / "more", tracker=trainer, **further)
    return delivered(run_dir)


def _shown(folder: Path, backbone: Path) -> dict[str, Any]:
    data: dict[str, Any] = tiny_experiment.settings(folder, backbone)["data"]
    return {**data, "show_texts": True}


def tree(memory: MemoryBackend) -> list[tuple[str, str, str]]:
    """(kind, name, parent's name) of every run; a training, named after its uid and the choice, by its kind alone."""
    names = {run.run_id: _name(run) for run in memory.runs.values()}
    rows = ((run.tags["mlflow.runType"], _name(run), names.get(_parent(run), "")) for run in memory.runs.values())
    return sorted((str(kind), name, parent) for kind, name, parent in rows)


def _parent(run: Any) -> str:
    return str(run.tags.get("mlflow.parentRunId", ""))


def _name(run: Any) -> str:
    return "training" if run.tags["mlflow.runType"] == "training" else str(run.name)


def load_yaml(path: Path) -> Any:
    """A YAML file as plain data."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
