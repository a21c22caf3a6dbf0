"""Delivery to an MLflow server or database. Imports mlflow, and only once it is used.

Everything goes through `MlflowClient` with explicit run ids: the fluent API's active run is never touched. A run is
found by its uid before it is made, so delivering a journal twice makes nothing twice.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nertrail.records import Artifact, DatasetInput, ModelVersion, RunRecord, Value, read_json, write_json
from nertrail.tracking import batches
from nertrail.tracking.destination import resolve
from nertrail.tracking.disk import local_disk
from nertrail.tracking.fitting import OVERFLOW_TAG, Fitting, text, texts
from nertrail.tracking.mlflow_client import Unauthorised, looking, patience, translated
from nertrail.tracking.mlflow_store import experiment_id, forget_stores, initialise
from nertrail.tracking.mlflow_view import Held, held_by
from nertrail.tracking.namesakes import CREATED_TAG, choose
from nertrail.tracking.profiles import Profile, profile_of
from nertrail.tracking.protocol import RUNNING, UID_TAG, Point, Rejected, RunStart, Unreachable, record_points
from nertrail.tracking.uploads import upload

_DIGEST_CHARACTERS = 36
_EXPERIMENTS_SECONDS = 60.0
PROBE_TAG = "nertrail.probe_ms"


class MlflowBackend:
    """A destination behind an MLflow tracking URI.

    Args:
        uri: the tracking URI; default as for the trackers.
        profile: the server's limits; default by the URI.
        overflow: the folder that keeps what exceeds the limits, so that it outlives this process.
    """

    def __init__(self, uri: str | None = None, *, profile: Profile | None = None, overflow: Path | None = None) -> None:
        self.uri = resolve(uri)
        self.profile = profile or profile_of(self.uri)
        self._overflow = overflow or Path(tempfile.mkdtemp(prefix="nertrail-overflow-"))
        self._connection: Any = None
        self._experiments: dict[str, str] = {}
        self._everywhere: list[str] = []
        self._asked = -math.inf
        self._doubtful: set[str] = set()  # runs whose making was not answered
        self._run_ids: dict[str, str] = {}
        self._fittings: dict[str, Fitting] = {}
        self._places: dict[str, str] = {}  # of the runs' artifacts, by run id

    def start(self, run: RunStart) -> None:
        """Make the run, or open the one that is there again."""
        with self._calls():
            found = self._find(run.uid, self._experiment(run.experiment))
            if found is None:
                (self._overflow / f"{run.uid}.json").unlink(missing_ok=True)  # of a server that was there before
                found = self._create(run)
            elif found.info.status != RUNNING:
                self._client().update_run(found.info.run_id, status=RUNNING)
            self._remember(run.uid, found)
            held = found.data.tags
            missing = {key: value for key, value in run.tags.items() if held.get(key) != text(value)}
            self._send(run.uid, tags=missing)

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        """Add a record, artifacts first, so that one that is refused is reported last."""
        with self._calls():
            run_id = self._require(uid)
            for artifact in record.artifacts:
                if artifact.version is None:
                    self._upload(run_id, artifact)
                else:
                    self._register(run_id, artifact, artifact.version, at_ms)
            if record.datasets:
                self._client().log_inputs(run_id, datasets=_datasets(record.datasets))
            self._send(uid, record.params, record_points(record, at_ms), record.tags)

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        """Add values of metrics."""
        with self._calls():
            self._require(uid)
            self._send(uid, points=points)

    def end(self, uid: str, status: str, at_ms: int) -> None:
        """Close the run with the time at which it ended."""
        with self._calls():
            run_id = self._require(uid)
            if uid in self._doubtful:
                self._find(uid)
                self._doubtful.remove(uid)
            self._client().set_terminated(run_id, status, at_ms)

    def run_id(self, uid: str) -> str | None:
        """The server's id of the run, found by its tag where this process has not met it."""
        if uid not in self._run_ids:
            with self._calls():
                found = self._find(uid)
            if found is not None:
                self._remember(uid, found)
        return self._run_ids.get(uid)

    def held(self, uid: str, artifacts: Sequence[str] = (), *, models: bool = False) -> Held | None:
        """What the server holds of the run, and the sha256 of these artifacts; None where it does not know the run."""
        with translated():
            run_id = self.run_id(uid)
            return held_by(self._client(), run_id, artifacts, models=models) if run_id else None

    def recall(self, run_ids: Mapping[str, str]) -> None:
        """Be reminded of the runs of earlier deliveries: a younger namesake will not take their place."""
        self._run_ids.update(run_ids)

    def takes_writes(self, experiment: str) -> bool:
        """Whether the server takes a tag of our experiment now: one whose disk is full still lets itself be read."""
        try:
            with self._calls():
                place = self._experiment(experiment)
                with looking():
                    self._client().get_experiment(place)
                self._client().set_experiment_tag(place, PROBE_TAG, str(time.time_ns() // 1_000_000))
        except Unreachable:
            return False
        except Rejected:
            return True  # it knows no such tags, but it answers
        return True

    @contextlib.contextmanager
    def _calls(self) -> Iterator[None]:
        """For calls of the client. Where our credentials are not known, the next call is made with new ones."""
        try:
            with translated():
                yield
        except Unauthorised:
            self._connection = None
            forget_stores()
            raise

    def _require(self, uid: str) -> str:
        run_id = self.run_id(uid)
        if run_id is None:
            raise Rejected(f"run {uid} is not on this server")
        return run_id

    def _client(self) -> Any:
        """The client, made at first use: importing mlflow takes seconds."""
        if self._connection is None:
            from mlflow import MlflowClient

            initialise(self.uri)
            self._connection = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._connection

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = experiment_id(self._client(), self.uri, name)
        return self._experiments[name]

    def _all_experiments(self, max_age_s: float) -> list[str]:
        """Every experiment of the server, deleted ones included, as of that long ago at most."""
        from mlflow.entities import ViewType

        if time.monotonic() > self._asked + max_age_s:
            found = self._client().search_experiments(view_type=ViewType.ALL, max_results=1000)
            self._everywhere, self._asked = [experiment.experiment_id for experiment in found], time.monotonic()
        return self._everywhere

    def _find(self, uid: str, experiment: str | None = None) -> Any:
        """The run with this uid, deleted ones included, wherever it is."""
        from mlflow.entities import ViewType

        with looking():
            everywhere = self._all_experiments(_EXPERIMENTS_SECONDS if experiment else 0.0)
            places = dict.fromkeys([experiment, *everywhere] if experiment else everywhere)
            query = f"tags.`{UID_TAG}` = '{uid}'"
            found = self._client().search_runs(list(places), query, run_view_type=ViewType.ALL, max_results=20)
        return choose(self._client(), found, self._run_ids.get(uid))

    def _create(self, run: RunStart) -> Any:
        """Make the run, its uid in the same request, and look again: another delivery may have made it meanwhile.

        Where no answer comes the run may be made yet: that is looked at again when it ends.
        """
        tags = {key: text(value)[: self.profile.tag_value] for key, value in run.tags.items()}
        tags |= {UID_TAG: run.uid, CREATED_TAG: str(time.time_ns() // 1_000_000)}
        experiment = self._experiment(run.experiment)
        try:
            with translated():
                made = self._client().create_run(
                    experiment, start_time=run.start_ms, tags=tags, run_name=text(run.name)
                )
        except Unreachable:
            self._doubtful.add(run.uid)
            raise
        return self._find(run.uid, experiment) or made

    def _remember(self, uid: str, run: Any) -> None:
        self._run_ids[uid] = run.info.run_id
        self._places[run.info.run_id] = run.info.artifact_uri
        path = self._overflow / f"{uid}.json"
        overflow = read_json(path) if path.exists() else {}
        data = run.data
        self._fittings[uid] = Fitting(self.profile, dict(data.params), set(data.metrics), set(data.tags), overflow)

    def _take_fitting(self, uid: str) -> Fitting:
        """What the run holds; to be put back once what is added to it has arrived, and otherwise asked for again."""
        if uid not in self._fittings:
            self._remember(uid, self._client().get_run(self._run_ids[uid]))
        return self._fittings.pop(uid)

    def _send(
        self,
        uid: str,
        params: Mapping[str, Value] | None = None,
        points: Sequence[Point] = (),
        tags: Mapping[str, Value] | None = None,
    ) -> None:
        """Send what fits, in as many requests as the server wants, and the rest as overflow."""
        from mlflow.entities import Metric, Param, RunTag

        fitting = self._take_fitting(uid)
        before = json.dumps(fitting.overflow)
        send, drift = fitting.fit_params(texts(params or {}))
        rows: dict[str, list[Any]] = {
            "params": [Param(key, value) for key, value in send.items()],
            "metrics": [Metric(p.key, p.value, p.at_ms, p.step) for p in fitting.fit_points(points)],
            "tags": [RunTag(key, value) for key, value in fitting.fit_tags({**texts(tags or {}), **drift}).items()],
        }
        log_batch = functools.partial(self._client().log_batch, self._run_ids[uid])
        refused = batches.send(log_batch, self.profile, rows)
        if json.dumps(fitting.overflow) != before:
            self._send_overflow(uid, fitting)
        if refused:
            raise Rejected("; ".join(refused))
        self._fittings[uid] = fitting

    def _send_overflow(self, uid: str, fitting: Fitting) -> None:
        """Upload it, and only then note that it is there."""
        run_id = self._run_ids[uid]
        with local_disk():
            draft = write_json(self._overflow / f"{uid}.draft", fitting.overflow)
        name = "overflow.json" if self.profile.rewrites_artifacts else f"overflow-{time.time_ns() // 1_000_000}.json"
        self._upload(run_id, Artifact(draft, name))
        if fitting.count():
            self._client().set_tag(run_id, OVERFLOW_TAG, str(fitting.count()))
        draft.replace(self._overflow / f"{uid}.json")

    def _register(self, run_id: str, artifact: Artifact, version: ModelVersion, at_ms: int) -> None:
        """Make the folder a version of the experiment's model."""
        from nertrail.tracking.registry import register

        with patience():
            models = self.profile.logged_models
            register(self._client(), run_id, artifact.path, version, at_ms, self.run_id, models)

    def _upload(self, run_id: str, artifact: Artifact) -> None:
        place = self._places.get(run_id) or self._client().get_run(run_id).info.artifact_uri
        self._places[run_id] = place
        upload(self._client(), run_id, artifact, place, rewrites=self.profile.rewrites_artifacts)


def _datasets(datasets: Sequence[DatasetInput]) -> list[Any]:
    """Each dataset once, as an input of MLflow."""
    from mlflow.entities import Dataset, InputTag
    from mlflow.entities import DatasetInput as MlflowInput

    return [
        MlflowInput(
            Dataset(each.name, each.digest[:_DIGEST_CHARACTERS], "local", json.dumps({"uri": each.source})),
            [InputTag("mlflow.data.context", each.context)],
        )
        for each in dict.fromkeys(datasets)
    ]
