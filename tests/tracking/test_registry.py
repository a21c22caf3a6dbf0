"""A converted model on a real store: registered once through the journal, fetched, served, promoted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
from typer.testing import CliRunner

import nertrail
from nertrail import Predictor
from nertrail.cli import app
from nertrail.errors import ModelError, PromotionError
from nertrail.ner.checkpoint import Checkpoint
from nertrail.promotion import judge, promote
from nertrail.records import Artifact, RunRecord
from nertrail.stages.continuation import locate
from nertrail.tracking import pyfunc, registry
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.profiles import Profile
from nertrail.tracking.protocol import RunStart, now_ms
from nertrail.tracking.uploader import sync
from registered import HALF, RIGHT, client, log, record, scored
from tracking_fixtures import free_port

TEXT = "Anna Baker lives in Oslo."


@pytest.fixture
def model(tiny_served: Path, tmp_path: Path) -> Path:
    return scored(tmp_path / "served", tiny_served, RIGHT)


ALONE = """
import sys
import mlflow, pandas
sys.path = [folder for folder in sys.path if folder != {source!r}]
model = mlflow.pyfunc.load_model({model!r})
rows = model.predict(pandas.DataFrame({{"text": [{text!r}, ""]}}))
print([[entity["label"] for entity in row["entities"]] for row in rows])
print(len(model.predict([{{"text": {text!r}}}], params={{"min_score": 1.0}})[0]["entities"]))
import nertrail
print(nertrail.__file__)
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
BESIDE = """
import sys
import mlflow
mlflow.pyfunc.load_model({model!r})
import nertrail, nertrail.ner.serving, nertrail.ner.digests, nertrail.stages.sweep
print(nertrail.__file__, nertrail.ner.serving.__file__)
"""


# --- registering ----------------------------------------------------------------------------------------------------


def test_a_journal_registers_a_model_once(store: str, model: Path, tmp_path: Path) -> None:
    journal = JournalBackend(tmp_path / "run")
    made = {"w1": "sweep", "w2": "sweep", "s": "selection", "t": "training", "c": "conversion"}
    for uid, stage in made.items():
        journal.start(RunStart(uid, stage, "e", 1, {}))
    journal.log("c", record(model), 3)
    journal.log("c", record(model), 4)  # as after a reply that was lost
    for uid in made:
        journal.end(uid, "FINISHED", 5)
    assert sync(tmp_path / "run", store).complete
    (version,) = client(store).search_model_versions("name = 'e'")
    first, second, selection, training, conversion = (MlflowBackend(store).run_id(uid) for uid in made)
    assert version.run_id == conversion
    assert dict(version.tags) | {"gate": "passed", "data_version": "v1"} == dict(version.tags)
    assert version.tags["source_training_run"] == training
    assert version.tags["source_training_run_uid"] == "t"
    assert version.tags["source_selection_run"] == selection
    assert version.tags["source_selection_run_uid"] == "s"
    assert version.tags["source_sweep_runs"] == f"{first},{second}"  # a third is on no server
    assert version.tags["source_sweep_runs_uid"] == "w1,w2,gone"
    assert version.tags["source_conversion_run"] == conversion
    assert client(store).get_model_version_by_alias("e", "challenger").version == version.version
    (logged,) = client(store).search_logged_models([client(store).get_experiment_by_name("e").experiment_id])
    assert (logged.source_run_id, str(logged.status)) == (conversion, "READY")
    found = Predictor.load("models:/e@challenger", tracking_uri=store, threads=1)
    assert [e.label for e in found.predict([TEXT])[0]] == ["PER", "LOC"]


def test_the_model_carries_every_module_that_serving_needs(model: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from nertrail.ner.serving import FolderPredictor;"
        "FolderPredictor(Path(sys.argv[1]), threads=1).predict(['Ann sings']);"
        "print(*(m.__file__ for m in sys.modules.values() if m.__name__.partition('.')[0] == 'nertrail'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=True)
    package = Path(nertrail.__file__).parent
    needed = {str(Path(file).relative_to(package)) for file in done.stdout.split()}
    assert needed | {"predictor.py"} == set(pyfunc.CODE)  # which `from nertrail import Predictor` reads


@pytest.mark.server
def test_a_real_server_registers_and_promotes(mlflow_server: str, model: Path) -> None:
    log(mlflow_server, "a", model)
    log(mlflow_server, "a", model)
    assert len(client(mlflow_server).search_model_versions("name = 'my-experiment'")) == 1
    assert promote("my-experiment", tracking_uri=mlflow_server).champion.number == "1"
    found = Predictor.load("models:/my-experiment@champion", tracking_uri=mlflow_server, threads=1)
    assert [entity.label for entity in found.predict([TEXT])[0]] == ["PER", "LOC"]


def test_a_version_stands_for_the_checkpoint_that_it_was_made_of(
    store: str, model: Path, tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart("t", "training", "e", 1, {}))
    journal.log("t", RunRecord(artifacts=(Artifact(tiny_checkpoint.path, "checkpoint"),)), 2)
    journal.start(RunStart("c", "conversion", "e", 2, {}))
    journal.log("c", record(model), 3)
    for uid in "ct":
        journal.end(uid, "FINISHED", 5)
    journal.close()
    assert sync(tmp_path / "run", store).complete
    for name in ("models:/e@challenger", "models:/e/1"):
        found = locate(name, tmp_path / "sources", store)
        assert (found.name, found.checkpoint.labels) == (name, tiny_checkpoint.labels)


def test_an_alias_that_was_moved_since_is_left_alone(store: str, model: Path) -> None:
    log(store, "a", model)
    client(store).delete_registered_model_alias("my-experiment", "challenger")
    log(store, "a", model)
    with pytest.raises(MlflowException):
        client(store).get_model_version_by_alias("my-experiment", "challenger")


def test_an_alias_moves_late_only_when_it_is_told_to(store: str, model: Path, tmp_path: Path) -> None:
    def challenger() -> str:
        return str(client(store).get_model_version_by_alias("e", "challenger").version)

    for uid, at_ms in (("first", 3), ("late", 3), ("live", now_ms())):
        journal = JournalBackend(tmp_path / uid)
        journal.start(RunStart(uid, "conversion", "e", 2, {}))
        journal.log(uid, record(model), at_ms)
        journal.end(uid, "FINISHED", at_ms)
        journal.close()
    assert sync(tmp_path / "first", store).complete and challenger() == "1"  # late, but nobody else has it
    assert sync(tmp_path / "late", store).complete and challenger() == "1"
    command = ["sync", str(tmp_path / "late"), "--promote"]
    for told in (True, False):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0 and ("models:/e@challenger is version 2" in done.output) is told, done.output
        assert challenger() == "2"
    assert sync(tmp_path / "live", store).complete and challenger() == "3"
    assert CliRunner().invoke(app, command).exit_code == 0 and challenger() == "3"


@pytest.mark.parametrize("verb", ["create_registered_model", "set_registered_model_alias"])
def test_a_delivery_that_broke_off_is_completed(
    verb: str, store: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, verb, broken)
        with pytest.raises(Exception, match="connection lost"):
            log(store, "a", model)
    log(store, "a", model)
    (version,) = client(store).search_model_versions("name = 'my-experiment'")
    assert client(store).get_model_version_by_alias("my-experiment", "challenger").version == version.version


@pytest.mark.parametrize("said", [True, False], ids=["told by its profile", "found out"])
def test_without_logged_models_plain_artifacts_carry_the_same(
    store: str, model: Path, monkeypatch: pytest.MonkeyPatch, said: bool
) -> None:
    if not said:

        def missing(*_: object, **__: object) -> None:
            raise MlflowException("no such endpoint", error_code=404)  # ENDPOINT_NOT_FOUND has no other mark

        monkeypatch.setattr(MlflowClient, "create_logged_model", missing)
        monkeypatch.setattr(MlflowException, "get_http_status_code", lambda self: 404)
    run_id = log(store, "a", model, profile=Profile("plain", logged_models=not said))
    names = {entry.path for entry in client(store).list_artifacts(run_id, "model")}
    assert {"model/MLmodel", "model/artifacts", "model/code"} <= names
    (version,) = client(store).search_model_versions("name = 'my-experiment'")
    assert version.source.endswith("/model")
    for source in (f"runs:/{run_id}/model", "models:/my-experiment@challenger"):
        assert len(Predictor.load(source, tracking_uri=store, threads=1).predict([TEXT])[0]) == 2


@pytest.mark.parametrize("source", ["models:/nothing@x", "models:/my-experiment/7", "runs:/0123456789abcdef"])
def test_what_is_not_there_is_told(store: str, source: str) -> None:
    with pytest.raises(ModelError, match=source.replace("/", "/")) as caught:
        Predictor.load(source, tracking_uri=store)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


# --- the MLflow model -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tiny_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pyfunc.save_pyfunc(tiny_served, tmp_path_factory.mktemp("pyfunc") / "model")


def test_the_model_is_slim_pinned_and_without_pickles(built: Path) -> None:
    files = [path.relative_to(built) for path in built.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".bin")]
    requirements = (built / "requirements.txt").read_text(encoding="utf-8").split()
    assert [line.partition("==")[0] for line in requirements] == ["mlflow", "onnxruntime", "tokenizers", "numpy"]
    assert all("==" in line for line in requirements)
    info = mlflow.models.get_model_info(str(built))
    assert info.signature.inputs.input_names() == ["text"]
    assert json.loads((built / "input_example.json").read_text())["data"] == [[pyfunc.EXAMPLE]]


def test_loading_needs_no_installed_nertrail(built: Path, tmp_path: Path) -> None:
    """The model's own copy of the serving code answers."""
    code = ALONE.format(model=str(built), text=TEXT, source=str(Path(nertrail.__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:2] == ["[['PER', 'LOC'], []]", "0"], done.stderr
    assert lines[2].startswith(str(built)) or "/code/nertrail/" in lines[2]
    assert lines[3] == "[]"


def test_an_installed_nertrail_stays_whole_beside_the_copy_in_the_model(built: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(nertrail.__file__).parents[1])}
    command = [sys.executable, "-c", BESIDE.format(model=str(built))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.count("/code/nertrail/") == 2, done.stderr


@pytest.fixture(scope="module")
def loaded(built: Path) -> Iterator[Any]:
    before = list(sys.path)
    yield mlflow.pyfunc.load_model(str(built))
    sys.path[:] = before  # the model's own copy of our code is of no concern to other tests


def ask(loaded: Any, cells: list[Any], params: dict[str, Any]) -> Any:
    """What MLflow's server makes of a request."""
    body = {"dataframe_records": [{"text": cell} for cell in cells], "params": params}
    schema = loaded.metadata.get_input_schema()
    return json.loads(invocations(json.dumps(body), "application/json", loaded, schema).response)["predictions"]


@pytest.mark.parametrize(
    "cells, params, said",
    [
        ([["Anna", "Boris left Rome."], "x"], {}, "column text, row 0 (the first is 0): found list where a text"),
        (["x", {"a": 1}], {}, "column text, row 1 (the first is 0): found dict where a text is wanted"),
        ([["Anna", "Boris"]], {}, "row 0 (the first is 0): found list"),
        (["x", None], {}, "row 1 (the first is 0): found null"),
        ([None], {}, "row 0 (the first is 0): found null"),
        ([5], {}, "row 0 (the first is 0): found int"),
        ([True], {}, "row 0 (the first is 0): found bool"),
        ([TEXT], {"min_score": 50}, "params, min_score: found 50\n  → give a number from 0 to 1"),
        ([TEXT], {"min_score": -0.1}, "params, min_score: found -0.1"),
        ([TEXT], {"min_score": float("nan")}, "params, min_score: found nan"),
    ],
)
def test_what_cannot_be_answered_row_by_row_is_refused(
    loaded: Any, cells: list[Any], params: dict[str, Any], said: str
) -> None:
    with pytest.raises(MlflowException) as caught:
        ask(loaded, cells, params)
    assert said in caught.value.message
    assert (caught.value.error_code, caught.value.get_http_status_code()) == ("INVALID_PARAMETER_VALUE", 400)
    assert "Traceback" not in caught.value.serialize_as_json()


@pytest.mark.parametrize("params", [{}, {"min_score": None, "use_thresholds": None}, {"min_score": 0}])
def test_a_param_that_is_null_is_its_default(loaded: Any, params: dict[str, Any]) -> None:
    answers = ask(loaded, [TEXT, "", TEXT], params)
    assert [[entity["label"] for entity in row["entities"]] for row in answers] == [["PER", "LOC"], [], ["PER", "LOC"]]


@pytest.mark.soak
@pytest.mark.server
def test_mlflow_models_serve_answers_with_entities(built: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(built), "-p", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # mlflow looks for uvicorn there
    with (tmp_path / "log").open("wb") as output:
        server = subprocess.Popen(
            [*command, "--env-manager", "local"], stdout=output, stderr=output, process_group=0, cwd=tmp_path,
            env=os.environ | {"PATH": path},
        )  # fmt: skip
    try:
        body = {"dataframe_split": {"columns": ["text"], "data": [[TEXT], [""]]}, "params": {"min_score": 0.1}}
        url = f"http://127.0.0.1:{port}/invocations"
        answer = _post(url, body, server, tmp_path / "log")
        with pytest.raises(AssertionError, match=r"INVALID_PARAMETER_VALUE.*row 0 .* found null"):
            _post(url, {"dataframe_records": [{"text": None}]}, server, tmp_path / "log")
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    first, second = answer["predictions"]
    assert [(e["start"], e["end"], e["label"], e["text"]) for e in first["entities"]] == [
        (0, 10, "PER", "Anna Baker"),
        (20, 24, "LOC", "Oslo"),
    ]
    assert second == {"entities": []}


def _post(url: str, body: Any, server: subprocess.Popen[bytes], log: Path) -> Any:
    """The answer, as soon as the server gives one."""
    headers = {"Content-Type": "application/json"}
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except ConnectionError:
            time.sleep(0.2)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read()) from error
        except urllib.error.URLError:
            time.sleep(0.2)
    raise RuntimeError(log.read_text())


# --- promotion ------------------------------------------------------------------------------------------------------


def scores(counts: list[list[int]], data: str | None = "v1") -> dict[str, Any]:
    return {"data_version": data, "counts": {"texts": counts}}


@pytest.mark.parametrize(
    "champion, challenger, worse, said",
    [
        (scores(RIGHT), scores(HALF), True, "test F1 0.5000, the champion's 1.0000"),
        (scores(HALF), scores(RIGHT), False, "test F1 1.0000, the champion's 0.5000"),
        (scores(RIGHT), scores([*RIGHT[:-1], [1, 2, 2]]), False, "on the same texts"),  # within the interval
        (scores(RIGHT), scores(HALF, "v2"), False, "scored on other data"),
        (scores(RIGHT), scores(HALF[:-1]), False, "scored on other data"),
        (scores(RIGHT, None), scores(HALF, None), False, "scored on other data"),
        (None, scores(HALF), False, "never scored on test texts"),
        (scores(RIGHT), None, False, "never scored on test texts"),
    ],
)
def test_a_challenger_is_judged(champion: Any, challenger: Any, worse: bool, said: str) -> None:
    found, text = judge(champion, challenger)
    assert (found, said in text) == (worse, True)


def test_a_worse_model_is_refused_unless_forced(store: str, model: Path, tiny_served: Path, tmp_path: Path) -> None:
    log(store, "a", model)
    first = promote("my-experiment", tracking_uri=store)
    assert (first.champion.number, first.before) == ("1", None)
    log(store, "b", scored(tmp_path / "worse", tiny_served, HALF))
    with pytest.raises(PromotionError, match=r"version 2 of my-experiment: test F1 0\.5000, the champion's 1\.0000"):
        promote("my-experiment", tracking_uri=store)
    assert _champion(store) == "1"
    forced = promote("my-experiment", force=True, tracking_uri=store)
    assert forced.champion.number == "2" and forced.before is not None and forced.before.number == "1"
    assert _champion(store) == "2"
    assert promote("my-experiment", "1", tracking_uri=store).champion.number == "1"  # better again
    repeated = promote("my-experiment", "1", tracking_uri=store)
    assert (repeated.champion.number, repeated.comparison) == ("1", "it was before, so nothing is changed")


def _champion(store: str) -> str:
    return str(client(store).get_model_version_by_alias("my-experiment", "champion").version)


def test_a_model_that_did_not_pass_is_refused(store: str, model: Path) -> None:
    log(store, "a", model, gate="not compared")
    with pytest.raises(PromotionError, match=r"it has not passed the gate of its conversion \(gate: not compared\)"):
        promote("my-experiment", "1", tracking_uri=store)
    with pytest.raises(MlflowException):
        client(store).get_model_version_by_alias("my-experiment", "champion")


@pytest.mark.parametrize("name, wanted", [("nothing", "challenger"), ("my-experiment", "9"), ("my-experiment", "no")])
def test_there_may_be_no_such_version(store: str, model: Path, name: str, wanted: str) -> None:
    log(store, "a", model)
    with pytest.raises(ModelError):
        promote(name, wanted, tracking_uri=store)


def test_a_registry_name_takes_neither_slash_nor_colon() -> None:
    assert [registry._model_name(name) for name in ("a/b:c", "/", "plain name")] == ["a-b-c", "model", "plain name"]
