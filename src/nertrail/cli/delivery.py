"""Commands about the records of a run dir: `sync`, `status`."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nertrail.cli.guard import NOT_DELIVERED, fail, guarded
from nertrail.cli.options import Quiet
from nertrail.cli.output import byte_bar, print_receipt, print_table
from nertrail.errors import ConfigError, InputError

if TYPE_CHECKING:
    from nertrail.tracking.receipt import Receipt
    from nertrail.tracking.rows import RunRow

# of our own disk, or of the medium that the run dir lies on: the same command works elsewhere, or later
_NOT_NOW = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_RUN_HEAD = ("run", "stage", "status", "written", "delivered", "pending", "refused", "waiting", "run id on the server")


@guarded
def sync(
    run_dir: Annotated[Path, typer.Argument(help="A run dir with a journal.")],
    to: Annotated[str | None, typer.Option(metavar="URI", help="Deliver to this server instead.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is missing; deliver nothing.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Then compare counts and the sha256 of artifacts with the server.")
    ] = False,
    promote: Annotated[
        bool, typer.Option("--promote", help="Move aliases to this run dir's models, though they come late.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Verify, then remove the kept copies of artifacts that every server holds."),
    ] = False,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try once more what a server has refused or failed at.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Deliver everything once more, to a server that lost it or was made anew.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Deliver a run dir's journal to its MLflow server, or to another; exit code 3 while something is missing."""
    from nertrail.tracking.destination import check
    from nertrail.tracking.segments import ends

    _need_journal(run_dir)
    if to:
        check(to, "--to")
    if again and dry_run:
        raise ConfigError("goes not with --dry-run", place="--again", remedy="leave one of them out")
    if prune and (to or dry_run):
        raise ConfigError("goes with neither --to nor --dry-run", place="--prune", remedy="it asks every known server")
    with _not_now(run_dir):
        marks = ends(run_dir.absolute() / "journal")
        receipt = _outlook(run_dir, to, quiet) if dry_run else _deliver(run_dir, to, quiet, retry_rejected, again)
        if not quiet:
            print_receipt(receipt)
        same = dry_run or not (verify or prune) or _verified(run_dir, to, quiet)
        if not receipt.complete or receipt.waiting or not same:
            raise typer.Exit(NOT_DELIVERED)
        if promote and not dry_run:
            _promote(run_dir, to, quiet)
        if prune:
            _prune(run_dir, marks, quiet)


@contextlib.contextmanager
def _not_now(run_dir: Path) -> Iterator[None]:
    """What is not delivered because a server is away or a disk is full is neither bad input nor a failure of ours."""
    from nertrail.tracking.protocol import Unreachable
    from nertrail.tracking.redaction import redact

    try:
        yield
    except Unreachable as error:
        fail(f"cannot be done now: {redact(str(error)).splitlines()[0]}", NOT_DELIVERED)
    except OSError as error:
        if error.errno not in _NOT_NOW:
            raise
        text = f"{error.filename or run_dir}: {error.strerror}; delivery notes its progress in the run dir"
        fail(
            f"{text}\n  → make room, or copy the run dir to where it can be written, then the same command",
            NOT_DELIVERED,
        )


@guarded
def status(run_dir: Annotated[Path, typer.Argument(help="A run dir.")]) -> None:
    """Show the steps of a run dir, and what of its records is delivered."""
    from nertrail.ledger import Ledger

    if not run_dir.is_dir():
        raise InputError("no such folder", place=str(run_dir), remedy="give the run dir that `nertrail run` printed")
    rows = [
        (entry.step, "begun, not finished", "")
        if entry.state == "open"
        else (entry.step, entry.state, f"{entry.seconds:.1f} s")
        for entry in Ledger(run_dir).entries()
    ]
    if rows:  # a tracker alone leaves no steps
        print_table(("step", "state", "time"), rows)
    if (run_dir / "journal").is_dir():
        _print_rows(run_dir, None)


def _deliver(run_dir: Path, to: str | None, quiet: bool, retry_rejected: bool, again: bool) -> Receipt:
    from nertrail.tracking.sync import sync as deliver

    with byte_bar("delivering", quiet) as show:
        return deliver(run_dir, to, show, retry_rejected=retry_rejected, again=again)


def _outlook(run_dir: Path, to: str | None, quiet: bool) -> Receipt:
    from nertrail.tracking.sync import outlook

    if not quiet:
        _print_rows(run_dir, to)
    return outlook(run_dir, to)


def _print_rows(run_dir: Path, to: str | None) -> None:
    """One line per run and destination, and where to read what a server has refused."""
    from nertrail.tracking.destination import state_folder
    from nertrail.tracking.redaction import without_password
    from nertrail.tracking.sync import status as delivery

    for uri, rows in delivery(run_dir, to).items():
        print(f"records for {without_password(uri)}")
        print_table(_RUN_HEAD, [_cells(row) for row in rows])
        if any(row.refused for row in rows):
            again = f"once more with: nertrail sync {run_dir} --retry-rejected"
            print(f"refused     {state_folder(run_dir, uri) / 'rejected.jsonl'}; {again}")


def _cells(row: RunRow) -> tuple[str, ...]:
    status = f"{row.status}, superseded" if row.superseded else row.status
    counts = (row.written, row.delivered, row.pending, row.refused, row.waiting)
    return (row.name, row.stage, status, *map(str, counts), row.run_id or "-")


def _verified(run_dir: Path, to: str | None, quiet: bool) -> bool:
    """Whether every destination holds what the journal tells; prints a line per run that differs."""
    from nertrail.tracking.redaction import without_password
    from nertrail.tracking.sync import destinations
    from nertrail.tracking.verify import verify

    runs = [run for uri in destinations(run_dir, to) for run in verify(run_dir, uri)]
    wrong = [run for run in runs if run.differences]
    for run in wrong:
        print(f"differs     {run.name} ({run.uid}): {'; '.join(run.differences)}")
    if wrong:
        place = f" --to {without_password(to)}" if to else ""
        print(f"            once more with: nertrail sync {run_dir}{place} --again")
    if not quiet:
        points, files = sum(run.points for run in runs), sum(run.artifacts for run in runs)
        print(f"verified    {len(runs) - len(wrong)} of {len(runs)} runs, {points} metric points, {files} artifacts")
    return not wrong


def _promote(run_dir: Path, to: str | None, quiet: bool) -> None:
    from nertrail.tracking.registry import take_aliases
    from nertrail.tracking.sync import status as delivery

    for uri, rows in delivery(run_dir, to).items():
        given = take_aliases([row.run_id for row in rows if row.run_id], uri)
        for line in [] if quiet else given:
            print(f"promoted    {line}")


def _prune(run_dir: Path, marks: dict[str, int], quiet: bool) -> None:
    from nertrail.tracking.prune import prune

    done = prune(run_dir, marks)
    if not quiet:
        print(f"pruned      {done.files} files, {done.size / 1e6:.1f} MB{'; ' if done.why else ''}{done.why}")


def _need_journal(run_dir: Path) -> None:
    if not (run_dir / "journal").is_dir():
        raise InputError(
            "holds no journal", place=str(run_dir), remedy="give a run dir that was recorded with tracking on"
        )


COMMANDS = (sync, status)
