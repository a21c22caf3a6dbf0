"""Benchmarks: what is measured, in which runs, under which names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from nertrail.errors import ModelError
from nertrail.experiment import Experiment
from nertrail.ner.checkpoint import Checkpoint
from nertrail.ner.model import load_model, save_checkpoint
from nertrail.ner.predictor import Recognizer
from nertrail.records import read_json, write_json
from nertrail.stages.benchmark import BenchmarkConfig, Candidate, candidates_in, run_benchmarking
from nertrail.stages.inputs import Inputs
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowBenchmarkTracker

SERIES = ("ms", "std_ms", "min_ms", "max_ms", "p50_ms", "p95_ms", "p99_ms")
CONFIG = BenchmarkConfig(batch_sizes=(1, 3), iterations=3, warmup_iterations=1, max_seconds=1)


@pytest.fixture(scope="module")
def checkpoint(experiment: Experiment, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was never trained: its speed is the same."""
    prepared, folder = inputs.prepare(experiment.backbones[1]), tmp_path_factory.mktemp("model") / "fresh"
    model = load_model(prepared.backbone, prepared.labels)
    settings = {"backbone_name": "cut", "labels": prepared.labels, "windows": inputs.windows}
    return save_checkpoint(model, prepared.tokenizer, folder, **settings).path


@pytest.fixture(scope="module")
def texts(inputs: Inputs) -> list[str]:
    return [document.text for document in inputs.dataset.validation]


def test_every_batch_size_is_shown(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    memory, sources = MemoryBackend(), ("hpo_trial", "final_training")
    candidates = [Candidate(source, checkpoint, "cut", source=source) for source in sources]
    tracker, uids = MLflowBenchmarkTracker.over(memory), {"hpo_trial": "a", "final_training": "b"}
    results = run_benchmarking(CONFIG, candidates, texts, tmp_path, max_length=32, tracker=tracker, uids=uids)
    assert [result.name for result in results] == list(uids)
    assert {uid: run.tags["benchmark_source"] for uid, run in memory.runs.items()} == {"a": sources[0], "b": sources[1]}
    run = memory.runs["a"]
    named = {f"{scope}latency_batch_{b}_{part}" for scope in ("", "e2e_") for b in (1, 3) for part in SERIES}
    rates = {f"{scope}throughput_batch_{b}_samples_per_sec" for scope in ("", "e2e_") for b in (1, 3)}
    assert named | rates | {"throughput_samples_per_sec", "peak_memory_mb", "model_load_seconds"} <= set(run.metrics)
    assert run.metrics["throughput_samples_per_sec"] == max(
        run.metrics[f"throughput_batch_{b}_samples_per_sec"] for b in (1, 3)
    )
    assert run.params == {
        "benchmark_batch_sizes": "1,3",
        "benchmark_iterations": 3,
        "benchmark_warmup_iterations": 1,
        "benchmark_max_length": 32,
        "benchmark_device": "cpu",
        "benchmark_backend": "torch",
        "benchmark_threads": 1,
    }
    assert set(run.artifacts) == {"benchmark.json", "latency.png"}
    document = read_json(results[0].path)
    assert document["schema"] == 1
    assert [batch["n"] for batch in document["batches"].values()] == [3, 3]
    assert results[0].latencies() == {b: run.metrics[f"latency_batch_{b}_ms"] for b in (1, 3)}


def test_models_are_compared_only_when_they_were_measured_alike(
    checkpoint: Path, texts: list[str], tmp_path: Path
) -> None:
    candidates = [Candidate("x", checkpoint, "cut")]
    found = {
        run_benchmarking(CONFIG, candidates, texts, tmp_path, max_length=length)[0].conditions() for length in (32, 16)
    }
    assert len(found) == 2


def test_models_of_different_windows_are_timed_at_the_shortest(
    checkpoint: Path, texts: list[str], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    manifest = read_json(other / "nertrail.json")
    write_json(other / "nertrail.json", {**manifest, "windows": {**manifest["windows"], "max_length": 16, "stride": 4}})
    candidates = [Candidate("x", checkpoint, "cut"), Candidate("y", other, "cut")]
    results = run_benchmarking(CONFIG, candidates, texts, tmp_path)
    assert [result.report["max_length"] for result in results] == [16, 16]
    assert len({result.conditions() for result in results}) == 1


def test_candidates_are_found_in_folders(checkpoint: Path) -> None:
    (found,) = candidates_in([checkpoint])
    assert (found.name, found.folder, found.backbone, found.backend) == ("fresh-torch", checkpoint, "cut", "torch")


def test_folders_of_one_name_are_two_candidates(checkpoint: Path, tmp_path: Path) -> None:
    twin = tmp_path / "other" / "fresh"
    twin.mkdir(parents=True)
    for file in checkpoint.iterdir():
        (twin / file.name).symlink_to(file)
    assert len({candidate.name for candidate in candidates_in([checkpoint, twin])}) == 2


def test_a_folder_without_a_model_opens_no_run(tmp_path: Path, texts: list[str]) -> None:
    memory = MemoryBackend()
    candidates = [Candidate("x", tmp_path, "cut", backend="onnx_int8")]
    with pytest.raises(ModelError, match=r"holds no model_int8\.onnx"):
        run_benchmarking(CONFIG, candidates, texts, tmp_path, tracker=MLflowBenchmarkTracker.over(memory))
    assert memory.runs == {}


def test_an_onnx_model_is_compared_with_pytorch_of_the_same_run(
    tiny_checkpoint: Checkpoint, tiny_served: Path, texts: list[str], tmp_path: Path
) -> None:
    memory, steps = MemoryBackend(), list[tuple[str, int, int]]()
    candidates = [
        Candidate("torch", tiny_checkpoint.path, "tiny"),
        Candidate("int8", tiny_served, "tiny", backend="onnx_int8", source="conversion"),
        Candidate("other", tiny_served, "else", backend="onnx_int8", source="conversion"),
    ]
    tracker, uids = MLflowBenchmarkTracker.over(memory), {name: name for name in ("torch", "int8", "other")}
    torch, int8, other = run_benchmarking(
        CONFIG, candidates, texts, tmp_path, tracker=tracker, uids=uids, progress=lambda *step: steps.append(step)
    )
    speedup = int8.report["speedup"]
    assert speedup["against"] == "torch"
    for size in ("1", "3"):
        expected = torch.report["batches"][size]["mean_ms"] / int8.report["batches"][size]["mean_ms"]
        assert speedup["batches"][size]["ratio"] == pytest.approx(expected)
        assert memory.runs["int8"].metrics[f"speedup_batch_{size}"] == pytest.approx(expected)
        assert {f"e2e_speedup_batch_{size}_low", f"e2e_speedup_batch_{size}_high"} <= set(memory.runs["int8"].metrics)
    assert "speedup" not in torch.report and "speedup" not in other.report
    assert memory.runs["int8"].tags["contended"] in ("true", "false")
    assert memory.runs["int8"].metrics["first_call_ms"] == int8.report["first_call_ms"]
    assert steps[0] == ("loading models to time", 0, 0) and steps[-1] == ("benchmark", 36, 36) and len(steps) > 3


def test_threads_left_open_are_one_number_for_all(
    tiny_checkpoint: Checkpoint,
    tiny_served: Path,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And that number is in every run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    asked, real = list[tuple[str, int | None, int]](), Candidate.load

    def load(candidate: Candidate, threads: int | None) -> Recognizer:
        asked.append((candidate.name, threads, torch.get_num_threads()))
        return real(candidate, threads)

    monkeypatch.setattr(Candidate, "load", load)
    candidates = [
        Candidate("torch", tiny_checkpoint.path, "tiny"),
        Candidate("int8", tiny_served, "tiny", backend="onnx_int8", source="conversion"),
    ]
    before = torch.get_num_threads()
    results = run_benchmarking(CONFIG.model_copy(update={"threads": None}), candidates, texts, tmp_path)
    assert set(asked) == {("torch", 3, 3), ("int8", 3, 3)}
    assert [result.record().params["benchmark_threads"] for result in results] == [3, 3]
    assert torch.get_num_threads() == before
