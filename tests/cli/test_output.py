"""Bars, and what the log says while one is shown."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from nertrail.cli.output import _Bar, _log_above, print_table


def test_other_work_is_another_bar_and_an_unknown_total_has_no_count() -> None:
    bars = Progress(console=Console(file=io.StringIO()))
    show, seen = _Bar(bars), []
    for what, done, total in (("loading", 0, 0), ("sweep", 1, 3), ("sweep", 2, 3), ("benchmark", 0, 0)):
        show(what, done, total)
        (task,) = bars.tasks
        seen.append((task.description, task.total, task.fields["count"]))
    assert seen == [("loading", None, ""), ("sweep", 3, "1/3"), ("sweep", 3, "2/3"), ("benchmark", None, "")]


def test_the_log_goes_where_the_bar_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    before, above = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(before)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(sys, "stderr", above)
    with _log_above():
        logging.getLogger("x").warning("busy")
    logging.getLogger("x").warning("after")
    assert (above.getvalue(), before.getvalue()) == ("busy\n", "after\n")


def test_a_table_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("type", "n"), [("[/b]", "1"), ("[red]", "2"), ("a\nb", "3"), ("\ud800", "4"), (":smile:", "5")])
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert shown[2:] == [["[/b]", "1"], ["[red]", "2"], ["a\\nb", "3"], ["\\ud800", "4"], [":smile:", "5"]]
