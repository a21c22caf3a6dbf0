"""The names that dashboards rely on, read back through MlflowClient after a real run of the whole pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import tiny_experiment

SERIES = ("ms", "std_ms", "min_ms", "max_ms", "p50_ms", "p95_ms", "p99_ms")
ENTITIES = ("LOC", "ORG", "PER")
SCORES = {"macro-f1", "macro-f1-span", "micro-f1-span", "loss"}
EVERY_RUN = {"nertrail.run_uid", "pipeline.run_uid", "pipeline.stage", "mlflow.user", "mlflow.source.name"} | {
    "mlflow.source.type",
    "mlflow.runType",
}

PARAMS = {
    "sweep": {"primary_metric", "objective_goal", "backbone", "max_trials", "study_name", "objective_metric"}
    | {"checkpoint_enabled", "checkpoint_path", "checkpoint_storage_type", "resumed_from_checkpoint"}
    | {"best_learning_rate", "best_batch_size", "best_trial_run_id", "best_trial_run_id_uid"},
    "trial": {"learning_rate", "batch_size", "epochs", "backbone"},
    "benchmark": {"benchmark_batch_sizes", "benchmark_iterations", "benchmark_warmup_iterations"}
    | {"benchmark_max_length", "benchmark_device", "benchmark_backend", "benchmark_threads"},
    "selection": {"selected_backbone", "learning_rate", "batch_size", "selection_strategy", "accuracy_threshold"}
    | {"use_relative_threshold", "min_accuracy_gain"},
    "training": {"learning_rate", "batch_size", "dropout", "weight_decay", "epochs", "backbone", "data_version"}
    | {"dataset_path", "training_type", "random_seed", "max_length", "stride", "precision"},
    "conversion": {
        "conversion_source",
        "conversion_target",
        "quantization",
        "onnx_opset_version",
        "conversion_backbone",
    },
    "pipeline": set(),
}
METRICS = {
    "sweep": {"n_trials", "n_completed_trials", "n_pruned_trials", "n_failed_trials", "best_macro-f1-span"},
    "trial": SCORES | {f"eval_{name}" for name in SCORES} | {"train_loss", "learning_rate_now"},
    "benchmark": {
        f"{scope}{name}"
        for scope in ("", "e2e_")
        for b in (1, 2)
        for name in (
            *(f"latency_batch_{b}_{part}" for part in SERIES),
            f"throughput_batch_{b}_samples_per_sec",
        )
    }
    | {"throughput_samples_per_sec", "peak_memory_mb", "model_load_seconds"},
    "selection": {"selected_macro-f1-span", "selected_latency_ms", "best_macro-f1-span", "n_candidates"},
    "training": {f"{prefix}{name}" for prefix in ("", "test_", "eval_") for name in SCORES}
    | {
        f"{prefix}{entity}_{score}"
        for prefix in ("", "test_")
        for entity in ENTITIES
        for score in ("precision", "recall", "f1", "support")
    }
    | {"train_loss", "learning_rate_now", "tokens_per_second"},
    "conversion": {"conversion_success", "onnx_model_size_mb", "compression_ratio", "smoke_test_passed"}
    | {"max_abs_diff", "argmax_agreement", "f1_drop", "conversion_seconds"},
    "pipeline": {f"{stage}_seconds" for stage in ("sweep", "benchmark", "selection", "training", "conversion")},
}
TAGS = {
    "sweep": {"azureml.runType", "azureml.sweep", "best_trial_run_id", "best_trial_run_id_uid", "best_trial_number"},
    "trial": {"azureml.trial", "trial_number", "trial_state"},
    "benchmark": {
        "benchmark_source",
        "benchmarked_model",
        "hw.cpu",
        "hw.cores",
        "hw.isa",
        "sw.torch",
        "sw.onnxruntime",
    },
    "selection": {"selection_reason", "source_sweep_runs", "source_benchmark_runs", "source_sweep_runs_uid"},
    "training": {"training_type", "mlflow.runName"},
    "conversion": {"conversion_type", "source_training_run", "source_training_run_uid"},
    "pipeline": {"nertrail.version"},
}
ARTIFACTS = {
    "sweep": {"best_trial_checkpoint", "optimization_history.png", "param_importances.png"},
    "trial": set(),
    "benchmark": {"benchmark.json", "latency.png"},
    "selection": {"selection.json", "pareto.png"},
    "training": {
        "checkpoint",
        "metrics.json",
        "config.yaml",
        "label_map.json",
        "confusion_matrix.png",
        "environment.json",
    },
    "conversion": {"conversion_log.txt", "tokenizer.json", "nertrail.json"},
    "pipeline": {"report.html", "config.yaml", "lineage.json", "tracking.json"},
}
COUNTS = {"pipeline": 1, "sweep": 2, "trial": 4, "benchmark": 5, "selection": 1, "training": 1, "conversion": 2}


@dataclass(frozen=True)
class Store:
    """What the pipeline left on one server."""

    client: MlflowClient
    runs: tuple[Run, ...]

    def of(self, kind: str) -> list[Run]:
        return [run for run in self.runs if run.data.tags["mlflow.runType"] == kind]

    def artifacts(self, run: Run, folder: str | None = None) -> set[str]:
        return {item.path for item in self.client.list_artifacts(run.info.run_id, folder)}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("server", marks=pytest.mark.server)])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path
) -> Iterator[Store]:
    """The tiny experiment, run by the command a person types, delivered to a sqlite file or to a real server."""
    folder = tmp_path_factory.mktemp(request.param)
    uri = f"sqlite:///{folder}/mlflow.db" if request.param == "sqlite" else request.getfixturevalue("mlflow_server")
    config = tiny_experiment.write(folder, tiny_backbone, {"experiment_name": f"golden-{request.param}"})
    environment = {
        **os.environ,
        "NERTRAIL_UPLOADER": "process",
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if request.param == "server":
        environment["MLFLOW_TRACKING_URI"] = uri
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "nertrail"]
    done = subprocess.run([*command, "run", str(config)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    synced = subprocess.run(
        [*command, "sync", "runs/tiny"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert synced.returncode == 0, synced.stdout + synced.stderr
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(f"golden-{request.param}")
    assert experiment is not None
    yield Store(client, tuple(client.search_runs([experiment.experiment_id])))


def test_the_tree_is_whole(store: Store) -> None:
    assert {kind: len(store.of(kind)) for kind in COUNTS} == COUNTS
    assert len(store.runs) == sum(COUNTS.values())


def test_every_run_is_finished_and_hangs_where_it_should(store: Store) -> None:
    (pipeline,) = store.of("pipeline")
    sweeps = {run.info.run_id for run in store.of("sweep")}
    for run in store.runs:
        assert run.info.status == "FINISHED"
        assert run.info.end_time >= run.info.start_time
        parent = run.data.tags.get("mlflow.parentRunId")
        kind = run.data.tags["mlflow.runType"]
        if kind == "pipeline":
            assert parent is None
        elif kind == "trial":
            assert parent in sweeps
        else:
            assert parent == pipeline.info.run_id
        assert run.data.tags["pipeline.run_uid"] == pipeline.data.tags["nertrail.run_uid"]


@pytest.mark.parametrize("kind", list(COUNTS))
def test_names_of_a_run(store: Store, kind: str) -> None:
    for run in store.of(kind):
        assert PARAMS[kind] - set(run.data.params) == set()
        assert METRICS[kind] - set(run.data.metrics) == set()
        assert (TAGS[kind] | EVERY_RUN) - set(run.data.tags) == set()
        assert ARTIFACTS[kind] - store.artifacts(run) == set()


def test_artifacts_named_like_files_are_files(store: Store) -> None:
    for run in store.runs:
        for item in store.client.list_artifacts(run.info.run_id):
            assert item.is_dir == (item.path in {"checkpoint", "best_trial_checkpoint"}), item.path


def test_checkpoints_are_safe_files(store: Store) -> None:
    folders = [(run, "checkpoint") for run in store.of("training")]
    folders += [(run, "best_trial_checkpoint") for run in store.of("sweep")]
    for run, folder in folders:
        names = store.artifacts(run, folder)
        assert f"{folder}/model.safetensors" in names
        assert {Path(name).suffix for name in names} == {".safetensors", ".json"}


def test_references_hold_run_ids_of_this_server(store: Store) -> None:
    by_id = {run.info.run_id: run for run in store.runs}
    (training,) = store.of("training")
    for run in store.of("conversion"):
        assert run.data.tags["source_training_run"] == training.info.run_id
        assert run.data.tags["source_training_run_uid"] == training.data.tags["nertrail.run_uid"]
    for run in store.of("sweep"):
        best = by_id[run.data.params["best_trial_run_id"]]
        assert best.data.tags["mlflow.parentRunId"] == run.info.run_id
        assert best.data.tags["trial_number"] == run.data.tags["best_trial_number"]
        assert run.data.tags["best_trial_run_id"] == best.info.run_id
    (selection,) = store.of("selection")
    assert set(selection.data.tags["source_sweep_runs"].split(",")) == {run.info.run_id for run in store.of("sweep")}
    timed = [by_id[name] for name in selection.data.tags["source_benchmark_runs"].split(",")]
    assert {run.data.tags["benchmark_source"] for run in timed} == {"hpo_trial"}


def test_a_registered_version_names_the_runs_that_made_it(store: Store) -> None:
    (pipeline,), (selection,), (training,) = map(store.of, ("pipeline", "selection", "training"))
    name = store.client.get_experiment(pipeline.info.experiment_id).name
    versions = store.client.search_model_versions(f"name = '{name}'")
    assert {version.run_id for version in versions} == {run.info.run_id for run in store.of("conversion")}
    behind = {
        "source_training_run": [training],
        "source_selection_run": [selection],
        "source_sweep_runs": store.of("sweep"),
    }
    for version in versions:
        assert version.tags["source_conversion_run"] == version.run_id
        for tag, runs in behind.items():
            uids = {run.data.tags["nertrail.run_uid"] for run in runs}
            assert set(version.tags[tag].split(",")) == {run.info.run_id for run in runs}
            assert set(version.tags[f"{tag}_uid"].split(",")) == uids


def test_values_mean_what_their_names_say(store: Store) -> None:
    assert sorted(run.data.tags["benchmark_source"] for run in store.of("benchmark")) == [
        "conversion", "conversion", "final_training", "hpo_trial", "hpo_trial",
    ]  # fmt: skip
    backends = [run.data.params["benchmark_backend"] for run in store.of("benchmark")]
    assert sorted(backends) == ["onnx_fp32", "onnx_int8", "torch", "torch", "torch"]
    (training,) = store.of("training")
    uid = training.data.tags["nertrail.run_uid"]
    assert training.info.run_name == f"{training.data.params['backbone']}_{uid[:8]}"
    assert {run.data.params["quantization"] for run in store.of("conversion")} == {"int8", "none"}
    for run in store.of("conversion"):
        assert (run.data.metrics["conversion_success"], run.data.metrics["smoke_test_passed"]) == (1.0, 1.0)
        assert run.data.tags["conversion_type"] == run.data.params["conversion_target"]
    assert training.inputs.dataset_inputs[0].dataset.digest == training.data.params["data_version"]


def test_epochs_are_steps(store: Store) -> None:
    (training,) = store.of("training")
    for name in ("eval_macro-f1-span", "eval_loss", "train_loss", "learning_rate_now"):
        history = store.client.get_metric_history(training.info.run_id, name)
        assert [point.step for point in history] == [1, 2, 3], name
    best = store.client.get_metric_history(training.info.run_id, "macro-f1-span")
    assert [point.step for point in best] == [0]


def test_no_value_was_left_behind(store: Store) -> None:
    unfinished: list[Any] = [run.info.run_name for run in store.runs if run.info.status == "RUNNING"]
    assert unfinished == []
