"""A budget of time: how many trials of how many epochs fit into it, from the speed measured here and now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nertrail.config import Model
from nertrail.experiment import Experiment
from nertrail.ledger import fingerprint
from nertrail.records import read_json, write_json
from nertrail.stages.inputs import BackboneConfig, Inputs
from nertrail.stages.sweep import SweepConfig

if TYPE_CHECKING:
    from nertrail.ner.pace import Pace

FEWEST_TRIALS = 3  # below that a search is none; epochs are given up first
MOST_TRIALS = 200
FINAL_SHARE = 0.5  # most of the budget that the final training may take before its epochs are cut
CONVERSION_SECONDS = 30.0  # of one target: export, check and scoring, of a small encoder on one core
SAMPLE_BATCHES = 8
SAMPLE_TEXTS = 32
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class BackbonePlan(Model):
    """What one backbone's sweep may do."""

    max_trials: int
    epochs: int
    timeout_minutes: float


class BudgetPlan(Model):
    """What a budget is spent on.

    `epoch_seconds` is the measured time of one epoch, by backbone; `measuring` is what that took, `reserve` what is
    kept for the stages after the sweeps, and `expected` what everything takes, in seconds.
    """

    mark: str
    seconds: float
    epoch_seconds: Mapping[str, float]
    sweeps: Mapping[str, BackbonePlan]
    training_epochs: int
    measuring: float = 0.0
    reserve: float = 0.0
    expected: float = 0.0

    def said(self) -> list[str]:
        """The plan in sentences."""
        kept = (
            f", {self.reserve:.0f} s for what follows the sweeps; epochs of the final training: {self.training_epochs}"
        )
        lines = [f"{self.seconds:.0f} s: {self.measuring:.0f} s to measure the speed{kept if self.reserve else ''}"]
        for name, sweep in self.sweeps.items():
            epoch = f"{self.epoch_seconds[name]:.1f} s per epoch"
            lines.append(f"{name}, {epoch}: trials: {sweep.max_trials}, epochs of each: {sweep.epochs}")
        if self.expected > self.seconds:
            lines.append(f"too little: the least that can be done takes about {self.expected:.0f} s")
        return lines

    def sweep(self, config: SweepConfig, backbone: str) -> SweepConfig:
        """The settings of a backbone's sweep under this plan."""
        return config.model_copy(update=self.sweeps[backbone].model_dump())


class Cost(Model):
    """Seconds of one backbone: of an epoch, and of everything else in a trial."""

    epoch: float
    start: float

    def trial(self, epochs: int) -> float:
        return self.start + epochs * self.epoch


def within_budget(
    experiment: Experiment, inputs: Inputs, run_dir: Path, *, whole: bool, announce: Callable[[str], None] | None = None
) -> BudgetPlan | None:
    """The plan for `sweep.budget`, None without one; once made it holds for the run dir, whatever is measured later.

    Args:
        whole: the budget is for all stages, not for the sweeps alone.
        announce: told that the speed is measured, which takes a while.
    """
    if experiment.sweep.budget is None:
        return None
    parts = (experiment.sweep, experiment.training, experiment.benchmark, experiment.hyperparameters)
    shown = [part.model_dump(mode="json") for part in parts] + [b.model_dump(mode="json") for b in experiment.backbones]
    mark = fingerprint(shown, inputs.version, inputs.windows.max_length, whole)
    path = run_dir / "plan.json"
    if path.is_file() and (known := BudgetPlan.model_validate(read_json(path))).mark == mark:
        return known
    began, costs = time.monotonic(), {}
    for backbone in experiment.backbones:
        if announce is not None:
            announce(f"budget: measuring the speed of {backbone.name}")
        costs[backbone.name] = _cost(experiment, inputs, backbone)
    measuring, seconds = time.monotonic() - began, seconds_of(experiment.sweep.budget)
    plan = planned(experiment, seconds, costs, mark, whole=whole, measuring=measuring)
    write_json(path, plan.model_dump(mode="json"))
    return plan


def seconds_of(budget: str) -> float:
    """Seconds of a text such as 90s, 30m or 1.5h."""
    return float(budget[:-1]) * UNITS[budget[-1]]


def planned(
    experiment: Experiment,
    seconds: float,
    costs: Mapping[str, Cost],
    mark: str = "",
    *,
    whole: bool,
    measuring: float = 0.0,
) -> BudgetPlan:
    """Trials and epochs that fit into `seconds`. A budget too small for anything still gets one trial of one epoch."""
    slowest = max(costs.values(), key=lambda cost: cost.epoch)
    left = max(0.0, seconds - measuring)
    epochs = _final_epochs(experiment, left, slowest) if whole else experiment.training.epochs
    reserve = _reserve(experiment, slowest, epochs) if whole else 0.0
    share = max(0.0, left - reserve) / len(costs)
    sweeps = {name: _sweep(experiment.sweep, share, cost) for name, cost in costs.items()}
    trials = sum(sweeps[name].max_trials * cost.trial(sweeps[name].epochs) for name, cost in costs.items())
    return BudgetPlan(
        mark=mark,
        seconds=seconds,
        epoch_seconds={name: round(cost.epoch, 3) for name, cost in costs.items()},
        sweeps=sweeps,
        training_epochs=epochs,
        measuring=round(measuring, 3),
        reserve=round(reserve, 3),
        expected=round(measuring + reserve + trials * (experiment.sweep.k_folds or 1) / experiment.sweep.workers, 3),
    )


def _sweep(config: SweepConfig, seconds: float, cost: Cost) -> BackbonePlan:
    """As many epochs as leave room for a few trials, then as many trials as fit."""
    folds = config.k_folds or 1
    room = seconds * config.workers / folds
    fitting = [epochs for epochs in range(1, config.epochs + 1) if FEWEST_TRIALS * cost.trial(epochs) <= room]
    epochs = max(fitting, default=1)
    trials = min(MOST_TRIALS, max(1, int(room / cost.trial(epochs))))
    return BackbonePlan(max_trials=trials, epochs=epochs, timeout_minutes=max(seconds, 1.0) / 60)


def _final_epochs(experiment: Experiment, seconds: float, cost: Cost) -> int:
    room = FINAL_SHARE * seconds / experiment.training.seeds - cost.start
    return max(1, min(experiment.training.epochs, int(room / cost.epoch)))


def _reserve(experiment: Experiment, cost: Cost, epochs: int) -> float:
    """Seconds of everything after the sweeps: benchmarks at their own limit, training, conversions."""
    targets = len(experiment.conversion.targets)
    measured = len(experiment.backbones) * experiment.benchmark.candidates_per_backbone + 1 + targets
    series = 2 * len(experiment.benchmark.batch_sizes)  # the model alone, and end to end
    benchmarks = measured * series * experiment.benchmark.max_seconds
    return benchmarks + experiment.training.seeds * cost.trial(epochs) + targets * CONVERSION_SECONDS


def _cost(experiment: Experiment, inputs: Inputs, backbone: BackboneConfig) -> Cost:
    """What an epoch over all texts takes, by the pace on a sample."""
    from nertrail.ner.pace import measure_pace, pieces_of

    data, made = inputs.prepare(backbone), experiment.hyperparameters
    settings = made.fit_settings(
        epochs=1, seed=inputs.seed, metric=experiment.sweep.objective.metric, decoding=inputs.decoding, patience=None
    )
    train = data.encode(inputs.dataset.train[: SAMPLE_BATCHES * made.batch_size])
    validation = data.encode(inputs.dataset.validation[:SAMPLE_TEXTS])
    pace: Pace = measure_pace(data.backbone, train, validation, data.tokenizer, settings)
    return Cost(epoch=pace.epoch(pieces_of(data.train.windows), pieces_of(data.validation.windows)), start=pace.start)
