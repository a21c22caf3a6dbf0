"""Every tracker, alone, over a backend that can be looked into."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nertrail.errors import ConfigError
from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking import mlflow_tracker as trackers
from nertrail.tracking.memory import MemoryBackend, MemoryRun
from nertrail.tracking.protocol import PARENT_TAG, UID_TAG

STARTS: dict[str, tuple[type[trackers.Tracker], Callable[[Any], trackers.Run]]] = {
    "pipeline": (trackers.MLflowPipelineTracker, lambda t: t.start_pipeline_run("r", {"a": 1})),
    "sweep": (trackers.MLflowSweepTracker, lambda t: t.start_sweep_run("r", {"max_trials": 3}, "mini", "study")),
    "benchmark": (trackers.MLflowBenchmarkTracker, lambda t: t.start_benchmark_run("r", "mini")),
    "selection": (trackers.MLflowSelectionTracker, lambda t: t.start_selection_run("r")),
    "training": (trackers.MLflowTrainingTracker, lambda t: t.start_training_run("{backbone}_{run_id}", "mini")),
    "conversion": (trackers.MLflowConversionTracker, lambda t: t.start_conversion_run("r", "onnx_int8", "server-id")),
}
DOC = {
    "schema": 1,
    "backend": "torch",
    "device": "cpu",
    "threads": 1,
    "max_length": 128,
    "iterations": 20,
    "warmup_iterations": 3,
    "hardware": {"cpu": "A", "cores": 2, "isa": "avx2", "torch": "2", "onnxruntime": "1"},
    "peak_memory_mb": 50.0,
    "batches": {
        "1": {
            "mean_ms": 2.0,
            "std_ms": 0.1,
            "p99_ms": 3.0,
            "throughput_samples_per_sec": 500.0,
            "e2e": {"mean_ms": 4.0},
        },
        "4": {"mean_ms": 5.0, "throughput_samples_per_sec": 800.0},
    },
}


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend()


def only(memory: MemoryBackend) -> MemoryRun:
    [run] = memory.runs.values()
    return run


@pytest.mark.parametrize("stage", STARTS)
def test_every_run_says_what_it_is(stage: str, memory: MemoryBackend) -> None:
    kind, start = STARTS[stage]
    with start(kind.over(memory, parent=RunRef("pipe"))) as run:
        assert only(memory).status == "RUNNING"
    tags = only(memory).tags
    assert tags[UID_TAG] == run.uid and tags["pipeline.stage"] == tags["mlflow.runType"] == stage
    assert tags[PARENT_TAG] == RunRef("pipe") and tags["pipeline.run_uid"] == "pipe"
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= tags.keys()
    assert only(memory).status == "FINISHED"


@pytest.mark.parametrize("stage", STARTS)
def test_a_tracker_that_is_off_does_nothing(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kind, start = STARTS[stage]
    for tracker in (kind.off(), kind("e", switches={"enabled": False})):
        with start(tracker) as run:
            run.log_metrics({"a": 1})
        assert run.uid and run.run_id is None and tracker.flush() == trackers.Receipt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_an_error_of_the_body_passes_through(memory: MemoryBackend, error: BaseException, status: str) -> None:
    tracker = trackers.MLflowSelectionTracker.over(memory)
    with pytest.raises(type(error)) as seen, tracker.start_selection_run("r"):
        raise error
    assert seen.value is error and only(memory).status == status
    assert ("traceback.txt" in only(memory).artifacts) == (status == "FAILED")


def test_a_backend_that_fails_never_reaches_the_stage(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryBackend):
        def start(self, run: object) -> None:
            raise RuntimeError("broken in its own way")

    tracker = trackers.MLflowTrainingTracker.over(Broken())
    with tracker.start_training_run("r", "mini") as run:
        tracker.log_training_parameters(object())
        tracker.log_training_metrics({"loss": 1.0}, {"PER": 3})
        run.log_metrics({"loss": "none"})  # type: ignore[dict-item]
        run.log(RunRecord(artifacts=(Artifact(Path("/no/such/file"), "x"),)))
    assert run.uid
    assert [record.message for record in caplog.records if "broken in its own way" in record.message]


def test_what_is_no_number_takes_no_other_with_it(memory: MemoryBackend) -> None:
    tracker = trackers.MLflowTrainingTracker.over(memory)
    with tracker.start_training_run("r", "mini") as run:
        run.log_metrics({"bad": None, "good": 1}, step=2)  # type: ignore[dict-item]
    assert only(memory).metrics == {"good": 1.0}


def test_logging_without_a_run_opens_none(memory: MemoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    trackers.MLflowTrainingTracker.over(memory).log_training_metrics({"loss": 1.0})
    assert memory.runs == {} and "no run was started" in caplog.text


def test_a_benchmark_needs_nothing_but_its_file(memory: MemoryBackend, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(DOC))
    tracker = trackers.MLflowBenchmarkTracker.over(memory)
    with tracker.start_benchmark_run("r", "mini", "conversion"):
        tracker.log_benchmark_results(benchmark_json_path=tmp_path / "b.json")
    run = only(memory)
    assert run.params == {
        "benchmark_batch_sizes": "1,4", "benchmark_iterations": 20, "benchmark_warmup_iterations": 3,
        "benchmark_max_length": 128, "benchmark_device": "cpu", "benchmark_backend": "torch", "benchmark_threads": 1,
    }  # fmt: skip
    assert run.metrics == {
        "latency_batch_1_ms": 2.0, "latency_batch_1_std_ms": 0.1, "latency_batch_1_p99_ms": 3.0,
        "throughput_batch_1_samples_per_sec": 500.0, "e2e_latency_batch_1_ms": 4.0, "latency_batch_4_ms": 5.0,
        "throughput_batch_4_samples_per_sec": 800.0, "throughput_samples_per_sec": 800.0, "peak_memory_mb": 50.0,
    }  # fmt: skip
    assert (run.tags["benchmark_source"], run.tags["benchmarked_model"], run.tags["hw.isa"]) == (
        "conversion", "mini", "avx2",
    )  # fmt: skip
    assert json.loads(run.artifacts["benchmark.json"]) == DOC


def test_a_broken_benchmark_file_is_reported_and_the_stage_goes_on(
    memory: MemoryBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b.json").write_text('{"half')
    tracker = trackers.MLflowBenchmarkTracker.over(memory)
    with tracker.start_benchmark_run("r", "mini"):
        tracker.log_benchmark_results(benchmark_json_path=tmp_path / "b.json")
    assert only(memory).status == "FINISHED" and "JSONDecodeError" in caplog.text


def test_a_training(memory: MemoryBackend, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "model.safetensors").write_bytes(b"w")
    (tmp_path / "m.json").write_text("{}")
    tracker = trackers.MLflowTrainingTracker.over(memory)
    with tracker.start_training_run(
        "{backbone}_{run_id}", "mini", "continued", source_training_run=RunRef("t0")
    ) as run:
        config = {"fit": {"learning_rate": 5e-4, "epochs": 3}, "data": {"path": "x"}}
        tracker.log_training_parameters(config, {"data_version": "abc"}, "ck", "combined", 42)
        tracker.log_training_metrics({"train_loss": 0.3}, step=1)
        tracker.log_training_metrics(
            {"macro-f1": 0.5}, {"A B": {"precision": 1, "recall": 0.5, "f1": 0.6, "support": 4}}
        )
        tracker.log_training_artifacts(tmp_path / "best", tmp_path / "m.json")
    seen = only(memory)
    assert seen.name == f"mini_{run.uid[:8]}"
    assert seen.params == {
        "backbone": "mini", "training_type": "continued", "learning_rate": 5e-4, "epochs": 3, "data_version": "abc",
        "source_checkpoint": "ck", "data_strategy": "combined", "random_seed": 42,
    }  # fmt: skip
    assert seen.metrics == {
        "train_loss": 0.3, "macro-f1": 0.5, "A B_precision": 1, "A B_recall": 0.5, "A B_f1": 0.6, "A B_support": 4,
    }  # fmt: skip
    assert (seen.tags["source_training_run"], seen.tags["source_training_run_uid"]) == (RunRef("t0"), "t0")
    assert sorted(seen.artifacts) == ["checkpoint/model.safetensors", "metrics.json"]


@pytest.mark.parametrize(
    ("kind", "switches", "kept"),
    [
        ("training", {"log_checkpoint": False}, {"metrics.json", "other.png"}),
        ("training", {"log_metrics_json": False}, {"checkpoint/a", "other.png"}),
        ("conversion", {"log_onnx_model": False}, {"conversion_log.txt", "checkpoint/a", "metrics.json", "other.png"}),
        ("benchmark", {"log_artifacts": False}, set()),
    ],
)
def test_switches_hold_artifacts_back(
    kind: str, switches: dict[str, bool], kept: set[str], memory: MemoryBackend, tmp_path: Path
) -> None:
    names = {"metrics.json", "checkpoint/a", "other.png"}
    names |= {"conversion_log.txt", "model.onnx", "model.onnx.data"} if kind == "conversion" else set()
    (tmp_path / "a").write_text("a")
    tracker_kind, start = STARTS[kind]
    with start(tracker_kind.over(memory, switches=switches)) as run:
        run.log(RunRecord(artifacts=tuple(Artifact(tmp_path / "a", name) for name in names)))
    assert set(only(memory).artifacts) == kept


def test_an_unknown_switch_is_an_error_of_the_user() -> None:
    with pytest.raises(ConfigError, match="log_onnx_model"):
        trackers.MLflowConversionTracker.over(MemoryBackend(), switches={"log_onnx": False})


def test_a_conversion(memory: MemoryBackend, tmp_path: Path) -> None:
    (tmp_path / "model_int8.onnx").write_bytes(b"x" * 1_000_000)
    (tmp_path / "model_int8.onnx.data").write_bytes(b"x" * 1_000_000)
    tracker = trackers.MLflowConversionTracker.over(memory)
    with tracker.start_conversion_run("r", "onnx_int8", RunRef("t")):
        tracker.log_conversion_parameters("ck", "onnx_int8", "int8", 17, "mini")
        tracker.log_conversion_results(True, tmp_path / "model_int8.onnx", 8_000_000, None, tmp_path / "none.txt")
    seen = only(memory)
    assert seen.params["quantization"] == "int8" and seen.tags["source_training_run"] == RunRef("t")
    assert seen.metrics == {
        "conversion_success": 1.0, "smoke_test_passed": 0.0, "onnx_model_size_mb": 2.0, "compression_ratio": 4.0,
    }  # fmt: skip
    assert set(seen.artifacts) == {"model_int8.onnx", "model_int8.onnx.data"}


def study(states: list[str]) -> Any:
    trials = [SimpleNamespace(state=SimpleNamespace(name=state)) for state in states]
    best = SimpleNamespace(number=1)
    return SimpleNamespace(trials=trials, best_value=0.9, best_params={"lr": 1e-4}, best_trial=best)


def test_a_sweep_with_trials_and_folds(memory: MemoryBackend) -> None:
    tracker = trackers.MLflowSweepTracker.over(memory)
    with tracker.start_sweep_run(
        "s", {"max_trials": 3, "objective": {"metric": "loss", "goal": "minimize"}}, "mini", "st"
    ):
        with tracker.start_trial_run(1, {"lr": 1e-4}) as trial, tracker.start_fold_run(trial, 0) as fold:
            fold.log_metrics({"loss": 0.9})
        tracker.log_final_metrics(study(["COMPLETE", "PRUNED", "FAIL"]), "loss", best_trial_run=trial.ref)
    sweep, trial_run, fold_run = memory.runs.values()
    assert sweep.params["objective_goal"] == "minimize" and sweep.params["checkpoint_storage_type"] == "memory"
    assert sweep.params["best_lr"] == 1e-4 and sweep.tags["best_trial_run_id"] == trial.ref
    assert sweep.metrics == {
        "n_trials": 3, "n_completed_trials": 1, "n_pruned_trials": 1, "n_failed_trials": 1, "best_loss": 0.9,
    }  # fmt: skip
    assert trial_run.tags[PARENT_TAG] == RunRef(sweep.start.uid) and fold_run.tags[PARENT_TAG] == trial.ref
    assert fold_run.tags["pipeline.run_uid"] == sweep.start.uid
    assert (trial_run.tags["mlflow.runType"], fold_run.tags["fold_idx"]) == ("trial", 0)


def test_a_sweep_without_a_completed_trial_has_counts_only(memory: MemoryBackend) -> None:
    tracker = trackers.MLflowSweepTracker.over(memory, switches={"log_trials": False})
    with tracker.start_sweep_run("s", {}, "mini", "st"), tracker.start_trial_run(0, {}) as trial:
        tracker.log_final_metrics(study(["FAIL"]), "loss")
    assert trial.uid and only(memory).metrics["n_failed_trials"] == 1


def test_a_run_is_opened_again_by_its_uid(memory: MemoryBackend) -> None:
    tracker = trackers.MLflowSelectionTracker.over(memory)
    with tracker.start_selection_run("r") as run:
        pass
    with tracker.start_selection_run("r", uid=run.uid) as again:
        assert again.uid == run.uid and only(memory).status == "RUNNING"
    tracker.existing_run(run.uid).log(RunRecord(tags={"superseded_by": RunRef("new")}))
    assert only(memory).tags["superseded_by"] == RunRef("new") and only(memory).status == "FINISHED"


def test_a_process_that_only_records_loads_neither_mlflow_nor_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker\n"
        "tracker = MLflowTrainingTracker('e', tracking_uri='http://127.0.0.1:9')\n"
        "with tracker.start_training_run('r', 'mini') as run: run.log_metrics({'a': 1})\n"
        "assert run.run_id is None and tracker.flush(0).pending == 4\n"
        "print(sorted({'mlflow', 'torch', 'transformers', 'requests'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert json.loads((tmp_path / "runs" / "e" / "tracking.json").read_text())["pending"] == 4


def test_a_child_process_records_below_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = trackers.MLflowPipelineTracker("e", run_dir=tmp_path / "run")
    with parent.start_pipeline_run("p") as pipeline:
        training = trackers.MLflowTrainingTracker("e", run_dir=tmp_path / "run", parent=pipeline)
        with training.start_training_run("t", "mini") as run:
            for name, value in training.environment(run).items():
                monkeypatch.setenv(name, value)
            child = trackers.MLflowBenchmarkTracker("e")
            child.start_benchmark_run("b", "mini").end()
    from nertrail.tracking.uploader import sync

    memory = MemoryBackend()
    sync(tmp_path / "run", "sqlite:////nowhere", backend=memory)
    below = list(memory.runs.values())[-1]
    assert below.tags[PARENT_TAG] == memory.run_id(run.uid) and below.tags["pipeline.run_uid"] == pipeline.uid
