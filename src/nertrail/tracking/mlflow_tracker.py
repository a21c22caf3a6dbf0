"""The public trackers: each records one stage, alone or below a parent run, and never makes it fail.

from nertrail.tracking.mlflow_tracker import MLflowBenchmarkTracker

tracker = MLflowBenchmarkTracker("my-experiment")
with tracker.start_benchmark_run("laptop", backbone="minilm"):
    tracker.log_benchmark_results(benchmark_json_path="benchmark.json")
"""

from __future__ import annotations

from nertrail.tracking.receipt import Receipt
from nertrail.tracking.run import Run
from nertrail.tracking.tracker import Tracker
from nertrail.tracking.trackers.benchmark import MLflowBenchmarkTracker
from nertrail.tracking.trackers.conversion import MLflowConversionTracker
from nertrail.tracking.trackers.pipeline import MLflowPipelineTracker
from nertrail.tracking.trackers.selection import MLflowSelectionTracker
from nertrail.tracking.trackers.sweep import MLflowSweepTracker
from nertrail.tracking.trackers.training import MLflowTrainingTracker

__all__ = [
    "MLflowBenchmarkTracker",
    "MLflowConversionTracker",
    "MLflowPipelineTracker",
    "MLflowSelectionTracker",
    "MLflowSweepTracker",
    "MLflowTrainingTracker",
    "Receipt",
    "Run",
    "Tracker",
]
