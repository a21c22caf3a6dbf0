"""Delivery to an MLflow server or database. The only module that imports mlflow, and only once it is used.

Everything goes through `MlflowClient` with explicit run ids: the fluent API's active run is never touched. A run is
found by its uid before it is made, so delivering a journal twice makes nothing twice.
"""

from __future__ import annotations

import fcntl
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from nertrail.records import Artifact, DatasetInput, ModelVersion, RunRecord, RunRef, Value, read_json, write_json
from nertrail.tracking.destination import resolve, sqlite_path
from nertrail.tracking.fitting import OVERFLOW_TAG, Fitting
from nertrail.tracking.mlflow_client import patience, translated
from nertrail.tracking.profiles import Profile, profile_of
from nertrail.tracking.protocol import RUNNING, UID_TAG, Point, Rejected, RunStart, Unreachable, record_points

CREATED_TAG = "nertrail.created_ms"
DUPLICATE_TAG = "duplicate_of"
_DIGEST_CHARACTERS = 36
_Item = tuple[str, Any]  # ("params" | "metrics" | "tags", the MLflow entity)


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
        self._run_ids: dict[str, str] = {}
        self._fittings: dict[str, Fitting] = {}

    def start(self, run: RunStart) -> None:
        """Make the run, or open the one that is there again."""
        with translated():
            experiment = self._experiment(run.experiment)
            found = self._find(run.uid, [experiment]) or self._find(run.uid, self._all_experiments())
            if found is None:
                found = self._create(run, experiment)
            elif found.info.status != RUNNING:
                self._client().update_run(found.info.run_id, status=RUNNING)
            self._remember(run.uid, found)
            held = found.data.tags
            missing = {key: value for key, value in run.tags.items() if held.get(key) != _text(value)}
            self._send(run.uid, tags=missing)

    def log(self, uid: str, record: RunRecord, at_ms: int) -> None:
        """Add a record, artifacts first, so that one that is refused is reported last."""
        with translated():
            run_id = self._require(uid)
            for artifact in record.artifacts:
                if artifact.version is None:
                    self._upload(run_id, artifact)
                else:
                    self._register(run_id, artifact, artifact.version)
            if record.datasets:
                self._client().log_inputs(run_id, datasets=[_dataset(dataset) for dataset in record.datasets])
            self._send(uid, record.params, record_points(record, at_ms), record.tags)

    def log_metrics(self, uid: str, points: Sequence[Point]) -> None:
        """Add values of metrics."""
        with translated():
            self._require(uid)
            self._send(uid, points=points)

    def end(self, uid: str, status: str, at_ms: int) -> None:
        """Close the run with the time at which it ended."""
        with translated():
            self._client().set_terminated(self._require(uid), status, at_ms)

    def run_id(self, uid: str) -> str | None:
        """The server's id of the run, found by its tag where this process has not met it."""
        if uid not in self._run_ids:
            with translated():
                found = self._find(uid, self._all_experiments())
            if found is not None:
                self._remember(uid, found)
        return self._run_ids.get(uid)

    def _require(self, uid: str) -> str:
        run_id = self.run_id(uid)
        if run_id is None:
            raise Rejected(f"run {uid} is not on this server")
        return run_id

    def _client(self) -> Any:
        """The client, made at first use: importing mlflow takes seconds."""
        if self._connection is None:
            from mlflow import MlflowClient

            _initialise(self.uri)
            self._connection = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._connection

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = _experiment_id(self._client(), self.uri, name)
        return self._experiments[name]

    def _all_experiments(self) -> list[str]:
        from mlflow.entities import ViewType

        found = self._client().search_experiments(view_type=ViewType.ALL, max_results=1000)
        return [experiment.experiment_id for experiment in found]

    def _find(self, uid: str, experiments: Sequence[str]) -> Any:
        """The run with this uid, deleted ones included. Of several the oldest is the run, the others are told so."""
        from mlflow.entities import ViewType

        query = f"tags.`{UID_TAG}` = '{uid}'"
        found = self._client().search_runs(list(experiments), query, run_view_type=ViewType.ALL, max_results=20)
        runs = sorted(found, key=lambda run: (int(run.data.tags.get(CREATED_TAG, 0)), run.info.run_id))
        for younger in runs[1:]:
            if DUPLICATE_TAG not in younger.data.tags:
                self._client().set_tag(younger.info.run_id, DUPLICATE_TAG, runs[0].info.run_id)
        return runs[0] if runs else None

    def _create(self, run: RunStart, experiment: str) -> Any:
        """Make the run, its uid in the same request, and look again: another delivery may have made it meanwhile."""
        tags = {key: _text(value)[: self.profile.tag_value] for key, value in run.tags.items()}
        tags |= {UID_TAG: run.uid, CREATED_TAG: str(time.time_ns() // 1_000_000)}
        made = self._client().create_run(experiment, start_time=run.start_ms, tags=tags, run_name=run.name)
        return self._find(run.uid, [experiment]) or made

    def _remember(self, uid: str, run: Any) -> None:
        self._run_ids[uid] = run.info.run_id
        path = self._overflow / f"{uid}.json"
        overflow = read_json(path) if path.exists() else {}
        data = run.data
        self._fittings[uid] = Fitting(self.profile, dict(data.params), set(data.metrics), set(data.tags), overflow)

    def _send(
        self,
        uid: str,
        params: Mapping[str, Value] | None = None,
        points: Sequence[Point] = (),
        tags: Mapping[str, Value] | None = None,
    ) -> None:
        """Send what fits, in as many requests as the server wants, and the rest as overflow."""
        from mlflow.entities import Metric, Param, RunTag

        fitting = self._fittings[uid]
        before = json.dumps(fitting.overflow)
        send, drift = fitting.fit_params(_texts(params or {}))
        rows: dict[str, list[Any]] = {
            "params": [Param(key, value) for key, value in send.items()],
            "metrics": [Metric(p.key, p.value, p.at_ms, p.step) for p in fitting.fit_points(points)],
            "tags": [RunTag(key, value) for key, value in fitting.fit_tags({**_texts(tags or {}), **drift}).items()],
        }
        refused = self._send_rows(self._run_ids[uid], rows)
        if json.dumps(fitting.overflow) != before:
            self._send_overflow(uid, fitting)
        if refused:
            raise Rejected("; ".join(refused))

    def _send_rows(self, run_id: str, rows: Mapping[str, list[Any]]) -> list[str]:
        """Send the rows in batches; give the server's words for those that it refuses."""
        sizes = {"params": self.profile.param_rows, "metrics": self.profile.metric_rows, "tags": self.profile.tag_rows}
        refused: list[str] = []
        while any(rows.values()):
            head = [(kind, row) for kind, part in rows.items() for row in part[: sizes[kind]]]
            rows = {kind: part[sizes[kind] :] for kind, part in rows.items()}
            refused += self._send_batch(run_id, head)
        return refused

    def _send_batch(self, run_id: str, items: Sequence[_Item]) -> list[str]:
        """Send the items in one request; where it is refused, halve it until only what is wrong is left out."""
        parts = {kind: [row for of, row in items if of == kind] for kind in ("metrics", "params", "tags")}
        try:
            with translated():
                self._client().log_batch(run_id, **parts)
        except Rejected as error:
            if len(items) == 1:
                return [f"{items[0][1].key!r}: {error}"]
            middle = len(items) // 2
            return self._send_batch(run_id, items[:middle]) + self._send_batch(run_id, items[middle:])
        return []

    def _send_overflow(self, uid: str, fitting: Fitting) -> None:
        run_id = self._run_ids[uid]
        path = write_json(self._overflow / f"{uid}.json", fitting.overflow)
        name = "overflow.json" if self.profile.rewrites_artifacts else f"overflow-{time.time_ns() // 1_000_000}.json"
        self._upload(run_id, Artifact(path, name))
        if fitting.count():
            self._client().set_tag(run_id, OVERFLOW_TAG, str(fitting.count()))

    def _register(self, run_id: str, artifact: Artifact, version: ModelVersion) -> None:
        """Make the folder a version of the experiment's model."""
        from nertrail.tracking.registry import register

        with patience():
            register(self._client(), run_id, artifact.path, version, self.run_id, self.profile.logged_models)

    def _upload(self, run_id: str, artifact: Artifact) -> None:
        """Upload a file or folder to the place that its name says."""
        with patience():
            if artifact.path.is_dir() and self.profile.rewrites_artifacts:
                self._client().log_artifacts(run_id, str(artifact.path), artifact.name)
                return
            for path, name in _files(artifact):
                if self.profile.rewrites_artifacts or not self._is_there(run_id, name):
                    self._upload_file(run_id, path, PurePosixPath(name))

    def _upload_file(self, run_id: str, path: Path, name: PurePosixPath) -> None:
        above = None if str(name.parent) == "." else str(name.parent)
        with tempfile.TemporaryDirectory(prefix="nertrail-") as folder:
            named = Path(folder) / name.name  # the client takes the name of the file that it is given
            named.symlink_to(path.resolve())
            self._client().log_artifact(run_id, str(named), above)

    def _is_there(self, run_id: str, name: str) -> bool:
        """Whether an earlier delivery has uploaded it, where the server would refuse it a second time."""
        above = str(PurePosixPath(name).parent)
        return name in {entry.path for entry in self._client().list_artifacts(run_id, None if above == "." else above)}


def _files(artifact: Artifact) -> Iterator[tuple[Path, str]]:
    if artifact.path.is_file():
        yield artifact.path, artifact.name
    for path in sorted(artifact.path.rglob("*")):
        if path.is_file():
            yield path, f"{artifact.name}/{path.relative_to(artifact.path).as_posix()}"


def _experiment_id(client: Any, uri: str, name: str) -> str:
    """The experiment of this name, made if need be; in a sqlite store below the folder of the store."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return _create_experiment(client, uri, name)
    if found.lifecycle_stage != "active":
        raise Unreachable(f"experiment {name!r} was deleted on the server: restore it there, or choose another name")
    return str(found.experiment_id)


def _create_experiment(client: Any, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    path = sqlite_path(uri)
    try:
        if path is not None:
            return str(_sqlite_store(path).create_experiment(name))
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client.get_experiment_by_name(name).experiment_id)  # another delivery was faster


def _initialise(uri: str) -> None:
    """Make the tables of a fresh sqlite store, one process at a time: migrations that run side by side fail."""
    path = sqlite_path(uri)
    if path is None:
        return
    if not path.parent.is_dir():
        raise Unreachable(f"{path.parent} does not exist, so no sqlite store can be there")
    with (path.parent / f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sqlite_store(path)


def _sqlite_store(path: Path) -> Any:
    """MLflow's own store, told where artifacts lie: left alone it resolves ./mlruns against whoever comes first."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(f"sqlite:///{path}", (path.parent / "mlruns").as_uri())


def _dataset(dataset: DatasetInput) -> Any:
    from mlflow.entities import Dataset, InputTag
    from mlflow.entities import DatasetInput as MlflowInput

    source = json.dumps({"uri": dataset.source})
    entity = Dataset(dataset.name, dataset.digest[:_DIGEST_CHARACTERS], "local", source)
    return MlflowInput(entity, [InputTag("mlflow.data.context", dataset.context)])


def _texts(values: Mapping[str, Value]) -> dict[str, str]:
    return {key: _text(value) for key, value in values.items()}


def _text(value: Value) -> str:
    """The value as MLflow shows it. References are resolved before they come here, but for a backend used alone."""
    if isinstance(value, RunRef):
        return value.uid
    if isinstance(value, tuple):
        return ",".join(ref.uid for ref in value)
    return str(value)
