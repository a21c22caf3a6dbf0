"""Stages outside the pipeline: what is checked before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny_experiment
from nertrail.errors import ConfigError, InputError, ModelError
from nertrail.experiment import Experiment, load_experiment
from nertrail.ner import onnx
from nertrail.ner.checkpoint import Checkpoint
from nertrail.stages.benchmark import candidates_in
from nertrail.standalone import check_writable, convert_alone, open_steps, ui_command
from nertrail.steps import Steps


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Experiment:
    path = tiny_experiment.write(tmp_path_factory.mktemp("alone"), tiny_backbone)
    return load_experiment(path, ["training.epochs=1", "backbones.0.num_hidden_layers=1"])


@pytest.fixture(scope="module")
def run_dir(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run dir with a training in it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with open_steps(experiment, "tiny", folder) as steps:
        steps.train(experiment.backbones[0], experiment.hyperparameters)
    return folder


@pytest.fixture
def steps(experiment: Experiment, tmp_path: Path) -> Iterator[Steps]:
    with open_steps(experiment, "tiny", tmp_path / "run") as opened:
        yield opened


def checkpoint(run_dir: Path) -> Path:
    return run_dir / "checkpoints" / "training" / "fit" / "best"


def further(experiment: Experiment, source: Path) -> Experiment:
    """The experiment whose training goes on from `source`."""
    training = experiment.training.model_copy(update={"source": str(source)})
    return experiment.model_copy(update={"training": training})


def test_a_training_does_not_delete_what_it_starts_from(experiment: Experiment, run_dir: Path) -> None:
    with (
        open_steps(further(experiment, checkpoint(run_dir)), "tiny", run_dir) as steps,
        pytest.raises(ConfigError, match="lies where the new training will be written") as caught,
    ):
        steps.train(experiment.backbones[0], experiment.hyperparameters)
    assert "--run-dir" in str(caught.value.remedy)
    assert (checkpoint(run_dir) / "model.safetensors").is_file()


def test_a_training_that_goes_on_elsewhere(steps: Steps, run_dir: Path) -> None:
    steps.experiment = further(steps.experiment, checkpoint(run_dir))
    result = steps.train(steps.experiment.backbones[0], steps.experiment.hyperparameters)
    assert result.training_type == "continued"


def test_a_checkpoint_that_is_none_is_told_before_anything_is_written(steps: Steps, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        steps.experiment = further(steps.experiment, tmp_path / "nowhere")
        steps.train(steps.experiment.backbones[0], steps.experiment.hyperparameters)
    assert not steps.run_dir.exists()


def test_force_names_a_stage(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'swep' is no stage"), open_steps(experiment, "t", tmp_path / "r", ["swep"]):
        pass


def test_folds_are_dealt_before_anything_is_written(experiment: Experiment, tmp_path: Path) -> None:
    sweep = experiment.sweep.model_copy(update={"k_folds": 999})
    folded = experiment.model_copy(update={"sweep": sweep})
    with pytest.raises(ConfigError, match=r"999 folds of \d+ texts"), open_steps(folded, "tiny", tmp_path / "run"):
        pass


def test_a_run_dir_without_sweeps(steps: Steps) -> None:
    with pytest.raises(ConfigError, match="holds no finished sweep of whole") as caught:
        steps.known_sweeps()
    assert (caught.value.place, steps.run_dir.exists()) == (str(steps.run_dir), False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "onnx_int4"}, ConfigError, "'onnx_int4' is no target"),
        ({"overrides": ["conversion.opset=18"]}, ConfigError, "conversion.opset=18 overrides nothing"),
        ({"checkpoint": "nowhere", "parent_run": "abc"}, ModelError, "nowhere/nertrail.json: no such file"),
        ({"config": "nothing"}, ConfigError, "no such file or preset"),
    ],
)
def test_a_conversion_that_cannot_be_writes_nothing(
    run_dir: Path, tmp_path: Path, options: dict[str, Any], error: type[InputError], message: str
) -> None:
    given = {"checkpoint": checkpoint(run_dir), "target": "onnx_fp32", "out": tmp_path / "out", **options}
    given["checkpoint"] = Path(given["checkpoint"])
    with pytest.raises(error, match=message):
        convert_alone(**given)
    assert not (tmp_path / "out").exists()


def test_of_what_lies_in_a_run_dir_a_conversion_names_checkpoints_and_a_benchmark_all(
    tiny_checkpoint: Checkpoint, tiny_served: Path, tmp_path: Path
) -> None:
    final, trial = (tmp_path / "checkpoints" / place / "best" for place in ("training/fit", "sweep-a/trials/0"))
    served = tmp_path / "artifacts" / "conversion" / "onnx_int8"
    shutil.copytree(tiny_served, served)
    with pytest.raises(ModelError, match="no such file") as caught:
        convert_alone(tmp_path, "onnx_int8")
    assert caught.value.remedy == "name a checkpoint folder that nertrail wrote"
    for folder in (final, trial):
        shutil.copytree(tiny_checkpoint.path, folder)
    with pytest.raises(ModelError, match="no such file") as caught:
        convert_alone(tmp_path, "onnx_int8")
    assert caught.value.remedy == f"did you mean {final}, {trial}?"
    with pytest.raises(ModelError, match="no such file") as caught:
        candidates_in([tmp_path])
    assert caught.value.remedy == f"did you mean {final}, {served}, {trial}?"


def test_a_conversion_that_is_stopped_leaves_no_model(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx, "parity", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_alone(checkpoint(run_dir), "onnx_fp32", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["onnx_fp32.log.txt"]


def test_writable_folders(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written") as caught:
        check_writable(tmp_path / "file" / "below")
    assert caught.value.place == str(tmp_path / "file")


@pytest.mark.parametrize(
    ("uri", "environment", "line"),
    [
        (None, None, "mlflow ui"),
        (None, "http://host:5000", "http://host:5000"),
        ("sqlite:///x.db", "http://host:5000", "mlflow ui --backend-store-uri sqlite:///x.db"),
    ],
)
def test_how_to_look_at_the_runs(
    monkeypatch: pytest.MonkeyPatch, uri: str | None, environment: str | None, line: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if environment:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert ui_command(uri) == line
