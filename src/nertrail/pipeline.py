"""The pipeline: orders the stages, hands results on, opens the parent run, and goes on where it was interrupted."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from nertrail import overview, summary
from nertrail.errors import ConfigError, ConversionError
from nertrail.experiment import Experiment
from nertrail.ledger import Ledger, fingerprint
from nertrail.ner.ranks import rank
from nertrail.records import Artifact, RunRecord, write_json
from nertrail.remarks import remarks, setback
from nertrail.reuse import Announce
from nertrail.rundir import check_run_dir, placed
from nertrail.stages.conversion import ConversionResult
from nertrail.stages.folds import make_folds
from nertrail.stages.inputs import Inputs, Progress, quiet
from nertrail.stages.training import TrainingResult
from nertrail.steps import Steps, contents, planned
from nertrail.summary import StageLine
from nertrail.trackers import Trackers
from nertrail.tracking.mlflow_tracker import MLflowPipelineTracker, Run
from nertrail.tracking.receipt import Receipt
from nertrail.tracking.redaction import environment_secrets, redact
from nertrail.typenames import check_types

log = logging.getLogger(__name__)
STAGES = ("sweep", "benchmark", "selection", "training", "conversion")


@dataclass
class PipelineResult:
    """What a pipeline left behind. `remarks` are what a reader should not overlook."""

    run_dir: Path
    lines: list[StageLine] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    report: Path | None = None
    receipt: Receipt = field(default_factory=Receipt)


def run_pipeline(
    experiment: Experiment,
    name: str,
    run_dir: Path,
    *,
    force: Collection[str] = (),
    progress: Progress = quiet,
    announce: Announce = log.info,
) -> PipelineResult:
    """Sweep, benchmark, select, train, convert and benchmark again; reuse what is done and unchanged.

    A conversion target that fails is told in `failures`; everything else that fails is raised.

    Args:
        name: the pipeline run's name, and the MLflow experiment's where the mlflow block names none.
        run_dir: holds results, checkpoints and the journal; the same run dir continues.
        force: stages (or single steps) to do again.

    Raises:
        InputError: the data, a backbone or a setting can't be used.
        StageError: a stage failed; what was done before it stays and is reused.
    """
    run_dir = placed(run_dir)
    inputs, trackers = check(experiment, name, run_dir, force)
    steps = Steps(experiment, run_dir, inputs, trackers, force=force, progress=progress, announce=announce)
    mark = fingerprint(experiment.model_dump(mode="json", exclude={"mlflow"}), contents(experiment, inputs))
    if not force and is_finished(steps.ledger, experiment, mark):
        announce("finished and unchanged: nothing to do (--force STAGE does a stage again)")
        lines, said = summary.lines(steps.ledger, planned(experiment)), remarks(steps.ledger, experiment)
        report = run_dir / "report.html"
        return PipelineResult(run_dir, lines, remarks=said, report=report, receipt=trackers.flush())
    check_inputs(experiment, inputs)
    try:
        return _Pipeline(steps, name, mark).run()
    finally:
        trackers.close()
        steps.ledger.close()


def is_finished(ledger: Ledger, experiment: Experiment, mark: str) -> bool:
    """Whether a pipeline of this fingerprint is done and nothing of what it made is gone."""
    return ledger.is_done("pipeline", mark) and all(map(ledger.is_whole, planned(experiment)))


def check(
    experiment: Experiment, name: str, run_dir: Path, force: Collection[str], parent: str | None = None
) -> tuple[Inputs, Trackers]:
    """The data and the trackers of what may be begun in the run dir; nothing is written yet.

    Raises:
        InputError: settings, run dir or data can't be used.
    """
    check_steps(experiment, force)
    check_run_dir(run_dir)
    trackers = Trackers(experiment.mlflow, name, run_dir, parent)
    if rank() == 0:
        Ledger(run_dir, trackers.experiment).check()
    return experiment.inputs(run_dir), trackers


def check_steps(experiment: Experiment, force: Collection[str]) -> None:
    """Raise ConfigError where `force` names neither a stage nor one of the experiment's steps."""
    known = [*STAGES, *planned(experiment), "benchmark-models"]
    for step in force:
        if step not in known:
            near = get_close_matches(step, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            remedy = f"{hint}stages: {', '.join(STAGES)}; steps: {', '.join(known[len(STAGES) :])}"
            raise ConfigError(f"{step!r} is no stage", place="--force", remedy=remedy)


def check_inputs(experiment: Experiment, inputs: Inputs) -> None:
    """Look at types, study and every backbone, and deal the folds: what can't be used is told before a write."""
    from nertrail.ner.backbone import check_backbone
    from nertrail.ner.model import check_weights

    check_types(inputs.dataset.types, inputs.source)
    experiment.sweep.storage.check()
    drawn = experiment.sweep.window_lengths()
    lengths = (*drawn, *inputs.compared, experiment.hyperparameters.max_length, None)
    longest = max(inputs.windows_of(length).max_length for length in lengths)
    for backbone in experiment.backbones:
        inputs.prepare(backbone)
        check_backbone(backbone.backbone(), longest)
        check_weights(backbone.backbone())
    if experiment.sweep.k_folds:
        make_folds(inputs.dataset.train, experiment.sweep.k_folds, inputs.seed)


class _Pipeline:
    """One pass through all stages, below the one pipeline run of the run dir."""

    def __init__(self, steps: Steps, name: str, mark: str) -> None:
        self.steps, self.name, self.mark = steps, name, mark
        self.result = PipelineResult(steps.run_dir, steps.lines)

    def run(self) -> PipelineResult:
        ledger, trackers = self.steps.ledger, self.steps.trackers
        entry = ledger.reopen("pipeline", self.mark)
        began = time.monotonic()
        self.steps.inputs.keep_splits(self.steps.run_dir)
        tracker = trackers.of(MLflowPipelineTracker)
        with tracker.start_pipeline_run(self.name, self._write_config(), uid=entry.uid) as run:
            trackers.below(run)
            self.steps.retire(planned(self.steps.experiment), entry.uid)
            self._stages()
            self._show(run)
            if self.result.failures:
                run.end("FAILED")
        if not self.result.failures:
            ledger.finish(entry, {"report": str(self.result.report)}, time.monotonic() - began)
        self._receipt()
        return self.result

    def _stages(self) -> None:
        steps = self.steps
        steps.plan(whole=True)
        experiment = steps.experiment
        sweeps = [steps.sweep(backbone) for backbone in experiment.backbones]
        selection = steps.select(sweeps, steps.benchmark_trials(sweeps))
        chosen = selection.selection.selected
        hyperparameters = experiment.hyperparameters.with_values(chosen.params)
        training = steps.train(experiment.backbone(chosen.backbone), hyperparameters)
        if behind := setback(selection.selection, training, experiment):
            log.warning(behind)
        steps.benchmark_final(training, self._convert(training))

    def _convert(self, training: TrainingResult) -> Sequence[ConversionResult]:
        made = []
        for target in self.steps.experiment.conversion.targets:
            try:
                made.append(self.steps.convert(target, training))
            except ConversionError as error:
                self.result.failures.append(str(error))
        return made

    def _show(self, run: Run) -> None:
        """The pipeline run's own metrics and artifacts: report, lineage and the receipt so far."""
        steps = planned(self.steps.experiment)
        ledger, version = self.steps.ledger, self.steps.inputs.version
        self.result.remarks = remarks(ledger, self.steps.experiment)
        self.result.report = overview.write_overview(self.steps, self.name)
        run.log(overview.record(ledger, version, self.steps.run_dir, self.result.remarks))
        lineage = summary.lineage(ledger, version, steps)
        run.log(
            RunRecord(
                metrics={f"{stage}_seconds": seconds for stage, seconds in self.steps.seconds.items()},
                artifacts=(
                    Artifact(self.result.report, "report.html"),
                    Artifact(write_json(self.steps.run_dir / "artifacts" / "lineage.json", lineage), "lineage.json"),
                    Artifact(self._receipt(), "tracking.json"),
                ),
            )
        )

    def _receipt(self) -> Path:
        self.result.receipt = self.steps.trackers.flush()
        return write_json(self.steps.run_dir / "tracking.json", self.result.receipt.to_json())

    def _write_config(self) -> Path:
        path = self.steps.run_dir / "artifacts" / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(redact(self.steps.experiment.to_yaml(), environment_secrets()), encoding="utf-8")
        return path
