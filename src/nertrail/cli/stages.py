"""Commands that do the stages' work: `run`, and each stage alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from nertrail.cli.guard import FAILED, fail, guarded
from nertrail.cli.options import Config, Force, ParentRun, Quiet, RunDir, Sets
from nertrail.cli.output import announcer, print_comparison, print_lines, print_receipt, progress_bars

if TYPE_CHECKING:
    from nertrail.experiment import Experiment
    from nertrail.pipeline import PipelineResult
    from nertrail.steps import Steps


@guarded
def run(
    config: Config,
    run_dir: RunDir = None,
    sets: Sets = None,
    force: Force = None,
    quiet: Quiet = False,
) -> None:
    """Sweep, benchmark, select, train and convert, as CONFIG says; continue what was interrupted."""
    from nertrail.pipeline import run_pipeline

    experiment, name, folder = _load(config, sets, run_dir)
    with progress_bars(quiet) as progress:
        result = run_pipeline(experiment, name, folder, force=force or [], progress=progress, announce=announcer(quiet))
    if not quiet:
        _print_result(result, experiment)
    if result.failures:
        fail("\n".join(result.failures), FAILED)


def _stage_command(work: Callable[..., None]) -> Callable[..., None]:
    """The command that does `work(steps, **own options)`: CONFIG first, then its own options, then those all share."""

    def shared(
        config: Config,
        run_dir: RunDir = None,
        sets: Sets = None,
        force: Force = None,
        parent_run: ParentRun = None,
        quiet: Quiet = False,
        **own: Any,
    ) -> None:
        from nertrail.standalone import open_steps

        experiment, name, folder = _load(config, sets, run_dir)
        with (
            progress_bars(quiet) as progress,
            open_steps(experiment, name, folder, force or [], parent_run, progress, announcer(quiet)) as steps,
        ):
            work(steps, **own)
        if not quiet:
            print_lines(steps.lines)

    return guarded(_with_options_of(work, shared))


def _with_options_of(work: Callable[..., None], shared: Callable[..., None]) -> Callable[..., None]:
    """`shared` under the name of `work`, with a signature that shows the options of both."""
    later = {"Steps": object}  # imported by type checkers only: it brings torch
    hints = {f: h for w in (shared, work) for f, h in get_type_hints(w, localns=later, include_extras=True).items()}
    config, *common = [p for p in inspect.signature(shared).parameters.values() if p.kind is not p.VAR_KEYWORD]
    own = list(inspect.signature(work).parameters.values())[1:]
    shown = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in (config, *own, *common)]
    shared.__name__, shared.__doc__ = work.__name__, work.__doc__
    shared.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    shared.__annotations__ = {p.name: p.annotation for p in shown}
    return shared


@_stage_command
def sweep(steps: Steps) -> None:
    """Search hyperparameters, for every backbone of CONFIG."""
    for backbone in steps.experiment.backbones:
        steps.sweep(backbone)


@_stage_command
def benchmark(
    steps: Steps,
    model: Annotated[list[Path], typer.Option("--model", help="A checkpoint or converted model; repeatable.")],
) -> None:
    """Time models on the validation texts of CONFIG, all in interleaved rounds."""
    from nertrail.stages.benchmark import candidates_in

    steps.benchmark_models(candidates_in(model))


@_stage_command
def select(steps: Steps) -> None:
    """Choose a configuration from the sweeps in the run dir, benchmarking their best trials where that is missing."""
    sweeps = steps.known_sweeps()
    steps.select(sweeps, steps.benchmark_trials(sweeps))


@_stage_command
def train(
    steps: Steps,
    params: Annotated[Path | None, typer.Option("--params", help="A selection.json; its choice is trained.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Train this checkpoint further.")] = None,
) -> None:
    """Train one model: the choice of a selection.json, else the first backbone with the hyperparameters of CONFIG."""
    from nertrail.stages.selection import read_choice

    backbone, hyperparameters = steps.experiment.backbones[0], steps.experiment.hyperparameters
    if params is not None:
        chosen = read_choice(params)
        backbone = steps.experiment.backbone(chosen.backbone)
        hyperparameters = hyperparameters.with_values(chosen.params)
    steps.train(backbone, hyperparameters, source)


@guarded
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The folder of a checkpoint.")],
    target: Annotated[str, typer.Option(help="onnx_fp32 or onnx_int8.")] = "onnx_int8",
    config: Annotated[
        str | None,
        typer.Option(help="An experiment whose validation texts compare entity F1, and whose tracking is used."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the model goes. Default: onnx/ beside the checkpoint.")
    ] = None,
    sets: Sets = None,
    parent_run: ParentRun = None,
    quiet: Quiet = False,
) -> None:
    """Convert a checkpoint to ONNX, run the result and compare it with PyTorch."""
    from nertrail.standalone import convert_alone

    result = convert_alone(checkpoint, target, config, out, sets or [], parent_run)
    if not quiet:
        from nertrail.summary import main_number

        print(f"{result.model}: {main_number(result)}")


def _load(config: str, sets: list[str] | None, run_dir: Path | None) -> tuple[Experiment, str, Path]:
    """The experiment, its name and its run dir, which must be writable."""
    from nertrail.experiment import find_config, load_experiment
    from nertrail.standalone import check_writable

    path = find_config(config)
    experiment = load_experiment(path, sets or [])
    folder = run_dir or Path("runs") / path.stem
    check_writable(folder)
    return experiment, path.stem, folder


def _print_result(result: PipelineResult, experiment: Experiment) -> None:
    from nertrail.ledger import Ledger
    from nertrail.standalone import ui_command
    from nertrail.summary import comparison

    print_lines(result.lines)
    print_comparison(comparison(Ledger(result.run_dir)))
    print(f"\nreport      {result.report}")
    if experiment.mlflow is not None:
        print(f"MLflow UI   {ui_command(experiment.mlflow.tracking_uri)}")
        print_receipt(result.receipt)


COMMANDS = (run, sweep, benchmark, select, train, convert)
