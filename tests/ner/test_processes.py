"""Trainings in processes of their own: killed and taken up again, and two that train together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fitting
import pytest
import torch

import tiny
from nertrail.ner.evaluation import evaluate
from nertrail.ner.predictor import TorchRecognizer, run
from nertrail.ner.windows import encode

HERE = Path(__file__).parent
FITTING = str(HERE / "fitting.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(*command: str) -> subprocess.CompletedProcess[str]:
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    threads = str(torch.get_num_threads())  # sums round differently with another number of them
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": threads}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def weights(folder: Path) -> bytes:
    return (folder / "best" / "model.safetensors").read_bytes()


def test_a_killed_training_ends_as_if_it_had_not_been(tiny_backbone: Path, tmp_path: Path) -> None:
    whole = fitting.training(tiny_backbone, tmp_path / "whole")
    killed = start(sys.executable, FITTING, str(tiny_backbone), str(tmp_path / "cut"), "18")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "cut" / "resume" / "checkpoint-10").is_dir(), "it was killed in its second epoch"
    rest = fitting.training(tiny_backbone, tmp_path / "cut")
    assert rest.history == whole.history
    assert (rest.best_epoch, rest.scores) == (whole.best_epoch, whole.scores)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.fixture(scope="module")
def together(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave that train one model."""
    folder = tmp_path_factory.mktemp("together")
    done = start(*TORCHRUN, FITTING, str(tiny_backbone), str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.soak
def test_accelerate_starts_them_as_torchrun_does(together: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    """`--multi_gpu` is its name for several processes; with `--cpu` it starts one, whatever their number."""
    launch = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
    options = ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    done = start(*launch, *options, "--main_process_port", "0", FITTING, str(tiny_backbone), str(tmp_path))
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        name = f"report-{rank}.json"
        assert (tmp_path / name).read_text() == (together / name).read_text()
    assert weights(tmp_path) == weights(together)


class TestTwoProcesses:
    def report(self, folder: Path, rank: int) -> Any:
        return json.loads((folder / f"report-{rank}.json").read_text(encoding="utf-8"))

    def test_both_know_the_same_numbers(self, together: Path) -> None:
        first, second = self.report(together, 0), self.report(together, 1)
        assert (first["rank"], second["rank"]) == (0, 1)
        assert first["metrics"] == second["metrics"]
        assert first["history"] == second["history"]

    def test_the_numbers_are_those_of_all_texts(self, together: Path) -> None:
        checkpoint = fitting.load_checkpoint(together / "best")
        texts = encode(tiny.documents(16, 2), checkpoint.tokenizer(), checkpoint.labels, checkpoint.windows)
        scores = evaluate(texts, run(TorchRecognizer(checkpoint), texts), checkpoint.decoding)
        assert scores.metrics() == pytest.approx(self.report(together, 0)["metrics"], abs=1e-6)

    def test_they_share_the_steps(self, together: Path) -> None:
        (kept,) = (together / "resume").glob("checkpoint-*")
        assert kept.name == "checkpoint-15", "40 windows, 4 in each of 2 processes: 5 steps in each of 3 epochs"

    def test_files_are_those_of_one(self, together: Path, tiny_backbone: Path, tmp_path: Path) -> None:
        fitting.training(tiny_backbone, tmp_path)
        alone, both = ({path.name for path in (folder / "best").iterdir()} for folder in (tmp_path, together))
        assert alone == both
