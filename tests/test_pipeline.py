"""The whole chain over the two-layer model: its tree, and what a second run does and does not do again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recorded
import tiny_experiment
from nertrail import Predictor
from nertrail.errors import ConfigError, DataError, ModelError
from nertrail.experiment import load_experiment
from nertrail.ledger import Ledger
from nertrail.ner import lengths, onnx
from nertrail.ner.checkpoint import read_manifest
from nertrail.ner.serving import model_folder
from nertrail.ner.windows import WindowSettings
from nertrail.pipeline import PipelineResult, check_inputs, check_steps, check_types, run_pipeline
from nertrail.records import read_json, write_json
from nertrail.stages.attempt import Attempt
from nertrail.tracking.memory import MemoryRun

ONE = {"name": "cut", "num_hidden_layers": 1}
QUICK = ["sweep.max_trials=1", "sweep.epochs=1", "training.epochs=1", "conversion.min_f1_share=0"]
ALL = ["sweep-cut", "benchmark-trials", "selection", "training", "conversion-onnx_fp32", "benchmark-final"]
Pipeline = Callable[..., tuple[PipelineResult, list[str]]]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Pipeline:
    """Runs the tiny experiment with one backbone, one trial and one target: always the same run dir."""
    folder = tmp_path_factory.mktemp("pipeline")
    backbones = [{**ONE, "source": str(tiny_backbone)}]
    path = tiny_experiment.write(folder, tiny_backbone, backbones=backbones)

    def run(*overrides: str, force: tuple[str, ...] = (), name: str = "run") -> tuple[PipelineResult, list[str]]:
        said: list[str] = []
        base = [*QUICK, "conversion.targets=[onnx_fp32]"]
        experiment = load_experiment(path, [*base, *overrides])
        return run_pipeline(experiment, "tiny", folder / name, force=force, announce=said.append), said

    run()
    return run


def done_again(said: list[str]) -> list[str]:
    return [line.partition(":")[0] for line in said if ": starts" in line]


def test_a_second_run_does_nothing_and_says_so(pipeline: Pipeline) -> None:
    result, said = pipeline()
    assert said == ["finished and unchanged: nothing to do (--force STAGE does a stage again)"]
    assert [line.step for line in result.lines] == ALL
    assert {line.status for line in result.lines} == {"reused"}


@pytest.mark.parametrize(
    ("overrides", "force", "again"),
    [
        (["conversion.opset=18"], (), ALL[4:]),
        (["selection.accuracy_threshold=0.3"], (), ["selection"]),
        ([], ("training",), ALL[3:]),
        ([], ("benchmark-final",), ["benchmark-final"]),
    ],
)
def test_only_what_depends_on_a_change_is_done_again(
    pipeline: Pipeline, overrides: list[str], force: tuple[str, ...], again: list[str]
) -> None:
    pipeline()
    result, said = pipeline(*overrides, force=force)
    assert done_again(said) == again
    assert [line.step for line in result.lines] == ALL
    assert {line.step for line in result.lines if line.status == "reused"} == set(ALL) - set(again)
    assert {f"{step}: unchanged, reused" for step in set(ALL) - set(again)} <= set(said)


@pytest.mark.parametrize(
    ("gone", "again"),
    [
        ("report.html", []),
        ("artifacts/conversion", ALL[4:]),
        ("checkpoints/training", ALL[3:]),
        ("checkpoints/training/fit/best/tokenizer.json", ALL[3:]),
    ],
)
def test_what_is_gone_of_a_finished_run_is_made_again(pipeline: Pipeline, gone: str, again: list[str]) -> None:
    result, _ = pipeline()
    path = result.run_dir / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result, said = pipeline()
    assert (done_again(said), path.exists(), result.report) == (again, True, result.run_dir / "report.html")


def test_a_searched_window_reaches_all_that_follows(pipeline: Pipeline) -> None:
    searched = "sweep.search_space={max_length: {type: choice, values: [16]}}"
    result, _ = pipeline(searched, "sweep.enqueue=[]", name="searched")
    made = {entry.step: entry.result for entry in Ledger(result.run_dir).entries()}
    assert (made["training"]["params"]["max_length"], made["training"]["params"]["stride"]) == (16, 4)
    for folder in (made["training"]["checkpoint"], made["conversion-onnx_fp32"]["folder"]):
        assert read_manifest(Path(folder)).windows == WindowSettings(16, 4)
    timed = [*made["benchmark-trials"], *made["benchmark-final"]]
    assert [item["report"]["max_length"] for item in timed] == [16] * 3


def test_windows_that_the_texts_leave_open_are_announced(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "candidates", lambda *_: (32, 16))
    _, said = pipeline("windows.max_length=auto", "sweep.max_trials=2", name="auto")
    note = "so few trials are random search; the first have windows of 32, 16 pieces and else the same values"
    assert f"sweep-cut: starts ({note})" in said


@pytest.mark.parametrize("failed", [False, True])
def test_steps_of_a_target_that_was_removed_are_not_shown(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, failed: bool
) -> None:
    with monkeypatch.context() as patch:
        if failed:
            patch.setattr(onnx, "quantize_int8", _fail)
        both = ["conversion.targets=[onnx_fp32, onnx_int8]", f"conversion.max_abs_diff={0.1 + failed}"]
        assert bool(pipeline(*both)[0].failures) is failed
    pipeline()
    result, said = pipeline()
    assert said[0].startswith("finished and unchanged")
    assert [line.step for line in result.lines] == ALL
    assert "onnx_int8" not in (result.run_dir / "report.html").read_text(encoding="utf-8")
    lineage = read_json(result.run_dir / "artifacts" / "lineage.json")
    assert [step["step"] for step in lineage["steps"]] == ALL


def _fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("no such operator")


def test_a_target_that_fails_does_not_stop_the_others(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "quantize_int8", _fail)
        result, _ = pipeline("conversion.targets=[onnx_int8, onnx_fp32]")
    (failure,) = result.failures
    assert failure.startswith("onnx_int8: RuntimeError: no such operator; see ")
    assert [line.step for line in result.lines] == ALL
    assert "conversion-onnx_int8" in (result.run_dir / "report.html").read_text(encoding="utf-8")
    result, said = pipeline("conversion.targets=[onnx_int8, onnx_fp32]")
    assert (result.failures, done_again(said)) == ([], ["conversion-onnx_int8", "benchmark-final"])


def test_a_target_that_fails_its_gate_is_not_served_nor_is_the_one_before(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = "conversion.targets=[onnx_fp32, onnx_int8]"
    result, _ = pipeline(both, "conversion.max_abs_diff=0.2", name="gate")
    assert result.failures == [] and _served(result.run_dir) == "onnx_int8"
    real = Attempt._shortfall
    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "_shortfall", lambda own: "too low" if own.target == "onnx_int8" else real(own))
        result, _ = pipeline(both, "conversion.max_abs_diff=0.3", name="gate")
    (failure,) = result.failures
    assert failure.startswith("onnx_int8: ConversionError: too low, even with 1 products left in fp32; see ")
    assert _served(result.run_dir) == "onnx_fp32"
    result, _ = pipeline(both, "conversion.max_abs_diff=0.3", name="gate")
    assert result.failures == [] and _served(result.run_dir) == "onnx_int8"


def _served(run_dir: Path) -> str:
    with Predictor.load(run_dir) as predictor:
        predictor.predict(["Anna Baker lives in Oslo."])
    return model_folder(run_dir).name


def test_an_interrupted_sweep_that_is_extended_keeps_its_trials(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nertrail.ner import trainer

    real, calls = trainer.fit, list[int]()

    def fit(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "fit", fit)
        with pytest.raises(KeyboardInterrupt):
            pipeline("sweep.max_trials=2", name="extended")
        calls.append(1)
        pipeline("sweep.max_trials=3", name="extended")
    assert len(calls) == 1 + 1 + 1 + 2 + 1, (
        "one finished, one interrupted, this count; two more trials and the training"
    )


@pytest.mark.parametrize("force", ["swep", "sweep-", "sweep-nope", "training-foo", ""])
def test_force_names_stages_and_steps(tmp_path: Path, tiny_backbone: Path, force: str) -> None:
    experiment = load_experiment(tiny_experiment.write(tmp_path, tiny_backbone))
    check_steps(experiment, ["sweep", "sweep-whole", "benchmark-models", "conversion-onnx_int8"])
    with pytest.raises(ConfigError, match="is no stage") as caught:
        check_steps(experiment, ["training", force])
    assert (caught.value.place, "sweep-whole, sweep-cut" in str(caught.value.remedy)) == ("--force", True)


@pytest.mark.parametrize(
    ("types", "problem"),
    [
        (("PER", "test_PER"), "'PER' and 'test_PER' would both write the metric 'test_PER_precision'"),
        (("A😀", "A🎉"), "would both write the metric 'A__precision'"),
        (("PER", "x" * 5000), "is longer than 100 characters"),
        (("  ",), "is blank"),
        (("\ud83d",), "can't be shown"),
    ],
)
def test_types_that_no_metric_can_be_named_after(types: tuple[str, ...], problem: str) -> None:
    check_types(("PER", "LOC", "PERSON", "test"), "corpus")
    with pytest.raises(DataError, match=problem) as caught:
        check_types(types, "corpus")
    assert (caught.value.place, "data.label_map" in str(caught.value.remedy)) == ("corpus", True)


def _cut(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


def _reshape(folder: Path) -> None:
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "hidden_size": 64})


BROKEN_BACKBONES: dict[str, Callable[[Path], object]] = {
    "truncated": _cut,
    "empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "garbage": lambda folder: (folder / "model.safetensors").write_bytes(b"garbage" * 100),
    "other shapes": _reshape,
    "no JSON": lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"),
    "a list": lambda folder: (folder / "config.json").write_text("[]", encoding="utf-8"),
    "gone": shutil.rmtree,
}


@pytest.mark.parametrize("case", BROKEN_BACKBONES)
def test_broken_backbones_are_told_before_anything_is_written(tmp_path: Path, tiny_backbone: Path, case: str) -> None:
    source = Path(shutil.copytree(tiny_backbone, tmp_path / "backbone"))
    experiment = load_experiment(tiny_experiment.write(tmp_path, source))
    check_inputs(experiment, experiment.inputs())
    BROKEN_BACKBONES[case](source)
    with pytest.raises(ModelError) as caught:
        run_pipeline(experiment, "tiny", tmp_path / "run")
    assert "backbone" in str(caught.value.place)
    assert caught.value.remedy
    assert not (tmp_path / "run").exists()


def _blank_validation(corpus: Path) -> None:
    (corpus / "dev.jsonl").write_text('{"text": "\\u200b\\u200b", "entities": []}\n', encoding="utf-8")


def _pipe(corpus: Path) -> None:
    (corpus / "dev.jsonl").unlink()
    os.mkfifo(corpus / "dev.jsonl")


@pytest.mark.parametrize("spoil", [_blank_validation, _pipe])
def test_splits_that_hold_nothing_to_read(tmp_path: Path, tiny_backbone: Path, spoil: Callable[[Path], object]) -> None:
    experiment = load_experiment(tiny_experiment.write(tmp_path, tiny_backbone))
    spoil(tmp_path / "corpus")
    with pytest.raises(DataError) as caught:
        run_pipeline(experiment, "tiny", tmp_path / "run")
    assert str(tmp_path / "corpus") in str(caught.value.place)
    assert not (tmp_path / "run").exists()


def test_the_tree_and_what_a_redone_stage_leaves(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "off")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    backbones = [{**ONE, "source": str(tiny_backbone)}]
    path = tiny_experiment.write(tmp_path, tiny_backbone, {"delivery_budget_s": 0}, backbones=backbones)
    experiment = load_experiment(path, [*QUICK, "conversion.targets=[onnx_fp32]"])
    for force in ((), ("conversion",)):
        run_pipeline(experiment, "tiny", tmp_path / "run", force=force)
    runs = list(recorded.delivered(tmp_path / "run").runs.values())
    kinds = [str(run.tags["mlflow.runType"]) for run in runs]
    assert sorted(kinds) == ["benchmark"] * 5 + ["conversion"] * 2 + [
        "pipeline",
        "selection",
        "sweep",
        "training",
        "trial",
    ]
    old, new = (run for run in runs if run.tags["mlflow.runType"] == "conversion")
    assert old.tags["superseded_by_uid"] == new.start.uid
    assert "superseded_by" not in new.tags
    assert {run.status for run in runs} == {"FINISHED"}
    (pipeline,) = (run for run in runs if run.tags["mlflow.runType"] == "pipeline")
    assert _parents(runs) == {"trial": {"sweep"}, **{kind: {"pipeline"} for kind in set(kinds) - {"trial", "pipeline"}}}
    assert set(pipeline.artifacts) == {"report.html", "config.yaml", "lineage.json", "tracking.json"}


def test_steps_that_are_no_longer_planned_are_superseded(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the pipeline's run; planned again, they are done again."""
    monkeypatch.setenv("NERTRAIL_UPLOADER", "off")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    backbones = [{**ONE, "source": str(tiny_backbone)}]
    path = tiny_experiment.write(tmp_path, tiny_backbone, {"delivery_budget_s": 0}, backbones=backbones)
    told = []
    for targets in ("onnx_fp32, onnx_int8", "onnx_fp32", "onnx_fp32, onnx_int8"):
        experiment = load_experiment(path, [*QUICK, f"conversion.targets=[{targets}]"])
        run_pipeline(experiment, "tiny", tmp_path / "run")
        runs = list(recorded.delivered(tmp_path / "run").runs.values())
        made = [run for run in runs if run.tags.get("conversion_type") == "onnx_int8"]
        told.append([run.tags.get("superseded_by_uid") for run in made])
    (pipeline,) = (run for run in runs if run.tags["mlflow.runType"] == "pipeline")
    assert told == [[None], [pipeline.start.uid], [made[1].start.uid, None]]


def _parents(runs: list[MemoryRun]) -> dict[str, set[str]]:
    kinds = {run.run_id: str(run.tags["mlflow.runType"]) for run in runs}
    found: dict[str, set[str]] = {}
    for run in runs:
        if parent := run.tags.get("mlflow.parentRunId"):
            found.setdefault(str(run.tags["mlflow.runType"]), set()).add(kinds[str(parent)])
    return found
