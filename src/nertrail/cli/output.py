"""What the commands print: tables, receipts, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nertrail.summary import StageLine
    from nertrail.tracking.receipt import Receipt


def announcer(quiet: bool) -> Callable[[str], None]:
    """Prints what a command is doing, or nothing."""
    return (lambda _text: None) if quiet else (lambda text: print(f"· {text}", flush=True))


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per long work on a terminal, silence elsewhere. Yields `show(what, done, total)`."""
    if quiet or not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


@contextmanager
def byte_bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over bytes on a terminal, silence elsewhere. Yields `show(done, total)`."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def print_receipt(receipt: Receipt) -> None:
    """How much of what was recorded has arrived, and the command that delivers the rest."""
    counts = f"{receipt.delivered} of {receipt.written} delivered, {receipt.pending} pending, {receipt.dropped} dropped"
    print(f"records     {counts}")
    remedy = f"deliver with: {receipt.command}" if receipt.command else ""
    if not receipt.complete:
        print(f"            {'; '.join(text for text in (receipt.why, remedy) if text)}")
    if receipt.waiting:
        print(f"            {receipt.waiting} values wait for runs that the server does not know")


def print_lines(lines: list[StageLine]) -> None:
    """The table of the stages."""
    print_table(
        ("stage", "status", "time", "main number"), [(s.step, s.status, f"{s.seconds:.1f} s", s.number) for s in lines]
    )


def print_comparison(rows: Sequence[tuple[str, ...]]) -> None:
    """The final models side by side; nothing where there are none."""
    head = ("model", "weights", "latency", "throughput", "times PyTorch (95 %)", "F1 on validation")
    if rows:
        print_table(head, rows)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table as wide as the terminal, 160 columns where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
