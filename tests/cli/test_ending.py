"""What the commands say at their end, and what `status` says of steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nertrail.cli import app, ending
from nertrail.experiment import Experiment
from nertrail.ledger import Ledger
from nertrail.pipeline import PipelineResult
from nertrail.records import RunRecord, RunRef
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.protocol import RunStart
from nertrail.tracking.receipt import Receipt

BASE = {"data": {"path": "p"}, "backbones": [{"name": "a", "source": "s"}]}
QUERY = "#/experiments?workflowType=machine_learning"


@pytest.mark.parametrize(
    ("mlflow", "said"),
    [
        (None, ["records     not tracked: my.yaml names no mlflow"]),
        ({}, [f"MLflow UI   mlflow ui, then http://127.0.0.1:5000/{QUERY}", "records     3 of 3 delivered"]),
        (
            {"tracking_uri": "http://host:8080/"},
            [f"MLflow UI   http://host:8080/{QUERY}", "records     3 of 3 delivered"],
        ),
    ],
    ids=["not tracked", "a store beside it", "a server"],
)
def test_where_the_records_are(
    mlflow: object, said: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    experiment = Experiment.model_validate({**BASE, "mlflow": mlflow})
    ending._print_records(experiment, "my.yaml", Receipt(written=3, delivered=3))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] if "records     3" in line else line for line in lines] == said


@pytest.mark.parametrize(
    ("targets", "failures", "said"),
    [
        (["onnx_fp16"], [], ["predict 'my runs/a' FILE"]),
        ([], [], ["convert 'my runs/a/best' --config my.yaml --set 'conversion.targets=[]'"]),
        (["onnx_int8"], ["it failed"], []),
    ],
    ids=["served", "not converted", "failed"],
)
def test_what_comes_next_can_be_done(
    targets: list[str],
    failures: list[str],
    said: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "my runs" / "a"
    ledger = Ledger(run_dir)
    ledger.finish(ledger.begin("training", "mark"), {"checkpoint": str(run_dir / "best")}, 1.0)
    experiment = Experiment.model_validate({**BASE, "conversion": {"targets": targets}})
    result = PipelineResult(run_dir, failures=failures, report=run_dir / "report.html")
    ending.print_pipeline_end(result, experiment, "my.yaml", [] if targets else ["conversion.targets=[]"])
    lines = capsys.readouterr().out.splitlines()
    prefix = "next        nertrail "
    assert [line.removeprefix(prefix) for line in lines if line.startswith(prefix)] == said


def test_remarks_stand_out(capsys: pytest.CaptureFixture[str]) -> None:
    ending.print_remarks(["look here"])
    assert capsys.readouterr().out == "! look here\n"


def test_a_step_that_was_interrupted_has_no_time(tmp_path: Path) -> None:
    Ledger(tmp_path).begin("sweep-a", "mark")
    shown = " ".join(CliRunner().invoke(app, ["status", str(tmp_path)]).stdout.split())
    assert "sweep-a begun, not finished" in shown
    assert "0.0 s" not in shown


def test_runs_that_were_done_again_are_told_apart(tmp_path: Path) -> None:
    journal = JournalBackend(tmp_path)
    for uid in ("old", "new"):
        journal.start(RunStart(uid, uid, "e", 1))
        journal.end(uid, "FINISHED", 2)
    journal.log("old", RunRecord(tags={"superseded_by": RunRef("new"), "superseded_by_uid": "new"}), 3)
    journal.close()
    shown = [line.split() for line in CliRunner().invoke(app, ["status", str(tmp_path)]).stdout.splitlines()]
    assert [words[1:3] for words in shown if words[:1] in (["old"], ["new"])] == [
        ["FINISHED,", "superseded"],
        ["FINISHED", "2"],
    ]


def test_a_folder_without_steps_has_no_table_of_them(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["status", str(tmp_path)]).stdout == ""
