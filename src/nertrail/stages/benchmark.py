"""Benchmark: latency and throughput of models on real texts, all candidates in interleaved rounds."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ModelError
from nertrail.ner.digests import folder_digest
from nertrail.numbers import BatchSize, Count, CountOrZero, Positive, Threads
from nertrail.records import Artifact, RunRecord, write_json
from nertrail.stages.inputs import Progress, quiet
from nertrail.tracking.mlflow_tracker import MLflowBenchmarkTracker
from nertrail.tracking.names import benchmark_metrics, benchmark_params, benchmark_tags

if TYPE_CHECKING:
    from nertrail.ner.latency import LatencySettings, Report
    from nertrail.ner.predictor import Recognizer
    from nertrail.stages.conversion import ConversionResult
    from nertrail.stages.sweep import SweepResult
    from nertrail.stages.training import TrainingResult

STAGE = "benchmark"
Source = Literal["hpo_trial", "final_training", "conversion"]
Backend = Literal["torch", "onnx_fp32", "onnx_fp16", "onnx_int8"]
_FILES: Mapping[Backend, str] = {
    "onnx_fp32": "model_fp32.onnx",
    "onnx_fp16": "model_fp16.onnx",
    "onnx_int8": "model_int8.onnx",
}


MOST_TEXTS = 200_000  # of the largest batches together: they are drawn before the clock starts


class BenchmarkConfig(Model):
    """How models are timed. A series goes on until it has its `iterations`, but never beyond `max_seconds`.

    The default of 100 is what a p99 needs; with fewer calls it is flagged as underpowered.
    """

    batch_sizes: tuple[BatchSize, ...] = pydantic.Field(default=(1, 4), min_length=1, max_length=16)
    iterations: Count = pydantic.Field(default=100, le=10_000)
    warmup_iterations: CountOrZero = 3
    max_seconds: Positive = 10.0
    threads: Threads | None = 1
    candidates_per_backbone: Count = 1

    @pydantic.model_validator(mode="after")
    def _fits_into_memory(self) -> BenchmarkConfig:
        if self.iterations * max(self.batch_sizes) > MOST_TEXTS:
            wanted = f"{self.iterations} iterations of {max(self.batch_sizes)} texts"
            raise ValueError(f"{wanted} are more than {MOST_TEXTS} texts: choose fewer iterations or smaller batches")
        return self

    def settings(self, max_length: int, seed: int) -> LatencySettings:
        from nertrail.ner.latency import LatencySettings

        values = self.model_dump(exclude={"candidates_per_backbone"})
        return LatencySettings(**values, max_length=max_length, seed=seed)


@dataclass(frozen=True)
class Candidate:
    """A model to be timed. `folder` holds a checkpoint (torch) or an ONNX model."""

    name: str
    folder: Path
    backbone: str
    backend: Backend = "torch"
    source: Source = "final_training"

    def load(self, threads: int | None) -> Recognizer:
        from nertrail.ner.predictor import OnnxRecognizer

        if self.backend != "torch":
            return OnnxRecognizer(self.folder, _FILES[self.backend], threads)
        from nertrail.ner.checkpoint import load_checkpoint
        from nertrail.ner.predictor import TorchRecognizer

        return TorchRecognizer(load_checkpoint(self.folder), threads=threads)

    def digest(self) -> str:
        """16 hex digits over the model's files: what another model in the same folder changes."""
        return folder_digest(self.folder)


class BenchmarkResult(Model):
    """The numbers of one model: its run, the benchmark.json document and where it lies."""

    uid: str
    name: str
    backbone: str
    backend: Backend
    source: Source
    report: Mapping[str, Any]
    path: Path
    picture: Path | None = None

    def latencies(self) -> dict[int, float]:
        """Mean milliseconds of the model alone, by batch size."""
        return {int(size): float(batch["mean_ms"]) for size, batch in self.report["batches"].items()}

    def conditions(self) -> str:
        """How it was measured: what must be equal before two latencies are compared."""
        report = self.report
        machine = report["hardware"].get("cpu", "")
        where = f"{report['backend']} on {report['device']} ({machine})"
        return f"{where}, {report['threads']} threads, {report['max_length']} pieces"

    def record(self) -> RunRecord:
        """What the benchmark run shows."""
        pictures = (Artifact(self.picture, "latency.png"),) if self.picture else ()
        return RunRecord(
            params=benchmark_params(self.report),
            metrics=benchmark_metrics(self.report),
            tags=benchmark_tags(self.report),
            artifacts=(Artifact(self.path, "benchmark.json"), *pictures),
        )


def run_benchmarking(
    config: BenchmarkConfig,
    candidates: Sequence[Candidate],
    texts: Sequence[str],
    folder: Path,
    *,
    max_length: int | None = None,
    seed: int = 42,
    tracker: MLflowBenchmarkTracker | None = None,
    uids: Mapping[str, str] | None = None,
    progress: Progress = quiet,
) -> list[BenchmarkResult]:
    """Time `candidates` on `texts` and leave one run for each.

    All are measured in interleaved rounds, so that a drift of the machine hits all alike.

    Args:
        texts: real texts, for example of the validation split; their order is shuffled with `seed`.
        folder: gets `<candidate>/benchmark.json` and `latency.png`.
        max_length: pieces a window may have; None for as many as the shortest window of the candidates, so that all
            are timed alike.
        uids: the MLflow run of each candidate to go on with.

    Raises:
        ModelError: a candidate's folder holds no model.
    """
    from nertrail.ner.devices import thread_count
    from nertrail.ner.latency import measure

    config = config.model_copy(update={"threads": thread_count(config.threads)})  # one number for all that is timed
    tracker = tracker or MLflowBenchmarkTracker.off()
    _check(candidates)
    with contextlib.ExitStack() as stack:
        runs = {
            candidate.name: stack.enter_context(
                tracker.start_benchmark_run(
                    f"benchmark-{candidate.name}",
                    candidate.backbone,
                    candidate.source,
                    uid=(uids or {}).get(candidate.name),
                )
            )
            for candidate in candidates
        }
        progress("loading models to time", 0, 0)
        reports = measure(
            {candidate.name: _loader(candidate, config.threads) for candidate in candidates},
            _shuffled(texts, seed),
            config.settings(max_length or _shortest_window(candidates), seed),
            lambda done, total: progress("benchmark", done, total),
        )
        results = [_result(c, _document(c, candidates, reports), folder / c.name, runs[c.name].uid) for c in candidates]
        for result in results:
            runs[result.name].log(result.record())
    return results


def trial_candidates(sweeps: Sequence[SweepResult]) -> list[Candidate]:
    """The best trials of every sweep, those whose checkpoints were kept."""
    return [
        Candidate(sweep.trial_name(number), path, sweep.backbone, source="hpo_trial")
        for sweep in sweeps
        for number, path in sweep.checkpoints.items()
    ]


def final_candidates(training: TrainingResult, conversions: Sequence[ConversionResult]) -> list[Candidate]:
    """The final model and each ONNX model made of it."""
    return [
        Candidate("final-torch", training.checkpoint, training.backbone),
        *(
            Candidate(f"final-{result.target}", result.folder, training.backbone, result.target, "conversion")
            for result in conversions
            if result.folder is not None
        ),
    ]


def candidates_in(folders: Sequence[Path]) -> list[Candidate]:
    """A candidate for each folder, a checkpoint or a converted model, named after it; of one name, the second is `-2`.

    Raises:
        ModelError: a folder holds neither.
    """
    from nertrail.ner.checkpoint import read_manifest

    found, seen = list[Candidate](), Counter[str]()
    for folder in folders:
        backbone, label = read_manifest(folder).backbone_name, folder.resolve().name
        seen[label] += 1
        label = label if seen[label] == 1 else f"{label}-{seen[label]}"
        backends: list[Backend] = [name for name, file in _FILES.items() if (folder / file).is_file()] or ["torch"]
        found += [Candidate(f"{label}-{name}", folder, backbone, name) for name in backends]
    return found


def _loader(candidate: Candidate, threads: int | None) -> Callable[[], Recognizer]:
    return lambda: candidate.load(threads)


def _shortest_window(candidates: Sequence[Candidate]) -> int:
    from nertrail.ner.checkpoint import read_manifest

    return min((read_manifest(candidate.folder).windows.max_length for candidate in candidates), default=128)


def _check(candidates: Sequence[Candidate]) -> None:
    for candidate in candidates:
        wanted = _FILES.get(candidate.backend, "nertrail.json")
        if not (candidate.folder / wanted).is_file():
            raise ModelError(
                f"holds no {wanted}",
                place=str(candidate.folder),
                remedy="give the folder of a checkpoint or of a converted model",
            )


def _shuffled(texts: Sequence[str], seed: int) -> list[str]:
    order = list(texts)
    random.Random(seed).shuffle(order)
    return order


def _document(candidate: Candidate, among: Sequence[Candidate], reports: Mapping[str, Report]) -> dict[str, Any]:
    """The benchmark.json document; of an ONNX model with its speed-up over PyTorch, where that was timed beside it."""
    document = {**reports[candidate.name].to_json(), "backend": candidate.backend}
    twins = [other.name for other in among if other.backend == "torch" and other.backbone == candidate.backbone]
    if candidate.backend == "torch" or not twins:
        return document
    return {**document, "speedup": {"against": twins[0], **_speedups(reports[twins[0]], reports[candidate.name])}}


def _speedups(torch: Report, onnx: Report) -> dict[str, Any]:
    from nertrail.ner.series import speedup

    kinds = {"batches": (torch.forward, onnx.forward), "e2e": (torch.end_to_end, onnx.end_to_end)}
    return {
        kind: {str(size): speedup(before[size], series) for size, series in after.items()}
        for kind, (before, after) in kinds.items()
    }


def _result(candidate: Candidate, report: dict[str, Any], folder: Path, uid: str) -> BenchmarkResult:
    from nertrail import plots

    path = write_json(folder / "benchmark.json", report)
    picture = plots.latency(report, folder / "latency.png", candidate.name)
    return BenchmarkResult(
        uid=uid,
        name=candidate.name,
        backbone=candidate.backbone,
        backend=candidate.backend,
        source=candidate.source,
        report=report,
        path=path,
        picture=picture,
    )
