"""The measurements of training and evaluation run on any machine; their numbers are nobody's business here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tiny_experiment
from nertrail.ner.checkpoint import Checkpoint

PERF = Path(__file__).parents[2] / "perf"


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PERF))
    return importlib.import_module("training")


def rows(script: str, *arguments: object) -> list[dict[str, object]]:
    command = [sys.executable, str(PERF / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.soak
def test_every_mode_is_a_row_and_a_second_call_goes_on(tmp_path: Path, tiny_backbone: Path) -> None:
    config, out = tiny_experiment.write(tmp_path, tiny_backbone), tmp_path / "kept.json"
    found = rows("training.py", config, "--quick", "--modes", "example,fp32:bucket", "--out", out)
    assert [(row["mode"], row["seeds"]) for row in found] == [("example", 2), ("fp32:bucket", 2)]
    kept = json.loads(out.read_text())["outcomes"]
    assert [(one["mode"], one["seed"]) for one in kept] == [
        ("example", 1),
        ("fp32:bucket", 1),
        ("fp32:bucket", 2),
        ("example", 2),
    ]
    assert rows("training.py", config, "--quick", "--modes", "example,fp32:bucket", "--out", out) == found
    assert json.loads(out.read_text())["outcomes"] == kept


@pytest.mark.soak
def test_one_checkpoint_in_every_way(tmp_path: Path, tiny_backbone: Path, tiny_checkpoint: Checkpoint) -> None:
    config = tiny_experiment.write(tmp_path, tiny_backbone)
    found = rows("evaluation.py", config, tiny_checkpoint.path, "--rounds", 2)
    assert [row["way"] for row in found] == ["example", "fp32", "bf16"]
    assert found[0]["micro_f1"] == found[1]["micro_f1"] > 0.5
    assert found[0]["times_as_fast"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "target, expected",
    [
        (0.4, 10.0),  # at the end of the first epoch
        (0.2, 5.0),  # halfway through it
        (0.5, 15.0),  # halfway through the second
        (0.6, 20.0),
        (0.61, None),  # the last is worse again
    ],
)
def test_seconds_to_a_score_are_those_of_the_mean_curve(
    training: ModuleType, target: float, expected: float | None
) -> None:
    low = training.Outcome("m", 1, [8.0, 16.0, 24.0], [0.3, 0.5, 0.4], 0.0, 1)
    high = training.Outcome("m", 2, [12.0, 24.0, 36.0], [0.5, 0.7, 0.6], 0.0, 1)
    found = training.seconds_to(target, [low, high])
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_best_so_far_never_gets_worse(training: ModuleType) -> None:
    outcome = training.Outcome("m", 1, [8.0, 16.0, 24.0], [0.3, 0.5, 0.4], 0.0, 1)
    assert outcome.kept().validation == [0.3, 0.5, 0.5]
