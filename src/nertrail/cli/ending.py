"""What a command says at its end: what to look out for, what it wrote, where its records are, how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nertrail.cli.output import print_comparison, print_lines, print_receipt, seen

if TYPE_CHECKING:
    from nertrail.experiment import Experiment
    from nertrail.pipeline import PipelineResult
    from nertrail.steps import Steps
    from nertrail.tracking.receipt import Receipt

_RUNS = "/#/experiments?workflowType=machine_learning"
"""Where the MLflow UI lists experiments of training runs; its front page shows those of language models."""


def print_pipeline_end(result: PipelineResult, experiment: Experiment, config: str, sets: Sequence[str]) -> None:
    """The end of `nertrail run`; `sets` are the overrides that a conversion would need as well."""
    from nertrail.ledger import Ledger
    from nertrail.summary import comparison

    print_lines(result.lines)
    print_comparison(comparison(Ledger(result.run_dir)))
    print_remarks(result.remarks)
    print(f"\nreport      {seen(result.report)}")
    _print_records(experiment, config, result.receipt)
    if not result.failures:
        print(f"next        nertrail {_after_pipeline(result.run_dir, experiment, _same(config, sets))}")


def print_stage_end(command: str, steps: Steps, config: str, sets: Sequence[str]) -> None:
    """The end of a stage's own command; `sets` are the overrides that the next command needs as well."""
    from nertrail.remarks import remarks

    print_lines(steps.lines)
    print_remarks(remarks(steps.ledger, steps.experiment, {line.step for line in steps.lines}))
    print()
    for path in _WROTE[command](steps):
        print(f"wrote       {seen(path)}")
    print(f"report      {seen(steps.run_dir / 'report.html')}")
    _print_records(steps.experiment, config, steps.trackers.receipt)
    if command in _NEXT:
        print(f"next        nertrail {shlex.join(_NEXT[command](steps, _same(config, sets)))}")


def print_remarks(remarks: Sequence[str]) -> None:
    """What a reader should not overlook."""
    for text in remarks:
        print(f"! {text}")


def _print_records(experiment: Experiment, config: str, receipt: Receipt) -> None:
    from nertrail.standalone import ui_command

    if experiment.mlflow is None:
        print(f"records     not tracked: {config} names no mlflow")
        return
    opened = ui_command(experiment.mlflow.tracking_uri)
    front = opened if opened.startswith("http") else f"{opened}, then http://127.0.0.1:5000"
    print(f"MLflow UI   {front.rstrip('/')}{_RUNS}")
    print_receipt(receipt)


def _after_pipeline(run_dir: Path, experiment: Experiment, same: list[str]) -> str:
    """What to do with the final model, which can be served once it is converted."""
    from nertrail.ledger import Ledger

    if experiment.conversion.targets:
        return f"{shlex.join(['predict', seen(run_dir)])} FILE"
    trained = Ledger(run_dir).entry("training")
    assert trained is not None, "a pipeline that has not failed has trained"
    return shlex.join(["convert", seen(Path(trained.result["checkpoint"])), "--config", *same])


def _same(config: str, sets: Sequence[str]) -> list[str]:
    """What the next command needs to see the same experiment."""
    return [config, *(part for text in sets for part in ("--set", text))]


def _result(steps: Steps, step: str) -> Any:
    entry = steps.ledger.entry(step)
    return entry.result if entry is not None else {}


def _swept(steps: Steps) -> list[Path]:
    return [sweep.checkpoint for sweep in steps.known_sweeps()]


def _chosen(steps: Steps) -> list[Path]:
    return [Path(_result(steps, "selection")["path"])]


def _trained(steps: Steps) -> list[Path]:
    return [Path(_result(steps, "training")["checkpoint"])]


def _measured(steps: Steps) -> list[Path]:
    return [Path(item["path"]) for item in _result(steps, "benchmark-models")]


_WROTE: Mapping[str, Callable[[Steps], list[Path]]] = {
    "sweep": _swept,
    "select": _chosen,
    "train": _trained,
    "benchmark": _measured,
}
_NEXT: Mapping[str, Callable[[Steps, list[str]], list[str]]] = {
    "sweep": lambda steps, same: ["select", *same, *_there(steps)],
    "select": lambda steps, same: ["train", *same, *_there(steps), "--params", seen(_chosen(steps)[0])],
    "train": lambda steps, same: ["convert", seen(_trained(steps)[0]), "--config", *same],
}


def _there(steps: Steps) -> list[str]:
    return ["--run-dir", seen(steps.run_dir)]
