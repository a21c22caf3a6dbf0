"""Several runs with one uid: one is the run, the others are closed and marked, none is deleted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from mlflow import MlflowClient

from nertrail.records import RunRecord
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.protocol import UID_TAG, RunStart
from tracking_views import runs_on


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture
def start(store: str) -> RunStart:
    run = RunStart(uuid.uuid4().hex, "r", "e", 1)
    MlflowBackend(store).start(run)
    return run


def namesake(client: MlflowClient, run: RunStart, created_ms: int) -> str:
    """Make another run with the uid, as a delivery elsewhere or a late request would."""
    experiment = client.get_experiment_by_name(run.experiment).experiment_id
    tags = {UID_TAG: run.uid, "nertrail.created_ms": str(created_ms)}
    return str(client.create_run(experiment, start_time=1, run_name="r", tags=tags).info.run_id)


def states(store: str, uid: str) -> dict[str, tuple[str, str | None]]:
    """Run id → status and what it is a duplicate of."""
    return {run.info.run_id: (run.info.status, run.data.tags.get("duplicate_of")) for run in runs_on(store, uid)}


def test_the_older_of_two_empty_ones_is_the_run(store: str, client: MlflowClient, start: RunStart) -> None:
    first, older = MlflowBackend(store).run_id(start.uid), namesake(client, start, created_ms=5)
    assert MlflowBackend(store).run_id(start.uid) == older
    assert states(store, start.uid) == {older: ("RUNNING", None), first: ("KILLED", older)}


@pytest.mark.parametrize("how", ["param", "tag", "end"])
def test_one_that_something_was_delivered_to_stays_the_run(
    how: str, store: str, client: MlflowClient, start: RunStart
) -> None:
    backend = MlflowBackend(store)
    delivered: dict[str, Any] = {
        "param": lambda: backend.log(start.uid, RunRecord(params={"a": 1}), 2),
        "tag": lambda: backend.log(start.uid, RunRecord(tags={"a": 1}), 2),
        "end": lambda: backend.end(start.uid, "FINISHED", 2),
    }
    delivered[how]()
    late = namesake(client, start, created_ms=5)
    first = MlflowBackend(store).run_id(start.uid)
    assert first != late and states(store, start.uid)[late] == ("KILLED", first)
    assert MlflowBackend(store).run_id(start.uid) == first, "the decision is kept"


def test_the_run_of_an_earlier_delivery_stays_the_run(store: str, client: MlflowClient, start: RunStart) -> None:
    first, late = MlflowBackend(store).run_id(start.uid), namesake(client, start, created_ms=5)
    backend = MlflowBackend(store)
    backend.recall({start.uid: first})
    backend.start(start)
    assert backend.run_id(start.uid) == first and states(store, start.uid)[late] == ("KILLED", first)
