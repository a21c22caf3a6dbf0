"""Commands that do the stages' work: `run`, and each stage alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from nertrail.cli.ending import print_pipeline_end, print_stage_end
from nertrail.cli.guard import FAILED, fail, guarded
from nertrail.cli.options import Budget, Config, Force, From, ParentRun, Quiet, RunDir, Seeds, Sets, overrides
from nertrail.cli.output import announcer, progress_bars
from nertrail.errors import ConfigError
from nertrail.ner.ranks import rank, world

if TYPE_CHECKING:
    from nertrail.experiment import Experiment
    from nertrail.steps import Steps


@guarded
def run(
    config: Config,
    run_dir: RunDir = None,
    sets: Sets = None,
    force: Force = None,
    seeds: Seeds = None,
    budget: Budget = None,
    quiet: Quiet = False,
) -> None:
    """Sweep, benchmark, select, train and convert, as CONFIG says; continue what was interrupted."""
    from nertrail.pipeline import run_pipeline

    assignments = overrides(sets, seeds=seeds, budget=budget)
    experiment, name, folder = _load(config, assignments, run_dir)
    with progress_bars(quiet) as progress:
        result = run_pipeline(experiment, name, folder, force=force or [], progress=progress, announce=announcer(quiet))
    if not quiet:
        print_pipeline_end(result, experiment, config, assignments)
    if result.failures:
        fail("\n".join(result.failures), FAILED)


def _stage_command(several: bool = False, **spelled: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The command that does `work(steps, **own options)`: CONFIG first, then its own options, then those all share.

    Args:
        several: it may run in several processes that work on one training.
        spelled: options that spell a setting of the experiment, by name with their annotation; see `overrides`.
    """

    def command(work: Callable[..., None]) -> Callable[..., None]:
        def shared(
            config: Config,
            run_dir: RunDir = None,
            sets: Sets = None,
            force: Force = None,
            parent_run: ParentRun = None,
            quiet: Quiet = False,
            **own: Any,
        ) -> None:
            from nertrail.overview import write_overview
            from nertrail.standalone import open_steps

            shown = {name: own.pop(name) for name in spelled}
            assignments = overrides(sets, **shown)
            experiment, name, folder = _load(config, assignments, run_dir, several=several)
            quiet = quiet or rank() > 0
            with (
                progress_bars(quiet) as progress,
                open_steps(experiment, name, folder, force or [], parent_run, progress, announcer(quiet)) as steps,
            ):
                work(steps, **own)
                if rank() == 0:
                    write_overview(steps, name)
            if not quiet:
                print_stage_end(work.__name__, steps, config, assignments)

        return guarded(_with_options_of(work, shared, spelled))

    return command


def _with_options_of(
    work: Callable[..., None], shared: Callable[..., None], spelled: Mapping[str, Any]
) -> Callable[..., None]:
    """`shared` under the name of `work`, with a signature that shows the options of both and those `spelled`."""
    later = {"Steps": object}  # imported by type checkers only: it brings torch
    hints = {f: h for w in (shared, work) for f, h in get_type_hints(w, localns=later, include_extras=True).items()}
    config, *common = [p for p in inspect.signature(shared).parameters.values() if p.kind is not p.VAR_KEYWORD]
    own = list(inspect.signature(work).parameters.values())[1:]
    shown = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in (config, *own, *common)]
    more = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=h) for n, h in spelled.items()
    ]
    shown[1 + len(own) : 1 + len(own)] = more
    shared.__name__, shared.__doc__ = work.__name__, work.__doc__
    shared.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    shared.__annotations__ = {p.name: p.annotation for p in shown}
    return shared


@_stage_command(budget=Budget)
def sweep(steps: Steps) -> None:
    """Search hyperparameters, for every backbone of CONFIG."""
    steps.plan(whole=False)
    for backbone in steps.experiment.backbones:
        steps.sweep(backbone)


@_stage_command()
def benchmark(
    steps: Steps,
    model: Annotated[list[Path], typer.Option("--model", help="A checkpoint or converted model; repeatable.")],
) -> None:
    """Time models on the validation texts of CONFIG, all in interleaved rounds."""
    from nertrail.stages.benchmark import candidates_in

    steps.benchmark_models(candidates_in(model))


@_stage_command()
def select(steps: Steps) -> None:
    """Choose a configuration from the sweeps in the run dir, benchmarking their best trials where that is missing."""
    sweeps = steps.known_sweeps()
    steps.select(sweeps, steps.benchmark_trials(sweeps))


@_stage_command(several=True, source=From, seeds=Seeds)
def train(
    steps: Steps,
    params: Annotated[Path | None, typer.Option("--params", help="A selection.json; its choice is trained.")] = None,
) -> None:
    """Train one model: the choice of a selection.json, else the first backbone with the hyperparameters of CONFIG."""
    from nertrail.stages.selection import read_choice

    backbone, hyperparameters = steps.experiment.backbones[0], steps.experiment.hyperparameters
    if params is not None:
        chosen = read_choice(params)
        backbone = steps.experiment.backbone(chosen.backbone)
        hyperparameters = hyperparameters.with_values(chosen.params)
    if rank() == 0:
        steps.train(backbone, hyperparameters)
    else:
        steps.follow(backbone, hyperparameters)


@guarded
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The folder of a checkpoint.")],
    target: Annotated[str, typer.Option(help="onnx_fp32, onnx_fp16 or onnx_int8.")] = "onnx_int8",
    config: Annotated[
        str | None,
        typer.Option(help="An experiment whose validation texts compare entity F1, and whose tracking is used."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The model goes to OUT/<target>. Default: onnx/ beside the checkpoint.")
    ] = None,
    sets: Sets = None,
    parent_run: ParentRun = None,
    quiet: Quiet = False,
) -> None:
    """Convert a checkpoint to ONNX, run the result and compare it with PyTorch."""
    from nertrail.standalone import convert_alone

    result = convert_alone(checkpoint, target, config, out, sets or [], parent_run)
    if not quiet:
        from nertrail.cli.ending import print_remarks
        from nertrail.remarks import unproven
        from nertrail.summary import main_number

        print(f"{result.model}: {main_number(result)}")
        print_remarks([text for text in [unproven(result)] if text])
        print(f"next        nertrail predict {result.folder} FILE")


def _load(config: str, sets: list[str], run_dir: Path | None, *, several: bool = False) -> tuple[Experiment, str, Path]:
    """The experiment, its name and its run dir, which must be writable."""
    from nertrail.experiment import find_config, load_experiment
    from nertrail.rundir import check_run_dir

    if world() > 1 and not several:
        remedy = "start `nertrail train` in several processes, everything else in one"
        raise ConfigError("work on one training only", place=f"{world()} processes", remedy=remedy)
    path = find_config(config)
    experiment = load_experiment(path, sets)
    folder = run_dir or Path("runs") / path.stem
    check_run_dir(folder)
    return experiment, path.stem, folder


COMMANDS = (run, sweep, benchmark, select, train, convert)
