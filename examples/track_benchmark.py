"""Record a benchmark of anything: one tracker, no pipeline.

    python examples/track_benchmark.py

Recorded in runs/my-experiment, delivered to MLFLOW_TRACKING_URI, or else to mlflow.db in the working directory.
"""

from __future__ import annotations

import statistics
import time

from nertrail.tracking.mlflow_tracker import MLflowBenchmarkTracker


def call(batch_size: int) -> None:
    """What is timed: put your model here."""
    sum(number * number for number in range(1000 * batch_size))


def timed(batch_size: int, iterations: int = 20) -> dict[str, float]:
    """Milliseconds per call."""
    samples = []
    for _ in range(iterations):
        began = time.perf_counter()
        call(batch_size)
        samples.append(1000 * (time.perf_counter() - began))
    mean = statistics.fmean(samples)
    return {
        "mean_ms": mean,
        "std_ms": statistics.stdev(samples),
        "throughput_samples_per_sec": 1000 * batch_size / mean,
    }


def main() -> None:
    tracker = MLflowBenchmarkTracker("my-experiment")
    with tracker.start_benchmark_run("squares", backbone="squares") as run:
        document = {"device": "cpu", "backend": "python", "batches": {str(size): timed(size) for size in (1, 4)}}
        tracker.log_benchmark_results(iterations=20, benchmark_data=document)
    receipt = tracker.flush()
    print(f"run {run.uid}: {receipt.delivered} of {receipt.written} records delivered")
    tracker.close()


if __name__ == "__main__":
    main()
