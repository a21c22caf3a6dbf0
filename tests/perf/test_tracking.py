"""The measurement runs on any machine and shows every row; its numbers are nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "perf" / "tracking.py"
ROWS = (
    "a line of JSON to a file, every",
    "ours, server: one metric, back to back",
    "ours, dead server: one metric every",
    "fluent, server: one metric",
    "MLflow async, sqlite: one metric",
    "requests, ours: benchmark",
    "requests, fluent: 20-step training",
    "training, server: CPU tracked / untracked",
    "training, dead server: wall tracked / untracked",
    "training, dead server: longest step",
    "uploader, sqlite: CPU until the first run is delivered",
    "sync, sqlite: 20000 points",
    "sync, server: an artifact of 20 MB",
)


@pytest.mark.soak
@pytest.mark.backbone
@pytest.mark.server
def test_the_quick_form_shows_every_row(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [row for row in ROWS if row not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []
