"""Commands about the records of a run dir: `sync`, `status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nertrail.cli.guard import NOT_DELIVERED, guarded
from nertrail.cli.options import Quiet
from nertrail.cli.output import print_receipt, print_table
from nertrail.errors import InputError


@guarded
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
        print_receipt(receipt)
    if not receipt.complete:
        raise typer.Exit(NOT_DELIVERED)


@guarded
def status(run_dir: Annotated[Path, typer.Argument(help="A run dir.")]) -> None:
    """Show the steps of a run dir, and what of its records is delivered."""
    from nertrail.ledger import Ledger

    if not run_dir.is_dir():
        raise InputError("no such folder", place=str(run_dir), remedy="give the run dir that `nertrail run` printed")
    rows = [(entry.step, entry.state, f"{entry.seconds:.1f} s") for entry in Ledger(run_dir).entries()]
    print_table(("step", "state", "time"), rows)
    if (run_dir / "journal").is_dir():
        _print_delivery(run_dir)


def _print_delivery(run_dir: Path) -> None:
    from nertrail.tracking.redaction import without_password
    from nertrail.tracking.uploader import status as delivery

    head = ("run", "stage", "status", "delivered", "pending", "waiting", "run id on the server")
    for uri, rows in delivery(run_dir).items():
        print(f"records for {without_password(uri)}")
        cells = [
            (r.name, r.stage, r.status, str(r.events), str(r.pending), str(r.waiting), r.run_id or "-") for r in rows
        ]
        print_table(head, cells)


def _need_journal(run_dir: Path) -> None:
    if not (run_dir / "journal").is_dir():
        raise InputError(
            "holds no journal", place=str(run_dir), remedy="give a run dir that was recorded with tracking on"
        )


COMMANDS = (sync, status)
