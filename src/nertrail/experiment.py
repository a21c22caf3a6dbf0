"""The experiment file: every stage's settings in one model, found, read and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from nertrail.config import Model, build, place_of
from nertrail.errors import ConfigError
from nertrail.numbers import Seed
from nertrail.stages.benchmark import BenchmarkConfig
from nertrail.stages.conversion import ConversionConfig
from nertrail.stages.data import DataConfig
from nertrail.stages.hyperparameters import Hyperparameters
from nertrail.stages.inputs import BackboneConfig, Inputs, WindowConfig, read_inputs
from nertrail.stages.selection import SelectionConfig
from nertrail.stages.sweep import SweepConfig
from nertrail.stages.training import TrainingConfig
from nertrail.tracking import destination
from nertrail.tracking.settings import MlflowConfig
from nertrail.yamlfile import override, read_yaml


class Experiment(Model):
    """What `nertrail run` reads. `mlflow` is a block, or the path of a file with one; without it nothing is tracked."""

    mlflow: MlflowConfig | None = None
    seed: Seed = 42
    data: DataConfig
    backbones: tuple[BackboneConfig, ...] = pydantic.Field(min_length=1)
    windows: WindowConfig = WindowConfig()
    decoding: Literal["viterbi", "argmax"] = "viterbi"
    hyperparameters: Hyperparameters = Hyperparameters()
    sweep: SweepConfig = SweepConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    selection: SelectionConfig = SelectionConfig()
    training: TrainingConfig = TrainingConfig()
    conversion: ConversionConfig = ConversionConfig()

    @pydantic.field_validator("backbones")
    @classmethod
    def _names_differ(cls, backbones: tuple[BackboneConfig, ...]) -> tuple[BackboneConfig, ...]:
        names = [backbone.name for backbone in backbones]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the name {twice[0]!r} stands for two backbones")
        return backbones

    def backbone(self, name: str) -> BackboneConfig:
        """The backbone of that name; a ConfigError names those there are."""
        for backbone in self.backbones:
            if backbone.name == name:
                return backbone
        known = ", ".join(backbone.name for backbone in self.backbones)
        raise ConfigError(f"no backbone is named {name!r}", place="backbones", remedy=f"known: {known}")

    def inputs(self, run_dir: Path | None = None) -> Inputs:
        """The data that the stages read; splits that were made before are taken from `run_dir`.

        Raises:
            InputError: the data or a backbone can't be used.
        """
        return read_inputs(self.data, self.windows, self.decoding, self.seed, backbones=self.backbones, run_dir=run_dir)

    def read(self, data: DataConfig) -> Inputs:
        """Other data, looked at as this experiment looks at its own."""
        return read_inputs(data, self.windows, self.decoding, self.seed, backbones=self.backbones)

    def to_yaml(self) -> str:
        """The resolved settings, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def find_config(name: str) -> Path:
    """The experiment file of this path, or the shipped preset of this name."""
    path = Path(name)
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return path
    preset = Path(str(resources.files("nertrail.presets"))) / f"{name}.yaml"
    if name == "mlflow" or not preset.is_file():
        known = ", ".join(sorted(p.stem for p in preset.parent.glob("*.yaml") if p.stem != "mlflow"))
        raise ConfigError("no such file or preset", place=name, remedy=f"give a path, or one of the presets: {known}")
    return preset


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read, complete and check an experiment file.

    Precedence: overrides, then the environment (MLFLOW_TRACKING_URI), then the file, then the defaults.

    Raises:
        ConfigError: names the file, the line, the key, what was found and the remedy.
    """
    tree = _with_chosen_mlflow(read_yaml(path), overrides)
    _check_mlflow(tree, path, overrides)
    tree = override(_with_mlflow(tree, path), [text for text in overrides if not _chooses_mlflow(text)])
    experiment = build(Experiment, tree, str(path), path.read_text(encoding="utf-8"), overrides)
    if experiment.mlflow and (uri := experiment.mlflow.tracking_uri):
        of_environment = uri == os.environ.get("MLFLOW_TRACKING_URI")
        destination.check(uri, "MLFLOW_TRACKING_URI" if of_environment else f"{path}: mlflow.tracking_uri")
    return experiment


def _chooses_mlflow(assignment: str) -> bool:
    return assignment.partition("=")[0].strip() == "mlflow"


def _with_chosen_mlflow(tree: Mapping[str, Any], overrides: Sequence[str]) -> Mapping[str, Any]:
    """`--set mlflow=FILE` takes another file, seen from the working directory; `--set mlflow=null` tracks nothing."""
    chosen = override(tree, [text for text in overrides if _chooses_mlflow(text)])
    block = chosen.get("mlflow")
    if isinstance(block, str) and block != tree.get("mlflow"):
        chosen["mlflow"] = str(Path(block).absolute())
    return chosen


def load_data(path: Path, overrides: Sequence[str] = ()) -> DataConfig:
    """The data section of an experiment file, which need hold no other.

    Raises:
        ConfigError: as `load_experiment`; the data are synthetic résumés, which there is nothing to check about.
    """
    tree = override({"data": read_yaml(path).get("data") or {}}, overrides)
    data = build(_DataOnly, tree, str(path), path.read_text(encoding="utf-8"), overrides).data
    if data.path is None:
        raise ConfigError("data.synthetic makes its texts itself", place=str(path), remedy="give data.path")
    return data


class _DataOnly(Model):
    data: DataConfig


def _with_mlflow(tree: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The tree with its mlflow block in place and the environment's server in it."""
    block = tree.get("mlflow")
    if block is None:
        return dict(tree)
    values = read_yaml(_mlflow_path(path, block)) if isinstance(block, str) else block
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return {**tree, "mlflow": {**values, "tracking_uri": uri} if uri and isinstance(values, dict) else values}


def _check_mlflow(tree: Mapping[str, Any], path: Path, overrides: Sequence[str]) -> None:
    """A mistake in a file of its own is told with that file's name and line; that there is none, with the key's."""
    block = tree.get("mlflow")
    if isinstance(block, str):
        file = _mlflow_path(path, block)
        if not file.is_file():
            place = place_of(("mlflow",), str(path), path.read_text(encoding="utf-8"), overrides)
            remedy = "name an mlflow.yaml, write `mlflow: {}` for the defaults, or leave it out to track nothing"
            raise ConfigError(f"mlflow: there is no file {block!r} beside this one", place=place, remedy=remedy)
        build(MlflowConfig, read_yaml(file), str(file), file.read_text(encoding="utf-8"))


def _mlflow_path(path: Path, name: str) -> Path:
    return path.parent / name
