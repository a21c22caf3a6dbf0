"""Stages outside the pipeline: what the single commands, the notebook and scripts share."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from nertrail.errors import ConfigError, ModelError
from nertrail.experiment import Experiment, find_config, load_experiment
from nertrail.ner.checkpoint import REMEDY, WEIGHTS, load_checkpoint
from nertrail.ner.ranks import rank
from nertrail.pipeline import check, check_inputs
from nertrail.reuse import Announce, log
from nertrail.rundir import check_writable, placed
from nertrail.stages.conversion import ConversionConfig, ConversionResult, Target, Texts, convert_model
from nertrail.stages.inputs import Progress, quiet
from nertrail.steps import Steps
from nertrail.trackers import Trackers
from nertrail.tracking.mlflow_download import MARK
from nertrail.tracking.mlflow_tracker import MLflowConversionTracker
from nertrail.tracking.redaction import without_password
from nertrail.tracking.settings import MlflowConfig


@contextmanager
def open_steps(
    experiment: Experiment,
    name: str,
    run_dir: Path,
    force: Collection[str] = (),
    parent_run: str | None = None,
    progress: Progress = quiet,
    announce: Announce = log.info,
) -> Iterator[Steps]:
    """The stages of an experiment without a pipeline run, below `parent_run` (a server's run id) if there is one."""
    run_dir = placed(run_dir)
    inputs, trackers = check(experiment, name, run_dir, force, parent_run)
    check_inputs(experiment, inputs)
    steps = Steps(experiment, run_dir, inputs, trackers, force=force, progress=progress, announce=announce)
    try:
        yield steps
        if rank() == 0:
            trackers.flush()
    finally:
        trackers.close()
        steps.ledger.close()


def convert_alone(
    checkpoint: Path,
    target: str,
    config: str | None = None,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    parent_run: str | None = None,
) -> ConversionResult:
    """Convert one checkpoint; with an experiment, its validation texts and its tracking are used.

    Raises:
        InputError: no such target, checkpoint or experiment, or `out` can't be written.
        ConversionError: the target could not be made or failed its check.
    """
    chosen = check_target(target)
    out = out or checkpoint.parent / "onnx"
    check_writable(out, "--out")
    if overrides and config is None:
        raise ConfigError(f"{overrides[0]} overrides nothing", place="--set", remedy="name an experiment with --config")
    _check_checkpoint(checkpoint)
    path = find_config(config) if config else None
    experiment = load_experiment(path, overrides) if path else None
    settings = experiment.mlflow if experiment else MlflowConfig() if parent_run else None
    trackers = Trackers(settings, path.stem if path else "convert", out, parent_run)
    try:
        return convert_model(
            experiment.conversion if experiment else ConversionConfig(),
            checkpoint,
            chosen,
            out,
            texts=Texts.of(experiment.inputs(), checkpoint) if experiment else None,
            tracker=trackers.of(MLflowConversionTracker),
        )
    finally:
        trackers.flush()
        trackers.close()


def _check_checkpoint(folder: Path) -> None:
    """As `load_checkpoint`, but of the models that lie in the folder only such are named as can be converted."""
    try:
        load_checkpoint(folder)
    except ModelError as error:
        if (folder / MARK).is_file():
            raise
        inside = (path.parent for path in folder.glob(f"**/{MARK}") if (path.parent / WEIGHTS).is_file())
        found = sorted(inside, key=lambda path: ("training" not in path.parts, path))[:3]  # the final model's first
        remedy = f"did you mean {', '.join(map(str, found))}?" if found else REMEDY
        raise ModelError(error.problem, place=error.place, remedy=remedy) from error


def check_target(target: str) -> Target:
    """The target of that name; a ConfigError names those there are."""
    for known in get_args(Target):
        if target == known:
            found: Target = known
            return found
    raise ConfigError(f"{target!r} is no target", place="--target", remedy=f"targets: {', '.join(get_args(Target))}")


def ui_command(tracking_uri: str | None) -> str:
    """The line that opens the MLflow UI on these runs."""
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        return "mlflow ui"
    shown = without_password(uri)
    return shown if uri.startswith("http") else f"mlflow ui --backend-store-uri {shown}"
