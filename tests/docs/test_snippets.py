"""What README and docs show is run: Python as a script of its own, YAML as an experiment file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recorded
from nertrail.experiment import load_experiment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    """The code blocks of a language, each named after its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs_and_leaves_finished_runs(code: str, tmp_path: Path) -> None:
    environment = {**os.environ, "NERTRAIL_UPLOADER": "off"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs = [run for folder in (tmp_path / "runs").iterdir() for run in recorded.delivered(folder).runs.values()]
    assert runs and {run.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_an_experiment(text: str, tmp_path: Path) -> None:
    (tmp_path / "mlflow.yaml").write_bytes((ROOT / "config" / "mlflow.yaml").read_bytes())
    path = tmp_path / "snippet.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_experiment(path).backbones


def test_there_is_something_to_run() -> None:
    assert blocks("python") and blocks("yaml")
