"""Values that no setting can have are told as the experiment is read, with line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_experiment
from nertrail.errors import ConfigError
from nertrail.experiment import Experiment, find_config, load_experiment
from nertrail.numbers import name_problem

HUGE = 10**30
IMPOSSIBLE: list[tuple[str, Any]] = [
    ("seed", -1),
    ("seed", 2**32),
    ("seed", True),
    ("data.split.seed", -1),
    ("hyperparameters.learning_rate", float("inf")),
    ("hyperparameters.learning_rate", 1e308),
    ("hyperparameters.learning_rate", True),
    ("hyperparameters.weight_decay", float("nan")),
    ("hyperparameters.weight_decay", 1e300),
    ("hyperparameters.batch_size", HUGE),
    ("selection.accuracy_threshold", float("inf")),
    ("selection.min_accuracy_gain", float("inf")),
    ("benchmark.threads", 1_000_000),
    ("benchmark.batch_sizes", [HUGE]),
    ("benchmark.batch_sizes", [10_000_000]),
    ("benchmark.iterations", HUGE),
    ("benchmark.max_seconds", float("inf")),
    ("sweep.max_trials", HUGE),
    ("sweep.timeout_minutes", 1e-9),
    ("training.epochs", 0),
    ("training.seeds", True),
    ("conversion.targets", ["onnx_int8", "onnx_int8"]),
    ("data.path", "d" * 5000),
    ("data.train", "a\0b"),
    ("data.train", "n" * 300),
    ("data.types", []),
    ("data.types", ["PER", "O"]),
    ("data.types", [""]),
    ("data.label_map", {"A": "  "}),
    ("data.label_map", {"A": "B\nC"}),
    ("mlflow.experiment_name", ""),
    ("mlflow.linger_s", float("inf")),
    ("sweep.storage.url", "foo"),
    ("sweep.storage", {"type": "sqlite", "url": "postgresql://host/db"}),
    ("sweep.search_space.learning_rate.high", float("inf")),
    ("sweep.search_space.batch_size", {"type": "int", "low": 1, "high": HUGE}),
]


def load(folder: Path, key: str, value: Any) -> Experiment:
    """The tiny experiment with one value changed, read from a file."""
    tree = tiny_experiment.settings(folder, Path("backbone"), {})
    *sections, name = key.split(".")
    below = tree
    for section in sections:
        below = below.setdefault(section, {})
    below[name] = value
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return load_experiment(path)


@pytest.mark.parametrize(("key", "value"), IMPOSSIBLE, ids=lambda value: str(value)[:30])
def test_impossible_values(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, key, value)
    message = str(caught.value)
    assert key.split(".")[0] in message
    assert f"{tmp_path}/tiny.yaml:" in message
    assert len(message) < 400 + len(str(tmp_path)), "what was found is not shown at length"


def test_batches_that_memory_would_not_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="10000 iterations of 4096 texts are more than"):
        load(tmp_path, "benchmark", {"iterations": 10_000, "batch_sizes": [4096]})


@pytest.mark.parametrize(
    ("key", "value", "place", "remedy"),
    [
        ("search_space.learningrate", {"type": "int", "low": 1, "high": 2}, "search_space.learningrate", "learning_ra"),
        ("search_space.batch_size.type", "log-uniform", "search_space.batch_size.type", "did you mean 'loguniform'?"),
        ("search_space.batch_size", {"type": "choice", "values": [0]}, "search_space.batch_size", "correct"),
        ("enqueue", [{"batch_size": 4}, {"batch_size": 7}], "enqueue.1.batch_size: 7 lies outside", "correct"),
        ("enqueue", [{"learning_rate": 99}], "enqueue.0.learning_rate: 99 lies outside", "correct"),
        ("enqueue", [{"batch_siz": 4}], "enqueue.0.batch_siz", "did you mean 'batch_size'?"),
        ("sampler", "tp", "sweep.sampler", "did you mean 'tpe'?"),
    ],
)
def test_a_mistake_in_a_search_is_told_at_its_own_line(
    tmp_path: Path, key: str, value: Any, place: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"sweep.{key}", value)
    assert place in caught.value.problem
    assert remedy in str(caught.value.remedy)
    assert "found {" not in str(caught.value)
    text = (tmp_path / "tiny.yaml").read_text(encoding="utf-8").splitlines()
    told = text[int(str(caught.value.place).rpartition(":")[2]) - 1]
    assert told.strip(" -").split(":")[0] in place


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("PER", None), ("Ländername 2/3", None), ("人名", None), ("O", "stands for"), ("", "is blank"),
        ("  ", "is blank"), ("A\nB", "shown"), ("\ud83d", "shown"), ("x" * 101, "longer than 100"),
    ],
)  # fmt: skip
def test_names_of_entity_types(name: str, problem: str | None) -> None:
    found = name_problem(name)
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")


@pytest.mark.parametrize("block", ["nope.yaml", ""])
def test_an_mlflow_file_that_is_not_there_is_told_at_its_key(tmp_path: Path, block: str) -> None:
    with pytest.raises(ConfigError, match=f"mlflow: there is no file '{block}'") as caught:
        load(tmp_path, "mlflow", block)
    assert str(caught.value.place).startswith(f"{tmp_path}/tiny.yaml:")
    assert "mlflow: {}" in str(caught.value.remedy)


def test_the_preset_of_mlflow_is_no_experiment() -> None:
    with pytest.raises(ConfigError, match="no such file or preset"):
        find_config("mlflow")
