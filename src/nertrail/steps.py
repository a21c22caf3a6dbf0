"""The steps of an experiment: each stage's function with its inputs, its place in the run dir, and its ledger entry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nertrail.budget import within_budget
from nertrail.errors import ConfigError
from nertrail.experiment import Experiment
from nertrail.ledger import fingerprint, forced, parsed
from nertrail.ner.digests import folder_digest
from nertrail.ner.ranks import world
from nertrail.reuse import Announce, Reuse, log
from nertrail.stages.benchmark import (
    BenchmarkResult,
    Candidate,
    final_candidates,
    run_benchmarking,
    trial_candidates,
)
from nertrail.stages.continuation import Source, locate
from nertrail.stages.conversion import ConversionResult, Target, Texts, convert_model
from nertrail.stages.hyperparameters import Hyperparameters
from nertrail.stages.inputs import BackboneConfig, Inputs, Progress, quiet
from nertrail.stages.selection import SelectionResult, run_selection, selection_candidates
from nertrail.stages.sweep import SweepConfig, SweepResult, run_sweep
from nertrail.stages.training import TrainingConfig, TrainingResult, check_source, follow_training, train_model
from nertrail.trackers import Trackers
from nertrail.tracking.mlflow_tracker import (
    MLflowBenchmarkTracker,
    MLflowConversionTracker,
    MLflowSelectionTracker,
    MLflowSweepTracker,
    MLflowTrainingTracker,
)


def planned(experiment: Experiment) -> list[str]:
    """The steps of a pipeline, in their order. A run dir may hold others, of backbones or targets since removed."""
    sweeps = [f"sweep-{backbone.name}" for backbone in experiment.backbones]
    conversions = [f"conversion-{target}" for target in experiment.conversion.targets]
    return [*sweeps, "benchmark-trials", "selection", "training", *conversions, "benchmark-final"]


def look(inputs: Inputs) -> list[Any]:
    """What decides how the data is seen."""
    windows = [inputs.windows.max_length, inputs.windows.stride, inputs.windows.words, inputs.compared]
    return [inputs.version, inputs.dataset.types, windows, inputs.decoding, inputs.seed]


def contents(experiment: Experiment, inputs: Inputs) -> list[Any]:
    """What an experiment's settings only name: the data, the backbones, and what its training goes on from."""
    training = experiment.training
    old = training.source_data and experiment.read(training.source_data).version
    source = folder_digest(Path(training.source)) if training.source and Path(training.source).is_dir() else None
    return [inputs.version, [backbone.digest() for backbone in experiment.backbones], source, old]


def _sweep_note(config: SweepConfig, inputs: Inputs) -> str:
    """What a reader should know of a search before it begins."""
    notes = ["so few trials are random search"] if config.is_random_search() else []
    if len(inputs.compared) > 1 and "max_length" not in config.search_space:
        tried = inputs.compared[: config.max_trials]
        notes.append(f"the first have windows of {', '.join(map(str, tried))} pieces and else the same values")
    return f" ({'; '.join(notes)})" if notes else ""


class _TrainingWork(NamedTuple):
    """What a training is called with, and the fingerprint of it."""

    given: tuple[TrainingConfig, Hyperparameters, Inputs, BackboneConfig, Path]
    source: Source | None
    old: Inputs | None
    mark: str

    @property
    def folder(self) -> Path:
        return self.given[4]


class Steps(Reuse):
    """The stages of one experiment in one run dir. A step that is done and unchanged is not done again.

    Args:
        force: stages or single steps that are done again all the same.
        announce: told what starts, continues or is reused.
    """

    def __init__(
        self,
        experiment: Experiment,
        run_dir: Path,
        inputs: Inputs,
        trackers: Trackers,
        *,
        force: Collection[str] = (),
        progress: Progress = quiet,
        announce: Announce = log.info,
    ) -> None:
        super().__init__(run_dir, inputs, trackers, force, announce)
        self.experiment, self.progress = experiment, progress
        self.sweeps: dict[str, SweepConfig] = {}

    def plan(self, *, whole: bool) -> None:
        """Fit trials and epochs into the budget, if there is one: of all stages (`whole`), or of the sweeps alone."""
        found = within_budget(self.experiment, self.inputs, self.run_dir, whole=whole, announce=self.announce)
        if found is None:
            return
        training = self.experiment.training.model_copy(update={"epochs": found.training_epochs})
        self.experiment = self.experiment.model_copy(update={"training": training})
        self.sweeps = {b.name: found.sweep(self.experiment.sweep, b.name) for b in self.experiment.backbones}
        for line in found.said():
            self.announce(f"budget: {line}")

    def sweep(self, backbone: BackboneConfig) -> SweepResult:
        config = self.sweeps.get(backbone.name, self.experiment.sweep)
        extendable = config.model_dump(mode="json", exclude={"max_trials", "timeout_minutes", "budget", "workers"})
        base = [extendable, self._hyperparameters(), self._look(), backbone.model_dump(mode="json"), backbone.digest()]
        folder = self.run_dir / "checkpoints" / f"sweep-{backbone.name}"
        return self._step(
            f"sweep-{backbone.name}",
            SweepResult,
            fingerprint(base, config.max_trials, config.timeout_minutes),
            lambda entry: run_sweep(
                config,
                self.experiment.hyperparameters,
                self.inputs,
                backbone,
                folder,
                tracker=self.trackers.of(MLflowSweepTracker),
                keep=self.experiment.benchmark.candidates_per_backbone,
                uid=entry.uid,
                progress=self.progress,
            ),
            identity=fingerprint(base),
            folder=folder,
            note=_sweep_note(config, self.inputs),
        )

    def known_sweeps(self) -> list[SweepResult]:
        """The finished sweeps of the run dir, one per backbone.

        Raises:
            ConfigError: a backbone has none.
        """
        found = []
        for backbone in self.experiment.backbones:
            entry = self.ledger.entry(f"sweep-{backbone.name}")
            if entry is None or entry.state != "done":
                problem = f"holds no finished sweep of {backbone.name}"
                raise ConfigError(
                    problem, place=str(self.run_dir), remedy="run `nertrail sweep` with this run dir first"
                )
            found.append(parsed(entry, SweepResult))
        return found

    def benchmark_trials(self, sweeps: Sequence[SweepResult]) -> list[BenchmarkResult]:
        uids = [trial.uid for sweep in sweeps for trial in sweep.trials]
        return self.benchmark("benchmark-trials", trial_candidates(sweeps), uids)

    def benchmark_models(self, candidates: list[Candidate]) -> list[BenchmarkResult]:
        """Models from anywhere; another model in the same folder is measured anew."""
        digests, longest = [candidate.digest() for candidate in candidates], self.inputs.windows.max_length
        return self.benchmark("benchmark-models", candidates, digests, longest)

    def benchmark(
        self, step: str, candidates: list[Candidate], sources: list[str], max_length: int | None = None
    ) -> list[BenchmarkResult]:
        names = [candidate.name for candidate in candidates]
        config = self.experiment.benchmark.model_dump(mode="json")
        return self._step(
            step,
            list[BenchmarkResult],
            fingerprint(config, self._look(), names, sources),
            lambda entry: run_benchmarking(
                self.experiment.benchmark,
                candidates,
                [document.text for document in self.inputs.dataset.validation],
                self.run_dir / "artifacts" / step,
                max_length=max_length,
                seed=self.experiment.seed,
                tracker=self.trackers.of(MLflowBenchmarkTracker),
                uids=entry.uids,
                progress=self.progress,
            ),
            runs=names,
        )

    def select(self, sweeps: Sequence[SweepResult], benchmarks: Sequence[BenchmarkResult]) -> SelectionResult:
        candidates = selection_candidates(sweeps, benchmarks)
        objective = self.experiment.sweep.objective
        config = self.experiment.selection
        shown = [candidate.model_dump(mode="json", exclude={"checkpoint"}) for candidate in candidates]
        return self._step(
            "selection",
            SelectionResult,
            fingerprint(config.model_dump(mode="json"), objective.model_dump(mode="json"), shown),
            lambda entry: run_selection(
                config,
                candidates,
                self.run_dir / "artifacts" / "selection",
                objective=objective.metric,
                goal=objective.goal,
                tracker=self.trackers.of(MLflowSelectionTracker),
                uid=entry.uid,
            ),
        )

    def train(self, backbone: BackboneConfig, hyperparameters: Hyperparameters) -> TrainingResult:
        """The final training, or that of `training.source` further."""
        work = self._training(backbone, hyperparameters)
        return self._step(
            "training",
            TrainingResult,
            work.mark,
            lambda entry: train_model(
                *work.given,
                source_checkpoint=work.source,
                old=work.old,
                tracker=self.trackers.of(MLflowTrainingTracker),
                uid=entry.uid,
                progress=self.progress,
            ),
            folder=work.folder,
        )

    def follow(self, backbone: BackboneConfig, hyperparameters: Hyperparameters) -> None:
        """Take part in the training that the first of several processes does, and leave everything else to it."""
        work = self._training(backbone, hyperparameters)
        if not self.ledger.is_done("training", work.mark) or forced("training", self.force):
            follow_training(*work.given, source_checkpoint=work.source, old=work.old)

    def _training(self, backbone: BackboneConfig, hyperparameters: Hyperparameters) -> _TrainingWork:
        """What a training is made of, checked before anything is written but what a server has to give."""
        config, folder = self.experiment.training, self.run_dir / "checkpoints" / "training"
        source, old = self._source(), self._old()
        if source is not None:
            check_source(config, self.inputs, source, old)
            if source.checkpoint.path.resolve().is_relative_to(folder.resolve()):
                remedy = "choose another run dir with --run-dir, or copy the checkpoint"
                raise ConfigError("lies where the new training will be written", place=source.name, remedy=remedy)
        parts = [part.model_dump(mode="json") for part in (config, hyperparameters, backbone)]
        made_of = source.digest() if source else backbone.digest()
        texts = [self._look(), self.inputs.show_texts, old and look(old)]
        mark = fingerprint(parts, texts, made_of, world())
        return _TrainingWork((config, hyperparameters, self.inputs, backbone, folder), source, old, mark)

    def _source(self) -> Source | None:
        name, mlflow = self.experiment.training.source, self.experiment.mlflow
        if name is None:
            return None
        return locate(name, self.run_dir / "checkpoints" / "sources", mlflow.tracking_uri if mlflow else None)

    def _old(self) -> Inputs | None:
        """The data that the source was trained on, where it is named."""
        data = self.experiment.training.source_data
        return None if data is None else self.experiment.read(data)

    def convert(self, target: Target, training: TrainingResult) -> ConversionResult:
        config = self.experiment.conversion
        folder = self.run_dir / "artifacts" / "conversion"
        mark = fingerprint(config.model_dump(mode="json", exclude={"targets"}), target, training.uid)
        return self._step(
            f"conversion-{target}",
            ConversionResult,
            mark,
            lambda entry: convert_model(
                config,
                training.checkpoint,
                target,
                folder,
                texts=Texts.of(self.inputs, training.checkpoint),
                source_training_run=training.uid,
                made_from=self._made_from(),
                tracker=self.trackers.of(MLflowConversionTracker),
                uid=entry.uid,
            ),
            identity=mark,
            folder=folder / target,
        )

    def _made_from(self) -> dict[str, tuple[str, ...]]:
        """The runs of this experiment that led to the final training."""
        known = {entry.step: entry.uid for entry in self.ledger.entries() if entry.state == "done" and "" in entry.uids}
        steps = planned(self.experiment)
        return {
            "source_selection_run": tuple(known[step] for step in steps if step == "selection" and step in known),
            "source_sweep_runs": tuple(known[step] for step in steps if step.startswith("sweep-") and step in known),
        }

    def benchmark_final(
        self, training: TrainingResult, conversions: Sequence[ConversionResult]
    ) -> list[BenchmarkResult]:
        uids = [training.uid, *(result.uid for result in conversions)]
        return self.benchmark("benchmark-final", final_candidates(training, conversions), uids)

    def _hyperparameters(self) -> dict[str, Any]:
        return self.experiment.hyperparameters.model_dump(mode="json")

    def _look(self) -> list[Any]:
        return look(self.inputs)
