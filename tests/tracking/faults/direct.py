"""What a program would have done without an outbox: every verb at once, with stock calls of MlflowClient.

It shares no code with delivery, so that the two can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from nertrail.records import RunRecord, RunRef, Value
from nertrail.tracking.protocol import PARENT_TAG, Point, RunStart


class Direct:
    """A backend over an MLflow store. Values that name a run which does not exist yet are set by `finish`."""

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        """`artifacts`: where those of a store without a server are to lie."""
        self.client = MlflowClient(tracking_uri=uri)
        self._place = artifacts.as_uri() if artifacts else None
        self._ids: dict[str, str] = {}
        self._params: dict[tuple[str, str], str] = {}
        self._late: dict[tuple[str, str], Value] = {}
        self._above: dict[str, str] = {}  # of the runs that are open

    def start(self, run: RunStart) -> None:
        parent = run.tags.get(PARENT_TAG)
        self._above[run.uid] = parent.uid if isinstance(parent, RunRef) else ""
        known = self._ids.get(run.uid)
        if known is not None:
            self.client.update_run(known, status="RUNNING")
        else:
            tags = {"nertrail.run_uid": run.uid}
            experiment = self._experiment(run.experiment)
            made = self.client.create_run(experiment, start_time=run.start_ms, tags=tags, run_name=run.name)
            self._ids[run.uid] = made.info.run_id
        self._tag(run.uid, run.tags)

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        run_id = self._ids[uid]
        for key, value in record.params.items():
            self._param(uid, key, str(value))
        self.log_metrics(uid, [Point(key, value, 0, at_ms) for key, value in record.metrics.items()])
        self._tag(uid, record.tags)
        for artifact in record.artifacts:
            if artifact.path.is_dir():
                self.client.log_artifacts(run_id, str(artifact.path), artifact.name)
            else:
                assert artifact.path.name == artifact.name, "the stock client cannot rename"
                self.client.log_artifact(run_id, str(artifact.path))
        for dataset in record.datasets:
            entity = Dataset(dataset.name, dataset.digest, "local", json.dumps({"uri": dataset.source}))
            tags = [InputTag("mlflow.data.context", dataset.context)]
            self.client.log_inputs(run_id, [DatasetInput(entity, tags)])

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        for point in points:
            self.client.log_batch(self._ids[uid], [Metric(point.key, point.value, point.at_ms, point.step)])

    def end(self, uid: str, status: str, at_ms: int) -> None:
        """The runs that were left open below it are closed with it, as the contract says."""
        self._above.pop(uid, None)
        for below, above in list(self._above.items()):
            if above == uid:
                self.end(below, "KILLED", at_ms)
        self.client.set_terminated(self._ids[uid], status, at_ms)

    def finish(self) -> None:
        """Set what had to wait for a run."""
        for (uid, key), value in dict(self._late).items():
            self._tag(uid, {key: value})

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        return found.experiment_id if found else self.client.create_experiment(name, self._place)

    def _param(self, uid: str, key: str, value: str) -> None:
        """A param keeps its first value; another one becomes a tag, as the contract says."""
        if self._params.setdefault((uid, key), value) == value:
            self.client.log_param(self._ids[uid], key, value)
        else:
            self.client.set_tag(self._ids[uid], f"nertrail.param_drift.{key}", value)

    def _tag(self, uid: str, tags: Mapping[str, Value]) -> None:
        for key, value in tags.items():
            text = self._text(value)
            self._late.pop((uid, key), None)
            if text is None:
                self._late[(uid, key)] = value
            else:
                self.client.set_tag(self._ids[uid], key, text)

    def _text(self, value: Value) -> str | None:
        references: Any = (value,) if isinstance(value, RunRef) else value if isinstance(value, tuple) else ()
        if not references:
            return str(value)
        ids = [self._ids.get(reference.uid) for reference in references]
        return ",".join(ids) if all(ids) else None
