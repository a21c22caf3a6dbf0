"""What makes a step's fingerprint: everything its result depends on, and what settings only name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny
import tiny_experiment
from nertrail.experiment import Experiment, load_experiment
from nertrail.ner.checkpoint import Checkpoint
from nertrail.steps import Steps, contents
from nertrail.trackers import Trackers

Marks = dict[str, str]
SHOWN = ["data.show_texts=true"]
TYPED = ["data.types=[LOC, ORG, PER, MISC]"]


@pytest.fixture
def backbone(tmp_path: Path, tiny_backbone: Path) -> Path:
    """A backbone of one's own, to be changed."""
    return Path(shutil.copytree(tiny_backbone, tmp_path / "backbone"))


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Path) -> Any:
    """The fingerprints of sweep and training, and what the pipeline's is made of besides the settings."""
    monkeypatch.setattr(Steps, "_step", lambda self, step, kind, mark, *_, **__: mark)
    path = tiny_experiment.write(tmp_path, backbone)

    def of(overrides: list[str] | None = None) -> Marks:
        experiment: Experiment = load_experiment(path, overrides or [])
        run_dir = tmp_path / "run"
        inputs = experiment.inputs(run_dir)
        steps = Steps(experiment, run_dir, inputs, Trackers(None, "t", run_dir))
        whole: Any = experiment.backbones[0]
        found: dict[str, Any] = {
            "sweep": steps.sweep(whole),
            "training": steps.train(whole, experiment.hyperparameters),
            "contents": str(contents(experiment, inputs)),
        }
        return found

    return of


def changed(before: Marks, after: Marks) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("overrides", "again"),
    [(TYPED, {"sweep", "training"}), (SHOWN, {"training"}), (["conversion.opset=18"], set())],
    ids=["types", "show_texts", "opset"],
)
def test_settings_that_a_step_depends_on(marks: Any, overrides: list[str], again: set[str]) -> None:
    assert changed(marks(), marks(overrides)) == again


def test_other_weights_in_a_backbones_folder(marks: Any, backbone: Path) -> None:
    before = marks()
    assert marks() == before
    tiny.build_backbone(backbone, seed=7)
    assert changed(before, marks()) == {"sweep", "training", "contents"}


@pytest.mark.parametrize("file", ["model.safetensors", "nertrail.json"])
def test_another_checkpoint_in_the_place_of_a_source(
    marks: Any, tmp_path: Path, tiny_checkpoint: Checkpoint, file: str
) -> None:
    source = Path(shutil.copytree(tiny_checkpoint.path, tmp_path / "source"))
    overrides = [f"training.source={source}"]
    before = marks(overrides)
    (source / file).write_bytes((source / file).read_bytes() + b" ")
    assert changed(before, marks(overrides)) == {"training", "contents"}
