"""Sends rows in as few requests as a server wants, and finds those that it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nertrail.tracking.mlflow_client import translated
from nertrail.tracking.profiles import Profile
from nertrail.tracking.protocol import Rejected

KINDS = ("metrics", "params", "tags")
_Item = tuple[str, Any]  # its kind, and the MLflow entity


def send(log_batch: Callable[..., None], profile: Profile, rows: Mapping[str, Sequence[Any]]) -> list[str]:
    """Send the rows, by kind, through the client's `log_batch`; give the server's words for those that it refuses."""
    sizes = {"params": profile.param_rows, "metrics": profile.metric_rows, "tags": profile.tag_rows}
    refused: list[str] = []
    while any(rows.values()):
        head = [(kind, row) for kind, part in rows.items() for row in part[: sizes[kind]]]
        rows = {kind: part[sizes[kind] :] for kind, part in rows.items()}
        refused += _send_one(log_batch, head)
    return refused


def _send_one(log_batch: Callable[..., None], items: Sequence[_Item]) -> list[str]:
    """Send the items in one request; where it is refused, halve it until only what is wrong is left out."""
    try:
        with translated():
            log_batch(**{kind: [row for of, row in items if of == kind] for kind in KINDS})
    except Rejected as error:
        if len(items) == 1:
            return [f"{items[0][1].key!r}: {error}"]
        middle = len(items) // 2
        return _send_one(log_batch, items[:middle]) + _send_one(log_batch, items[middle:])
    return []
