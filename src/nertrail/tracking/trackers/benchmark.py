"""Benchmark runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from nertrail.records import Artifact, RunRecord, read_json
from nertrail.tracking import names
from nertrail.tracking.files import readable, write_document
from nertrail.tracking.run import Run
from nertrail.tracking.settings import BenchmarkSwitches, Switches
from nertrail.tracking.tracker import Parent, Tracker


class MLflowBenchmarkTracker(Tracker):
    """Records a benchmark."""

    stage = "benchmark"
    switches_type: ClassVar[type[Switches]] = BenchmarkSwitches

    def start_benchmark_run(
        self,
        run_name: str,
        backbone: str,
        benchmark_source: str = "final_training",
        *,
        uid: str | None = None,
        parent: Parent = None,
    ) -> Run:
        """Open a benchmark run. `benchmark_source`: hpo_trial, final_training or conversion."""
        tags = {"benchmark_source": benchmark_source, "benchmarked_model": backbone}
        self.run = self._start(run_name, run_type="benchmark", tags=tags, uid=uid, parent=parent, backbone=backbone)
        return self.run

    def log_benchmark_results(
        self,
        batch_sizes: Sequence[int] | None = None,
        iterations: int | None = None,
        warmup_iterations: int | None = None,
        max_length: int | None = None,
        device: str | None = None,
        benchmark_json_path: str | Path | None = None,
        benchmark_data: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the document of a benchmark.json, given as data or as the file. What is given by name wins over it."""
        given = {
            "batch_sizes": batch_sizes,
            "iterations": iterations,
            "warmup_iterations": warmup_iterations,
            "max_length": max_length,
            "device": device,
        }
        self._log_with_files(lambda folder: _record(given, benchmark_json_path, benchmark_data, folder))


def _record(
    given: Mapping[str, Any], file: str | Path | None, data: Mapping[str, Any] | None, folder: Path
) -> RunRecord:
    path = readable(Path(file)) if file else None
    if data is None:
        data = read_json(path) if path else {}
    if path is None and data:
        path = write_document(folder / "benchmark.json", data)
    doc = {**data, **{name: value for name, value in given.items() if value is not None}}
    artifacts = (Artifact(path, "benchmark.json"),) if path else ()
    return RunRecord(
        names.benchmark_params(doc), names.benchmark_metrics(doc), names.benchmark_tags(doc), artifacts=artifacts
    )
