"""What README and docs show is run: Python as a script of its own, YAML as an experiment file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recorded
from nertrail.experiment import load_experiment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[Any]:
    """The code blocks of a language, each named after its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


def is_prediction(block: Any) -> bool:
    return "Predictor" in block.values[0]


@pytest.mark.parametrize("code", [block for block in blocks("python") if not is_prediction(block)])
def test_python_runs_and_leaves_finished_runs(code: str, tmp_path: Path) -> None:
    run(code, tmp_path)
    runs = [run for folder in (tmp_path / "runs").iterdir() for run in recorded.delivered(folder).runs.values()]
    assert runs and {run.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize("code", [block for block in blocks("python") if is_prediction(block)])
def test_a_prediction_prints_what_a_model_finds(code: str, tiny_served: Path, tmp_path: Path) -> None:
    """The tiny model in the place of the quick start's, and a text of its corpus in the place of the page's."""
    shutil.copytree(tiny_served, tmp_path / "runs" / "quickstart" / "artifacts" / "conversion" / "onnx_int8")
    code = re.sub('(?m)^text = ".*"$', 'text = "Anna Baker lives in Oslo."', code)
    assert re.fullmatch(r"Anna Baker PER 0\.\d+\nOslo LOC 0\.\d+\n", run(code, tmp_path))


def run(code: str, folder: Path) -> str:
    """What Python prints when it runs the code in a folder."""
    environment = {**os.environ, "NERTRAIL_UPLOADER": "off"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_an_experiment(text: str, tmp_path: Path) -> None:
    (tmp_path / "mlflow.yaml").write_bytes((ROOT / "config" / "mlflow.yaml").read_bytes())
    path = tmp_path / "snippet.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_experiment(path).backbones


def test_there_is_something_to_run() -> None:
    assert blocks("yaml") and {is_prediction(block) for block in blocks("python")} == {True, False}
