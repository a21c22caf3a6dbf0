"""A budget of time: how many trials of how many epochs fit into it, from the speed measured here and now."""

from __future__ import annotations

from collections.abc import Mapping
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
SAMPLE_BATCHES = 12
SAMPLE_TEXTS = 64
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class BackbonePlan(Model):
    """What one backbone's sweep may do."""

    max_trials: int
    epochs: int
    timeout_minutes: float


class BudgetPlan(Model):
    """What a budget is spent on. `epoch_seconds` is the measured time of one epoch, by backbone."""

    mark: str
    seconds: float
    epoch_seconds: Mapping[str, float]
    sweeps: Mapping[str, BackbonePlan]
    training_epochs: int

    def sweep(self, config: SweepConfig, backbone: str) -> SweepConfig:
        """The settings of a backbone's sweep under this plan."""
        return config.model_copy(update=self.sweeps[backbone].model_dump())


class Cost(Model):
    """Seconds of one backbone: of an epoch, and of everything else in a trial."""

    epoch: float
    start: float

    def trial(self, epochs: int) -> float:
        return self.start + epochs * self.epoch


def within_budget(experiment: Experiment, inputs: Inputs, run_dir: Path, *, whole: bool) -> BudgetPlan | None:
    """The plan for `sweep.budget`, None without one; once made it holds for the run dir, whatever is measured later.

    Args:
        whole: the budget is for all stages, not for the sweeps alone.
    """
    if experiment.sweep.budget is None:
        return None
    parts = (experiment.sweep, experiment.training, experiment.benchmark, experiment.hyperparameters)
    shown = [part.model_dump(mode="json") for part in parts] + [b.model_dump(mode="json") for b in experiment.backbones]
    mark = fingerprint(shown, inputs.version, whole)
    path = run_dir / "plan.json"
    if path.is_file() and (known := BudgetPlan.model_validate(read_json(path))).mark == mark:
        return known
    costs = {backbone.name: _cost(experiment, inputs, backbone) for backbone in experiment.backbones}
    plan = planned(experiment, seconds_of(experiment.sweep.budget), costs, mark, whole=whole)
    write_json(path, plan.model_dump(mode="json"))
    return plan


def seconds_of(budget: str) -> float:
    """Seconds of a text such as 90s, 30m or 1.5h."""
    return float(budget[:-1]) * UNITS[budget[-1]]


def planned(
    experiment: Experiment, seconds: float, costs: Mapping[str, Cost], mark: str = "", *, whole: bool
) -> BudgetPlan:
    """Trials and epochs that fit into `seconds`. A budget too small for anything still gets one trial of one epoch."""
    slowest = max(costs.values(), key=lambda cost: cost.epoch)
    epochs = _final_epochs(experiment, seconds, slowest) if whole else experiment.training.epochs
    rest = seconds - (_reserve(experiment, slowest, epochs) if whole else 0.0)
    share = max(0.0, rest) / len(costs)
    return BudgetPlan(
        mark=mark,
        seconds=seconds,
        epoch_seconds={name: round(cost.epoch, 3) for name, cost in costs.items()},
        sweeps={name: _sweep(experiment.sweep, share, cost) for name, cost in costs.items()},
        training_epochs=epochs,
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
