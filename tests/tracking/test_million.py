"""A million metric points through a journal and delivery, into a store and back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mlflow import MlflowClient

from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.sync import sync
from tracking_views import runs_on

KEYS, STEPS = 10, 100_000
ODD = {7: math.nan, 11: math.inf, 13: -math.inf, 17: 5e-324}


def value(number: int, step: int) -> float:
    return ODD.get(step, (number + 1) / (step + 1))


@pytest.mark.soak
def test_a_million_points_are_in_the_store_once_and_in_order(store: str, tmp_path: Path) -> None:
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart("u", "many", "e", 1))
    for step in range(STEPS):
        journal.log_metrics("u", [Point(f"m{number}", value(number, step), step, step) for number in range(KEYS)])
    journal.end("u", "FINISHED", STEPS)
    journal.close()
    receipt = sync(tmp_path / "run", store)
    assert receipt.complete and (receipt.pending, receipt.dropped) == (0, 0)
    client, (run,) = MlflowClient(store), runs_on(store, "u")
    for number in range(KEYS):
        points = client.get_metric_history(run.info.run_id, f"m{number}")
        assert [(point.step, point.timestamp) for point in points] == [(step, step) for step in range(STEPS)]
        assert [stored(point.value) for point in points] == [stored(value(number, step)) for step in range(STEPS)]


def stored(number: float) -> str:
    """As text, in which nan equals nan; infinity is the largest float in a store."""
    return repr(math.copysign(1.7976931348623157e308, number)) if math.isinf(number) else repr(number)
