"""What a reader of a run dir should not overlook: a final model behind its trial, times taken on a busy machine, a
converted model that was not compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from nertrail.experiment import Experiment
from nertrail.ledger import Ledger
from nertrail.stages.benchmark import BenchmarkResult
from nertrail.stages.conversion import ConversionResult
from nertrail.stages.selection import Selection, SelectionConfig, SelectionResult
from nertrail.stages.training import TrainingResult

_BENCHMARKS = ("benchmark-trials", "benchmark-final", "benchmark-models")


def remarks(ledger: Ledger, experiment: Experiment, steps: Collection[str] | None = None) -> list[str]:
    """The remarks on the steps that are done, in sentences; none where all is well.

    Args:
        steps: only these are remarked on; None: all.
    """
    converted = [f"conversion-{target}" for target in experiment.conversion.targets]
    told = {
        "training": [_behind(ledger, experiment)],
        **{step: [_unproven(ledger, step)] for step in converted},
        **{step: list(_busy(ledger, step)) for step in _BENCHMARKS},
    }
    return [text for step, texts in told.items() if steps is None or step in steps for text in texts if text]


def _behind(ledger: Ledger, experiment: Experiment) -> str:
    training, selection = _result(ledger, "training"), _result(ledger, "selection")
    if not training or not selection:
        return ""
    chosen, trained = SelectionResult.model_validate(selection), TrainingResult.model_validate(training)
    return setback(chosen.selection, trained, experiment)


def setback(selection: Selection, training: TrainingResult, experiment: Experiment) -> str:
    """One sentence where the final model's objective on validation is worse than its trial's by more than the
    selection may give up; a selection that may give up nothing is taken by the default threshold. Else empty.
    """
    metric, chosen = selection.objective, selection.selected
    found, sign = training.metrics.get(metric), 1.0 if selection.goal == "maximize" else -1.0
    if found is None or training.training_type != "final" or training.backbone != chosen.backbone:
        return ""
    gap = sign * (chosen.score - found)
    if gap <= _allowed(selection.config, chosen.score):
        return ""
    numbers = f"({metric} {found:.4f} against {chosen.score:.4f})"
    text = f"the final model is {gap:.4f} worse on validation than {chosen.name}, which it was chosen for {numbers}"
    return f"{text}{_suspect(experiment)}"


def _allowed(config: SelectionConfig, score: float) -> float:
    threshold = SelectionConfig().accuracy_threshold if config.accuracy_threshold is None else config.accuracy_threshold
    share = max(threshold or 0.0, config.min_accuracy_gain)
    return share * abs(score) if config.use_relative_threshold else share


def _suspect(experiment: Experiment) -> str:
    """What differs between the two trainings and may be the cause."""
    trials, final = experiment.sweep, experiment.training
    if final.epochs < trials.epochs:
        return f"; training.epochs ({final.epochs}) is below sweep.epochs ({trials.epochs})"
    if trials.k_folds:
        return f"; the trial's score is the mean over {trials.k_folds} folds of the train split"
    return ""


def _unproven(ledger: Ledger, step: str) -> str:
    converted = _result(ledger, step)
    return unproven(ConversionResult.model_validate(converted)) if converted else ""


def unproven(converted: ConversionResult) -> str:
    """One sentence where a converted model passed no gate, though it was made; else empty."""
    why = {
        "passed": "",
        "not compared": "no validation texts with entities were at hand",
        "switched off": "conversion.min_f1_share is 0",
    }[converted.gate]
    return why and f"{converted.target} was not held to PyTorch's entity F1: {why}"


def _busy(ledger: Ledger, step: str) -> Iterator[str]:
    timed = [BenchmarkResult.model_validate(item) for item in _result(ledger, step) or []]
    names = ", ".join(result.name for result in timed if result.report.get("contended"))
    if names:
        what = f"{step}: the machine was busy while timing {names}, so the times say too much"
        yield f"{what}; how busy: cpu_over_wall in {timed[0].path.parent.parent}/*/benchmark.json"


def _result(ledger: Ledger, step: str) -> Any:
    entry = ledger.entry(step)
    return entry.result if entry and entry.state == "done" else None
