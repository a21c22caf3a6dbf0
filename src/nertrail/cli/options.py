"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[str, typer.Argument(help="An experiment file, or the name of a preset such as quickstart.")]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="Where results go. Default: runs/<name of CONFIG>.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")]
Force = Annotated[list[str] | None, typer.Option("--force", metavar="STAGE", help="Do a stage again; repeatable.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")]
ParentRun = Annotated[
    str | None, typer.Option("--parent-run", metavar="RUN_ID", help="MLflow run to nest the stage's run below.")
]
