"""The options that commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[str, typer.Argument(help="An experiment file, or the name of a preset such as quickstart.")]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="Where results go. Default: runs/<name of CONFIG>.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")]
Force = Annotated[list[str] | None, typer.Option("--force", metavar="STAGE", help="Do a stage again; repeatable.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")]
ParentRun = Annotated[
    str | None, typer.Option("--parent-run", metavar="RUN_ID", help="MLflow run to nest the stage's run below.")
]
Seeds = Annotated[int | None, typer.Option("--seeds", metavar="N", help="Train under N seeds; sets training.seeds.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="SOURCE",
        help="Train a model further: a folder, a run dir, runs:/ID, models:/NAME/VERSION or models:/NAME@ALIAS.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option("--budget", metavar="TIME", help="Plan trials and epochs for 90s, 30m or 2h; sets sweep.budget."),
]

SPELLS = {"seeds": "training.seeds", "source": "training.source", "budget": "sweep.budget"}


def overrides(sets: list[str] | None, **spelled: Any) -> list[str]:
    """The assignments of --set, then those that options of their own spell."""
    own = [f"{SPELLS[name]}={json.dumps(value)}" for name, value in spelled.items() if value is not None]
    return [*(sets or []), *own]
