"""The command line: prints and exits. Imports the heavy parts only inside the commands that need them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from nertrail import __version__
from nertrail.errors import InputError, NertrailError

if TYPE_CHECKING:
    from nertrail.experiment import Experiment
    from nertrail.pipeline import PipelineResult
    from nertrail.steps import Steps
    from nertrail.summary import StageLine
    from nertrail.tracking.receipt import Receipt

app = typer.Typer(
    name="nertrail",
    help="One command turns annotated text into a small, fast, verified entity recogniser, and leaves a trail of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
FAILED, BAD_INPUT, NOT_DELIVERED, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143

Config = Annotated[str, typer.Argument(help="An experiment file, or the name of a preset such as quickstart.")]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="Where results go. Default: runs/<name of CONFIG>.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")]
Force = Annotated[list[str] | None, typer.Option("--force", metavar="STAGE", help="Do a stage again; repeatable.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")]
ParentRun = Annotated[
    str | None, typer.Option("--parent-run", metavar="RUN_ID", help="MLflow run to nest the stage's run below.")
]


def main() -> None:
    """The console script. Ctrl-C exits with 130, SIGTERM with 143; open runs end KILLED either way."""
    # OpenMP's threads otherwise spin while they wait; with busy neighbours that cost four times the CPU (measured)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminate)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    app()


def _terminate(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(TERMINATED)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """One message and the right exit code for whatever a command raises."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except typer.Exit:
            raise
        except InputError as error:
            _fail(str(error), BAD_INPUT)
        except NertrailError as error:
            _fail(str(error), FAILED)
        except KeyboardInterrupt:
            _fail("interrupted; the same command continues", INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the last line: an unexpected error is shown whole, exit code 1
            traceback.print_exc()
            _fail(f"{type(error).__name__}: {error}", FAILED)

    return guarded


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)


def _version(value: bool) -> None:
    if value:
        print(f"nertrail {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One command turns annotated text into a small, fast, verified entity recogniser, and leaves a trail of it."""


@app.command()
@_guarded
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
    with _progress(quiet) as progress:
        result = run_pipeline(
            experiment, name, folder, force=force or [], progress=progress, announce=_announcer(quiet)
        )
    if not quiet:
        _print_result(result, experiment)
    if result.failures:
        _fail("\n".join(result.failures), FAILED)


@app.command()
@_guarded
def sweep(
    config: Config,
    run_dir: RunDir = None,
    sets: Sets = None,
    force: Force = None,
    parent_run: ParentRun = None,
    quiet: Quiet = False,
) -> None:
    """Search hyperparameters, for every backbone of CONFIG."""
    with _steps(config, sets, run_dir, force, parent_run, quiet) as steps:
        for backbone in steps.experiment.backbones:
            steps.sweep(backbone)


@app.command()
@_guarded
def benchmark(
    config: Config,
    model: Annotated[list[Path], typer.Option("--model", help="A checkpoint or converted model; repeatable.")],
    run_dir: RunDir = None,
    sets: Sets = None,
    force: Force = None,
    parent_run: ParentRun = None,
    quiet: Quiet = False,
) -> None:
    """Time models on the validation texts of CONFIG, all in interleaved rounds."""
    from nertrail.stages.benchmark import candidates_in

    candidates = candidates_in(model)
    with _steps(config, sets, run_dir, force, parent_run, quiet) as steps:
        steps.benchmark("benchmark-models", candidates, [str(candidate.folder.resolve()) for candidate in candidates])


@app.command()
@_guarded
def select(
    config: Config,
    run_dir: RunDir = None,
    sets: Sets = None,
    force: Force = None,
    parent_run: ParentRun = None,
    quiet: Quiet = False,
) -> None:
    """Choose a configuration from the sweeps in the run dir, benchmarking their best trials where that is missing."""
    with _steps(config, sets, run_dir, force, parent_run, quiet) as steps:
        sweeps = steps.known_sweeps()
        steps.select(sweeps, steps.benchmark_trials(sweeps))


@app.command()
@_guarded
def train(
    config: Config,
    params: Annotated[Path | None, typer.Option("--params", help="A selection.json; its choice is trained.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Train this checkpoint further.")] = None,
    run_dir: RunDir = None,
    sets: Sets = None,
    force: Force = None,
    parent_run: ParentRun = None,
    quiet: Quiet = False,
) -> None:
    """Train one model: the choice of a selection.json, else the first backbone with the hyperparameters of CONFIG."""
    from nertrail.stages.selection import read_choice

    with _steps(config, sets, run_dir, force, parent_run, quiet) as steps:
        backbone, hyperparameters = steps.experiment.backbones[0], steps.experiment.hyperparameters
        if params is not None:
            chosen = read_choice(params)
            backbone = steps.experiment.backbone(chosen.backbone)
            hyperparameters = hyperparameters.with_values(chosen.params)
        steps.train(backbone, hyperparameters, source)


@app.command()
@_guarded
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


@app.command()
@_guarded
def sync(
    run_dir: Annotated[Path, typer.Argument(help="A run dir with a journal.")],
    to: Annotated[str | None, typer.Option(metavar="URI", help="Deliver to this server instead.")] = None,
    quiet: Quiet = False,
) -> None:
    """Deliver a run dir's journal to its MLflow server, or to another; exit code 3 while something is missing."""
    from nertrail.tracking.uploader import sync as deliver

    _need_journal(run_dir)
    receipt = deliver(run_dir, to)
    if not quiet:
        _print_receipt(receipt)
    if not receipt.complete:
        raise typer.Exit(NOT_DELIVERED)


@app.command()
@_guarded
def status(run_dir: Annotated[Path, typer.Argument(help="A run dir.")]) -> None:
    """Show the steps of a run dir, and what of its records is delivered."""
    from nertrail.ledger import Ledger

    if not run_dir.is_dir():
        raise InputError("no such folder", place=str(run_dir), remedy="give the run dir that `nertrail run` printed")
    rows = [(entry.step, entry.state, f"{entry.seconds:.1f} s") for entry in Ledger(run_dir).entries()]
    _print_table(("step", "state", "time"), rows)
    if (run_dir / "journal").is_dir():
        _print_delivery(run_dir)


def _load(config: str, sets: list[str] | None, run_dir: Path | None) -> tuple[Experiment, str, Path]:
    """The experiment, its name and its run dir, which must be writable."""
    from nertrail.experiment import find_config, load_experiment
    from nertrail.standalone import check_writable

    path = find_config(config)
    experiment = load_experiment(path, sets or [])
    folder = run_dir or Path("runs") / path.stem
    check_writable(folder)
    return experiment, path.stem, folder


@contextmanager
def _steps(
    config: str,
    sets: list[str] | None,
    run_dir: Path | None,
    force: list[str] | None,
    parent_run: str | None,
    quiet: bool,
) -> Iterator[Steps]:
    """The steps of an experiment outside a pipeline; prints their table at the end."""
    from nertrail.standalone import open_steps

    experiment, name, folder = _load(config, sets, run_dir)
    with (
        _progress(quiet) as progress,
        open_steps(experiment, name, folder, force or [], parent_run, progress, _announcer(quiet)) as steps,
    ):
        yield steps
    if not quiet:
        _print_lines(steps.lines)


def _announcer(quiet: bool) -> Callable[[str], None]:
    return (lambda _text: None) if quiet else (lambda text: print(f"· {text}", flush=True))


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per long work on a terminal, silence elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


def _print_result(result: PipelineResult, experiment: Experiment) -> None:
    from nertrail.standalone import ui_command

    _print_lines(result.lines)
    print(f"\nreport      {result.report}")
    if experiment.mlflow is not None:
        print(f"MLflow UI   {ui_command(experiment.mlflow.tracking_uri)}")
        _print_receipt(result.receipt)


def _print_receipt(receipt: Receipt) -> None:
    counts = f"{receipt.delivered} of {receipt.written} delivered, {receipt.pending} pending, {receipt.dropped} dropped"
    print(f"records     {counts}")
    if not receipt.complete:
        print(f"            {receipt.why}; deliver with: {receipt.command}")


def _print_lines(lines: list[StageLine]) -> None:
    _print_table(
        ("stage", "status", "time", "main number"), [(s.step, s.status, f"{s.seconds:.1f} s", s.number) for s in lines]
    )


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _print_delivery(run_dir: Path) -> None:
    from nertrail.tracking.uploader import status as delivery

    head = ("run", "stage", "status", "delivered", "pending", "waiting", "run id on the server")
    for uri, rows in delivery(run_dir).items():
        print(f"records for {_without_password(uri)}")
        cells = [
            (r.name, r.stage, r.status, str(r.events), str(r.pending), str(r.waiting), r.run_id or "-") for r in rows
        ]
        _print_table(head, cells)


def _without_password(uri: str) -> str:
    from nertrail.tracking.redaction import without_password

    return without_password(uri)


def _need_journal(run_dir: Path) -> None:
    if not (run_dir / "journal").is_dir():
        raise InputError(
            "holds no journal", place=str(run_dir), remedy="give a run dir that was recorded with tracking on"
        )
