"""What the commands print: tables, receipts, progress bars."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from nertrail.summary import StageLine
    from nertrail.tracking.receipt import Receipt


def announcer(quiet: bool) -> Callable[[str], None]:
    """Prints what a command is doing, or nothing."""
    return (lambda _text: None) if quiet else (lambda text: print(f"· {text}", flush=True))


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per long work on a terminal, silence elsewhere. Yields `show(what, done, total)`; a total of 0 is unknown.

    Warnings are printed above the bar, not into it.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeRemainingColumn())
    to_terminal = sys.stdout.isatty()  # else what is announced belongs into the pipe
    with (
        Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=to_terminal) as bars,
        _log_above(),
    ):
        shown = _Bar(bars)
        shown("loading", 0, 0)
        yield shown


class _Bar:
    """The one bar; other work or another total makes a new one, so that the time left is that of this work."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars, self._key, self._task = bars, ("", 0), bars.add_task("", visible=False, count="")

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._key != (what, total):
            self._bars.remove_task(self._task)
            self._key, self._task = (what, total), self._bars.add_task(what, total=total or None, count="")
        self._bars.update(self._task, completed=done, count=f"{done}/{total}" if total else "")


@contextmanager
def _log_above() -> Iterator[None]:
    """While a bar is shown, the log's lines go where rich puts them: to what `sys.stderr` is now."""
    handlers = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    before = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            handler.setStream(stream)


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


def seen(path: Path | None) -> str:
    """A path as it is seen from the working directory: what lies below it without what lies above."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path is not None and path.is_relative_to(here) else str(path)


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
    head = ("model", "weights", "latency", "throughput", "times PyTorch (95 %)", "micro-f1-span")
    if rows:
        print_table(head, rows)


def shown(text: str) -> str:
    """Text as a terminal may show it: what can't be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table as wide as the terminal, 160 columns where there is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
