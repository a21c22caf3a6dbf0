"""The command line: quick to start, and with the right exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from e2e.commands import nertrail

LOADED = "import sys; {}; print(sorted({{'torch', 'mlflow', 'transformers', 'optuna'}} & set(sys.modules)))"


@pytest.mark.parametrize(
    "code",
    [
        "import nertrail",
        "import nertrail.cli",
        "from typer.testing import CliRunner; from nertrail.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker",
    ],
)
def test_light_things_load_nothing_heavy(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED.format(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nosuch"), 2, "no such file or preset"),
        (("run", "missing.yaml"), 2, "missing.yaml: no such file"),
        (("run", "quickstart", "--force", "swep"), 2, "'swep' is no stage"),
        (("convert", "nowhere", "--target", "onnx_int4"), 2, "'onnx_int4' is no target"),
        (("convert", "nowhere"), 2, "nertrail.json: no such file"),
        (("status", "nowhere"), 2, "nowhere: no such folder"),
        (("sync", "nowhere"), 2, "holds no journal"),
        (("train", "quickstart", "--set", "training.epoch=3"), 2, "did you mean 'epochs'?"),
    ],
)
def test_bad_input_ends_with_one_message(tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = nertrail(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_version(tmp_path: Path) -> None:
    assert nertrail(tmp_path, "--version").stdout == "nertrail 0.1.0\n"
