"""docs/run-contents.md says what real runs show, no more and no less."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import recorded
from nertrail.tracking import mlflow_tracker as trackers
from nertrail.tracking.memory import MemoryBackend

DOCS = Path(__file__).parents[2] / "docs"

# The names that were promised to readers of runs. They may be added to; none may be renamed or dropped.
FIXED = {
    ("sweep", "params"): """primary_metric objective_goal backbone max_trials study_name objective_metric
        checkpoint_enabled checkpoint_path checkpoint_storage_type resumed_from_checkpoint best_{param}
        best_trial_run_id""",
    ("sweep", "metrics"): "n_trials n_completed_trials n_pruned_trials n_failed_trials best_{metric}",
    ("sweep", "tags"): "azureml.runType azureml.sweep best_trial_run_id best_trial_number",
    ("sweep", "artifacts"): "best_trial_checkpoint/ optimization_history.png param_importances.png",
    ("trial", "params"): "epochs backbone {param}",
    ("trial", "metrics"): """macro-f1 macro-f1-span micro-f1-span loss eval_{metric} train_loss cv_mean cv_std
        fold_{i}_{metric}""",
    ("trial", "tags"): "azureml.trial trial_number trial_state",
    ("fold", "metrics"): "macro-f1 macro-f1-span micro-f1-span loss",
    ("fold", "tags"): "fold_idx",
    ("benchmark", "params"): """benchmark_batch_sizes benchmark_iterations benchmark_warmup_iterations
        benchmark_max_length benchmark_device benchmark_backend benchmark_threads""",
    ("benchmark", "metrics"): """latency_batch_{b}_ms latency_batch_{b}_std_ms latency_batch_{b}_min_ms
        latency_batch_{b}_max_ms latency_batch_{b}_p50_ms latency_batch_{b}_p95_ms latency_batch_{b}_p99_ms
        throughput_batch_{b}_samples_per_sec throughput_samples_per_sec e2e_latency_batch_{b}_ms
        e2e_latency_batch_{b}_std_ms e2e_latency_batch_{b}_min_ms e2e_latency_batch_{b}_max_ms
        e2e_latency_batch_{b}_p50_ms e2e_latency_batch_{b}_p95_ms e2e_latency_batch_{b}_p99_ms peak_memory_mb
        model_load_seconds""",
    ("benchmark", "tags"): """benchmark_source benchmarked_model hw.cpu hw.cores hw.isa sw.torch sw.onnxruntime
        percentiles""",
    ("benchmark", "artifacts"): "benchmark.json latency.png",
    ("selection", "params"): """selected_backbone {param} selection_strategy accuracy_threshold
        use_relative_threshold min_accuracy_gain""",
    ("selection", "metrics"): "selected_{objective} selected_latency_ms best_{objective} n_candidates",
    ("selection", "tags"): "selection_reason source_sweep_runs source_benchmark_runs",
    ("selection", "artifacts"): "selection.json pareto.png",
    ("training", "params"): """learning_rate batch_size dropout weight_decay epochs backbone data_version dataset_path
        training_type source_checkpoint data_strategy random_seed max_length stride precision""",
    ("training", "metrics"): """macro-f1 macro-f1-span micro-f1-span loss {entity}_precision {entity}_recall
        {entity}_f1 {entity}_support test_{metric} test_{entity}_precision test_{entity}_recall test_{entity}_f1
        test_{entity}_support eval_{metric} train_loss learning_rate_now tokens_per_second""",
    ("training", "tags"): "training_type source_training_run",
    ("training", "artifacts"): """checkpoint/ metrics.json config.yaml label_map.json confusion_matrix.png
        environment.json errors.jsonl""",
    ("conversion", "params"): """conversion_source conversion_target quantization onnx_opset_version
        conversion_backbone""",
    ("conversion", "metrics"): """conversion_success onnx_model_size_mb compression_ratio smoke_test_passed
        max_abs_diff argmax_agreement f1_drop conversion_seconds""",
    ("conversion", "tags"): "conversion_type source_training_run",
    ("conversion", "artifacts"): "model_fp32.onnx model_int8.onnx conversion_log.txt",
    ("pipeline", "metrics"): "sweep_seconds benchmark_seconds selection_seconds training_seconds conversion_seconds",
    ("pipeline", "artifacts"): "report.html config.yaml lineage.json tracking.json",
    ("every", "tags"): """nertrail.run_uid pipeline.run_uid pipeline.stage mlflow.runType mlflow.parentRunId mlflow.user
        mlflow.source.name mlflow.source.type mlflow.source.git.commit superseded_by""",
    ("every", "artifacts"): "traceback.txt",
}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_run_contents", DOCS / "generate_run_contents.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def observed(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> object:
    folder = tmp_path_factory.mktemp("observed")
    memories = recorded.pipeline(folder, tiny_backbone), recorded.side_paths(folder, tiny_backbone)
    return generator.names_in(memories)


def test_every_name_is_explained_and_every_explained_name_is_shown(generator: ModuleType, observed: object) -> None:
    assert generator.differences(observed) == []


def test_the_page_is_the_generated_one(generator: ModuleType, observed: object) -> None:
    assert (DOCS / "run-contents.md").read_text(encoding="utf-8") == generator.page(observed)


@pytest.mark.parametrize(("kind", "part"), FIXED)
def test_no_fixed_name_is_lost(generator: ModuleType, observed: Any, kind: str, part: str) -> None:
    unseen = {name for where, name in generator.UNSEEN if where == kind}
    assert set(FIXED[kind, part].split()) <= observed[kind][part] | unseen


def test_no_fixed_name_is_unexplained(generator: ModuleType) -> None:
    explained = generator.meanings()
    for (kind, part), names in FIXED.items():
        assert set(names.split()) <= set(explained[kind][part]), (kind, part)


def test_what_is_unseen_is_explained(generator: ModuleType) -> None:
    for kind, name in generator.UNSEEN:
        assert any(name in names for names in generator.meanings()[kind].values()), (kind, name)


TRAINING = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 3, "weight_decay": 0.01, "dropout": 0.1}
BATCH = {"mean_ms": 2.0, "std_ms": 0.1, "p99_ms": 3.0, "throughput_samples_per_sec": 500.0}


def _train(tracker: trackers.MLflowTrainingTracker, folder: Path) -> None:
    scores = {"precision": 1.0, "recall": 0.5, "f1": 0.66, "support": 4}
    with tracker.start_training_run("{backbone}_{run_id}", "mini", "continued", source_training_run="id"):
        tracker.log_training_parameters(TRAINING, {"max_length": 128, "stride": 32}, folder, "new_only", 1)
        tracker.log_training_metrics({"macro-f1": 0.5}, {"LOC": scores})
        tracker.log_training_artifacts(folder, folder / "nertrail.json")


def _benchmark(tracker: trackers.MLflowBenchmarkTracker, folder: Path) -> None:
    document = {"device": "cpu", "iterations": 3, "hardware": {"cpu": "A"}, "batches": {"1": {**BATCH, "e2e": BATCH}}}
    with tracker.start_benchmark_run("r", "mini"):
        tracker.log_benchmark_results(benchmark_data=document)


def _convert(tracker: trackers.MLflowConversionTracker, folder: Path) -> None:
    with tracker.start_conversion_run("r", "onnx_int8", "id"):
        tracker.log_conversion_parameters(folder, "onnx_int8", "int8", 17, "mini")
        tracker.log_conversion_results(True, folder / "model_int8.onnx", 100, True)


def _sweep(tracker: trackers.MLflowSweepTracker, folder: Path) -> None:
    trial = SimpleNamespace(state=SimpleNamespace(name="COMPLETE"), number=0)
    study = SimpleNamespace(trials=[trial], best_value=0.5, best_trial=trial, best_params={"learning_rate": 1e-3})
    with tracker.start_sweep_run("r", {"max_trials": 1, "metric": "macro-f1"}, "mini", "study"):
        with tracker.start_trial_run(0, {"learning_rate": 1e-3}) as run, tracker.start_fold_run(run, 0):
            pass
        tracker.log_final_metrics(study, "macro-f1", best_checkpoint=folder)


ALONE = {
    trackers.MLflowTrainingTracker: _train,
    trackers.MLflowBenchmarkTracker: _benchmark,
    trackers.MLflowConversionTracker: _convert,
    trackers.MLflowSweepTracker: _sweep,
}


@pytest.mark.parametrize("kind", ALONE, ids=lambda kind: kind.stage)
def test_a_tracker_used_alone_uses_the_same_names(generator: ModuleType, tmp_path: Path, kind: Any) -> None:
    for name in ("nertrail.json", "model_int8.onnx"):
        (tmp_path / name).write_text(json.dumps({}))
    memory = MemoryBackend()
    ALONE[kind](kind.over(memory), tmp_path)
    assert _unexplained(generator, generator.names_in([memory])) == []


def _unexplained(generator: ModuleType, names: Mapping[str, Mapping[str, set[str]]]) -> list[str]:
    return [line for line in generator.differences(names) if line.endswith("is not explained")]
