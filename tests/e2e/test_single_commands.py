"""Each stage by its own command, one after the other, into one run dir and one store."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

import tiny_experiment
from e2e.commands import nertrail

TOLD = ("waited for a core", "the gate rests on 47 entities only")  # of a busy machine and of the small corpus
MODEL = Path("run/checkpoints/training/fit/best")
SAME = ("--set", "training.epochs=3")  # as it is without; the next command must be told, too
STEPS: dict[str, tuple[str, ...]] = {
    "sweep": ("sweep", "tiny.yaml", "--run-dir", "run"),
    "select": ("select", "tiny.yaml", "--run-dir", "run"),
    "train": ("train", "tiny.yaml", "--run-dir", "run", "--params", "run/artifacts/selection/selection.json", *SAME),
    "convert": ("convert", str(MODEL), "--target", "onnx_fp32", "--config", "tiny.yaml", "--out", "onnx"),
    "benchmark": ("benchmark", "tiny.yaml", "--run-dir", "run", "--model", str(MODEL), "--model", "onnx/onnx_fp32"),
    "continue": ("train", "tiny.yaml", "--run-dir", "more", "--from", str(MODEL)),
    "sync": ("sync", "run"),
    "status": ("status", "run"),
}
PRINTED = {
    "sweep": ("sweep-whole: done in ", "sweep-cut", "next        nertrail select tiny.yaml --run-dir run\n"),
    "select": (
        "benchmark-trials",
        "selection",
        "wrote       run/artifacts/selection/selection.json\n",
        "nertrail train ",
    ),
    "train": (
        "training",
        "validation macro-f1-span",
        f"wrote       {MODEL}\n",
        f"nertrail convert {MODEL} --config tiny.yaml {' '.join(SAME)}\n",
    ),
    "convert": ("onnx/onnx_fp32/model_fp32.onnx", "MB", "nertrail predict onnx/onnx_fp32 FILE"),
    "benchmark": ("best-torch", "onnx_fp32-onnx_fp32", "report      run/report.html", "workflowType=machine_learning"),
    "continue": ("training", "records     "),
    "sync": ("0 pending",),
    "status": ("sweep-whole", "benchmark-models", "FINISHED"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Path:
    folder = tmp_path_factory.mktemp("single")
    tiny_experiment.write(folder, tiny_backbone, {})
    return folder


@pytest.fixture(scope="module")
def outputs(folder: Path) -> dict[str, str]:
    """What each command printed. All of them must succeed, in this order."""
    printed = {}
    for name, arguments in STEPS.items():
        done = nertrail(folder, *arguments)
        said = [line for line in done.stderr.splitlines() if not any(text in line for text in TOLD)]
        assert (done.returncode, said) == (0, []), (name, done.stdout, done.stderr)
        printed[name] = done.stdout
    return printed


@pytest.mark.parametrize("command", STEPS)
def test_it_says_what_it_did(outputs: dict[str, str], command: str) -> None:
    for part in PRINTED[command]:
        assert part in outputs[command]


def test_the_same_again_is_reused(folder: Path, outputs: dict[str, str]) -> None:
    assert nertrail(folder, *STEPS["benchmark"]).stdout.count("reused") == 2  # said when found, and in the table


def test_another_model_in_the_same_folder_is_measured_anew(folder: Path, outputs: dict[str, str]) -> None:
    labels = folder / MODEL / "nertrail.json"
    labels.write_text(json.dumps({**json.loads(labels.read_text()), "note": "changed"}), encoding="utf-8")
    assert "reused" not in nertrail(folder, *STEPS["benchmark"]).stdout


def test_models_timed_by_hand_are_in_the_report(folder: Path, outputs: dict[str, str]) -> None:
    assert "<td>onnx_fp32-onnx_fp32</td>" in (folder / "run" / "report.html").read_text(encoding="utf-8")


def test_the_selection_names_checkpoints_from_its_own_folder(folder: Path, outputs: dict[str, str]) -> None:
    path = folder / "run" / "artifacts" / "selection" / "selection.json"
    named = [verdict["candidate"]["checkpoint"] for verdict in json.loads(path.read_text())["verdicts"]]
    assert named and all((path.parent / name / "nertrail.json").is_file() for name in named)


def test_every_stage_left_its_runs(folder: Path, outputs: dict[str, str]) -> None:
    with sqlite3.connect(folder / "mlflow.db") as store:
        kinds = Counter(
            kind for (kind,) in store.execute("select value from tags where key = 'mlflow.runType'").fetchall()
        )
        statuses = {status for (status,) in store.execute("select status from runs").fetchall()}
        assert {name: kinds[name] for name in ("sweep", "trial", "selection", "training", "conversion")} == {
            "sweep": 2,
            "trial": 4,
            "selection": 1,
            "training": 2,
            "conversion": 1,
        }
        assert statuses == {"FINISHED"}
        rows = "select run_uuid, value from tags where key = 'source_training_run'"
        runs = {run for (run,) in store.execute("select run_uuid from runs").fetchall()}
        sources = [source for _, source in store.execute(rows).fetchall()]
    assert len(sources) == 2 and set(sources) <= runs  # the conversion's and the continued training's
