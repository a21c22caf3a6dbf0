"""Of several runs with one uid on a server, which is the run, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nertrail.tracking.protocol import KILLED, RUNNING

CREATED_TAG = "nertrail.created_ms"
DUPLICATE_TAG = "duplicate_of"


def choose(client: Any, runs: Sequence[Any], known: str | None) -> Any:
    """The run: the one whose id is `known`, else one that holds records, else the oldest; None if there is none.

    One that was made late, by a request long given up, is the oldest and empty: what is delivered must not move to it.
    """
    ranked = sorted(runs, key=lambda run: (run.info.run_id != known, *_rank(run)))
    for other in ranked[1:]:
        _set_apart(client, other, ranked[0])
    return ranked[0] if ranked else None


def _rank(run: Any) -> tuple[bool, int, int, str]:
    data = run.data
    held = len(data.params) + len(data.metrics) + len(data.tags) + (run.info.status != RUNNING)
    return DUPLICATE_TAG in data.tags, -held, int(data.tags.get(CREATED_TAG, 0)), run.info.run_id


def _set_apart(client: Any, other: Any, run: Any) -> None:
    """Mark a duplicate, and close it: nobody else will. Nothing is deleted on a server."""
    if DUPLICATE_TAG not in other.data.tags:
        client.set_tag(other.info.run_id, DUPLICATE_TAG, run.info.run_id)
    if other.info.status == RUNNING:
        client.set_terminated(other.info.run_id, KILLED, run.info.start_time)
