"""The program: its commands, its signals, its log."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from nertrail import __version__
from nertrail.cli import data, delivery, models, predict, stages
from nertrail.cli.guard import TERMINATED
from nertrail.ner.ranks import end, world

app = typer.Typer(
    name="nertrail",
    help="One command turns annotated text into a small, fast, verified entity recogniser, and leaves a trail of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (stages, predict, models, delivery):
    for command in module.COMMANDS:
        app.command()(command)
data_app = typer.Typer(help="Annotated text, before anything is trained on it.", no_args_is_help=True)
for command in data.COMMANDS:
    data_app.command()(command)
app.add_typer(data_app, name="data")


def main() -> None:
    """The console script. Ctrl-C exits with 130, SIGTERM with 143; open runs end KILLED either way."""
    # OpenMP's threads otherwise spin while they wait; with busy neighbours that cost four times the CPU (measured)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # its news of tables and examples are not ours
    signal.signal(signal.SIGTERM, _terminate)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    if world() == 1:
        app()
        return
    try:
        app()
    except SystemExit as ending:
        end(ending.code if isinstance(ending.code, int) else int(ending.code is not None))


def _terminate(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(TERMINATED)


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
