"""A tiny experiment's data and settings, read once per module."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_experiment
from nertrail.experiment import Experiment, load_experiment
from nertrail.stages.inputs import Inputs, read_inputs


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Experiment:
    return load_experiment(tiny_experiment.write(tmp_path_factory.mktemp("experiment"), tiny_backbone))


@pytest.fixture(scope="module")
def inputs(experiment: Experiment) -> Inputs:
    return read_inputs(experiment.data, experiment.windows, experiment.decoding, experiment.seed)
