"""The parts of a page of HTML that stands alone: frame, tables, pictures and numbers."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = tuple[Sequence[str], str]
"""The cells of a table's row, and the row's class."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dbe2; }
.wide { overflow-x: auto; margin: .8rem 0; } table { border-collapse: collapse; }
td, th { padding: .25rem .8rem; text-align: left; vertical-align: top; } th { border-bottom: 1px solid #8593a2; }
td.n, th.n { text-align: right; } td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.taken { font-weight: 600; background: #eef6ee; } .quiet { color: #5d6b7a; } img { max-width: 100%; }
.remark { background: #fdf3e3; border-left: 4px solid #d98a16; padding: .5rem .9rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { td, th { padding: .25rem .45rem; font-size: 13px; } body { margin: 1rem auto; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page with its style; it loads nothing from elsewhere and fits a narrow screen."""
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    body = "\n".join(part for part in (f"<h1>{html.escape(title)}</h1>", *parts) if part)
    return f"{head}<title>{html.escape(title)}</title><style>{_STYLE}</style>{body}</html>\n"


def table(head: Sequence[str], rows: Iterable[Row]) -> str:
    """A table that scrolls by itself where the screen is narrower than it."""
    rows = list(rows)
    right = {place for place in range(len(head)) if all(_is_number(cells[place]) for cells, _ in rows)}
    top = "".join(f"<th{' class=n' if i in right else ''}>{html.escape(name)}</th>" for i, name in enumerate(head))
    body = "".join(f"<tr class='{kind}'>{''.join(map(_cell, row))}</tr>" for row, kind in rows)
    return f"<div class=wide><table>{f'<tr>{top}</tr>' if top else ''}{body}</table></div>"


def _cell(text: str) -> str:
    return f"<td{' class=n' if text and _is_number(text) else ''}>{html.escape(text)}</td>"


def _is_number(text: str) -> bool:
    """A number, with or without something in brackets behind it; an empty cell does not disturb a column of them."""
    return re.fullmatch(r"([+-]?\d+(\.\d+)?( \(.*\))?)?", text) is not None


def picture(path: str | None) -> str:
    """The PNG inside the page, nothing where there is no such file."""
    if path is None or not Path(path).is_file():
        return ""
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return f"<p><img alt='{html.escape(Path(path).stem)}' src='data:image/png;base64,{data}'></p>"


def quiet(text: str) -> str:
    """A paragraph in grey."""
    return f"<p class=quiet>{html.escape(text)}</p>"


def remark(text: str) -> str:
    """A paragraph that is not to be overlooked."""
    return f"<p class=remark>{html.escape(text)}</p>"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many digits after the point; empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def short(value: Any) -> str:
    """A hyperparameter's value, a float with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
