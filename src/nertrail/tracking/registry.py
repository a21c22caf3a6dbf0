"""Models on an MLflow server: registered, looked up, and given the alias of the one in production.

Imports mlflow, lazily, as the backend does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nertrail.tracking.disk import scratch_folder
from nertrail.tracking.mlflow_download import Fetched, cache_folder, client_of, fetch, server
from nertrail.tracking.protocol import now_ms
from nertrail.tracking.pyfunc import save_pyfunc

if TYPE_CHECKING:
    from nertrail.records import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
_ARTIFACT = "model"
HELD_BACK_TAG = "nertrail.alias_held_back"
_LATE_MS = 600_000  # a delivery this long after the record may be behind what people have decided since
_DONE_TAG = "nertrail.registered"  # the last thing set: a version without it is completed by the next delivery
_NO_ENDPOINT = (404, 405, 501)


@dataclass(frozen=True)
class Version:
    """A version of a registered model, with what was told of it when it was registered."""

    name: str
    number: str
    tags: Mapping[str, str]


def register(
    client: Any,
    run_id: str,
    folder: Path,
    version: ModelVersion,
    at_ms: int,
    run_id_of: Callable[[str], str | None],
    logged_models: bool,
) -> None:
    """Make `folder` a version of the model that is named after the run's experiment. Repeated, it changes nothing.

    An alias that another version has is taken over now, but not by a late delivery: see `take_aliases`.

    Args:
        client: an MlflowClient.
        at_ms: when it was recorded that the folder is to be a version.
        run_id_of: the server's id of the run with a uid, None where it has none.
        logged_models: whether to try the server's logged models; without them the model is an artifact of the run.
    """
    run = client.get_run(run_id)
    name = _model_name(client.get_experiment(run.info.experiment_id).name)
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    if known and _DONE_TAG in known[0].tags:
        return
    number = known[0].version if known else _create(client, run, name, folder, logged_models)
    for key, value in {**version.tags, **_lineage(run_id, version, run_id_of)}.items():
        client.set_model_version_tag(name, number, key, value)
    if version.alias and now_ms() - at_ms > _LATE_MS and _is_elsewhere(client, name, version.alias, number):
        client.set_model_version_tag(name, number, HELD_BACK_TAG, version.alias)
    elif version.alias:
        client.set_registered_model_alias(name, version.alias, number)
    client.set_model_version_tag(name, number, _DONE_TAG, "true")


def take_aliases(run_ids: Sequence[str], tracking_uri: str | None = None) -> list[str]:
    """Give the models of these runs the aliases that they came too late for; the last run's wins. What was given.

    Raises:
        ModelError: the server does not answer.
    """
    given = []
    with server(tracking_uri, "aliases") as uri:
        client = client_of(uri)
        for run_id in run_ids:
            for made in client.search_model_versions(f"run_id = '{run_id}'"):
                if alias := made.tags.get(HELD_BACK_TAG):
                    client.set_registered_model_alias(made.name, alias, made.version)
                    client.delete_model_version_tag(made.name, made.version, HELD_BACK_TAG)
                    given.append(f"models:/{made.name}@{alias} is version {made.version}")
    return given


def _is_elsewhere(client: Any, name: str, alias: str, number: str) -> bool:
    """Whether another version has the alias."""
    return str(client.get_registered_model(name).aliases.get(alias, number)) != str(number)


def whole_versions(client: Any, run_id: str) -> int:
    """How many versions that this run made are registered to the end."""
    return sum(_DONE_TAG in version.tags for version in client.search_model_versions(f"run_id = '{run_id}'"))


def find_version(name: str, wanted: str, tracking_uri: str | None = None) -> Version | None:
    """The version with a number or an alias; None where there is none.

    Raises:
        ModelError: the server does not answer, or has no model of that name.
    """
    remedy = "name a registered model, and its server with MLFLOW_TRACKING_URI or mlflow.tracking_uri"
    with server(tracking_uri, f"models:/{name}", remedy) as uri:
        client = client_of(uri)
        model = client.get_registered_model(name)
        number = wanted if wanted.isdigit() else model.aliases.get(wanted)
        found = client.search_model_versions(f"name = '{name}'") if number else []
        versions = [Version(name, str(v.version), dict(v.tags)) for v in found if str(v.version) == str(number)]
        return versions[0] if versions else None


def model_of(version: Version, tracking_uri: str | None = None) -> Fetched:
    """The files of a version, fetched into the cache.

    Raises:
        ModelError: the server does not answer, or has no files of it.
    """
    return fetch(f"models:/{version.name}/{version.number}", cache_folder(), tracking_uri)


def set_champion(version: Version, tracking_uri: str | None = None) -> None:
    """Give the version the alias `champion`, which another may have had.

    Raises:
        ModelError: the server does not answer.
    """
    with server(tracking_uri, f"models:/{version.name}") as uri:
        client_of(uri).set_registered_model_alias(version.name, CHAMPION, version.number)


def _create(client: Any, run: Any, name: str, folder: Path, logged_models: bool) -> str:
    """Build the MLflow model, upload it and register it; give the version's number."""
    from mlflow.exceptions import MlflowException

    with scratch_folder() as draft:
        built = save_pyfunc(folder, draft / "pyfunc")
        source, model_id = _upload(client, run, built, logged_models)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(name, source, run.info.run_id, model_id=model_id)
    return str(made.version)


def _upload(client: Any, run: Any, built: Path, logged_models: bool) -> tuple[str, str | None]:
    """Upload the model: as a logged model where the server has such, else as artifacts of the run. Source and id."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    try:
        model = _logged_model(client, run) if logged_models else None
    except MlflowException as error:
        if error.get_http_status_code() not in _NO_ENDPOINT:
            raise
        model = None
    if model is None:
        client.log_artifacts(run.info.run_id, str(built), _ARTIFACT)
        return f"{run.info.artifact_uri}/{_ARTIFACT}", None
    client.log_model_artifacts(model.model_id, str(built))
    client.finalize_logged_model(model.model_id, "READY")
    if model.model_id not in _outputs(run):  # said twice it is an error
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    # Not models:/<id>: a sqlite store looks that up on the process's default server, whichever that is.
    return model.artifact_location, model.model_id


def _outputs(run: Any) -> set[str]:
    return {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()


def _logged_model(client: Any, run: Any) -> Any:
    """The run's logged model, which an interrupted delivery may have begun."""
    query = f"source_run_id = '{run.info.run_id}'"
    known = client.search_logged_models([run.info.experiment_id], filter_string=query)
    made = [model for model in known if model.name == _ARTIFACT]
    if made:
        return made[0]
    return client.create_logged_model(run.info.experiment_id, _ARTIFACT, run.info.run_id, model_type="ner")


def _lineage(run_id: str, version: ModelVersion, run_id_of: Callable[[str], str | None]) -> dict[str, str]:
    """Run ids of this server under each tag, and the uids beside them, which hold on any server."""
    tags = {"source_conversion_run": run_id}
    for key, uids in version.runs.items():
        ids = [run_id_of(uid) for uid in uids]
        tags |= {f"{key}_uid": ",".join(uids)} if uids else {}
        tags |= {key: ",".join(found for found in ids if found)} if any(ids) else {}
    return tags


def _model_name(experiment: str) -> str:
    """The registry takes neither slashes nor colons."""
    return experiment.replace("/", "-").replace(":", "-").strip("-") or "model"
