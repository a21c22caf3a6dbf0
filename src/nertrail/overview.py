"""What a run dir says of itself as a whole: the report, and what the pipeline's run shows beside its stages' runs."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nertrail import __version__
from nertrail.ledger import Ledger
from nertrail.records import RunRecord
from nertrail.remarks import remarks
from nertrail.report import write_report
from nertrail.stages.benchmark import BenchmarkResult
from nertrail.stages.conversion import ConversionResult
from nertrail.stages.selection import SelectionResult
from nertrail.stages.training import TrainingResult
from nertrail.steps import Steps, planned
from nertrail.tracking.provenance import git_commit

_SHOWN = ("macro-f1-span", "micro-f1-span")


def write_overview(steps: Steps, title: str) -> Path:
    """Write report.html of what the run dir holds of this experiment, models timed by hand included."""
    names = [*planned(steps.experiment), "benchmark-models"]
    path = steps.run_dir / "report.html"
    return write_report(path, title, steps.ledger.shown(names), about(steps), remarks(steps.ledger, steps.experiment))


def about(steps: Steps) -> dict[str, str]:
    """When, where, with what and of which data."""
    inputs = steps.inputs
    sizes = ", ".join(f"{name} {len(texts)}" for name, texts in inputs.dataset.splits.items() if texts)
    told = {
        "written": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
        "nertrail": __version__,
        "commit": git_commit(str(Path.cwd())),
        "run dir": str(steps.run_dir.absolute()),
        "data": f"{inputs.source} (texts: {sizes})",
        "data version": inputs.version,
        "machine": _machine(steps.ledger),
    }
    return {name: value for name, value in told.items() if value}


def _machine(ledger: Ledger) -> str:
    """The hardware that the models were timed on, else what Python knows of this machine."""
    for step in ("benchmark-final", "benchmark-trials", "benchmark-models"):
        for result in _timed(ledger, step):
            found = result.report["hardware"]
            shown = (found.get("cpu"), f"cores: {found['cores']}" if "cores" in found else "", found.get("isa"))
            return ", ".join(str(part) for part in shown if part)
    return platform.processor() or platform.machine()


def record(ledger: Ledger, data_version: str, run_dir: Path, said: Sequence[str] = ()) -> RunRecord:
    """The choice, the final scores, sizes and latencies, for the pipeline's run; what is not done is left out.

    The choice is shown as tags, not params: a step that is done again may choose anew, in the same run.

    Args:
        said: the remarks, which end the run's description.
    """
    selection, training = _one(ledger, "selection", SelectionResult), _one(ledger, "training", TrainingResult)
    tags = {"data_version": data_version}
    if selection:
        chosen = selection.selection.selected
        tags |= {"selected_backbone": chosen.backbone, "selected_candidate": chosen.name}
    notes = [selection.selection.reason if selection else "", f"Run dir: {run_dir.absolute()}", *said]
    tags["mlflow.note.content"] = "\n\n".join(filter(None, notes))
    return RunRecord(metrics=dict(_metrics(ledger, training)), tags=tags)


def _metrics(ledger: Ledger, training: TrainingResult | None) -> Iterator[tuple[str, float]]:
    if training:
        scores: Mapping[str, float] = {**training.metrics, **{f"test_{k}": v for k, v in training.test_metrics.items()}}
        yield from ((name, scores[name]) for base in _SHOWN for name in (base, f"test_{base}") if name in scores)
    for entry in ledger.entries():
        if entry.step.startswith("conversion-") and entry.state == "done":
            made = ConversionResult.model_validate(entry.result)
            yield f"{made.target}_model_size_mb", made.onnx_bytes / 1e6
    for timed in _timed(ledger, "benchmark-final"):
        yield from ((f"{timed.backend}_latency_batch_{size}_ms", ms) for size, ms in timed.latencies().items())


def _timed(ledger: Ledger, step: str) -> list[BenchmarkResult]:
    entry = ledger.entry(step)
    done = entry is not None and entry.state == "done"
    return [BenchmarkResult.model_validate(item) for item in entry.result] if entry and done else []


def _one(ledger: Ledger, step: str, kind: Any) -> Any:
    entry = ledger.entry(step)
    return kind.model_validate(entry.result) if entry and entry.state == "done" else None
