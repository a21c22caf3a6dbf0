"""Delivery to real stores: exactly once, within limits, and never all lost for one bad value."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_store import _publish
from nertrail.tracking.profiles import Profile
from nertrail.tracking.protocol import PARENT_TAG, UID_TAG, Point, RunStart, Unreachable
from nertrail.tracking.uploader import status, sync
from tracking_fixtures import free_port
from tracking_views import files, of_mlflow, runs_on

# A process that is killed before a statement of its own that makes the tables of a store.
KILLED_AT_STATEMENT = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from nertrail.tracking.mlflow_backend import MlflowBackend
left = int(sys.argv[2])
@event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
MlflowBackend(sys.argv[1]).run_id("x")
"""

TINY = Profile(
    "tiny", params=2, metrics=4, tags=10, param_value=5, tag_value=9, metric_rows=3, param_rows=2, tag_rows=2
)

# An uploader that is killed after the server has made the run and before it is noted that it did.
KILLED_AFTER_CREATE = """
import os, signal, sys
from nertrail.tracking import mlflow_backend
from nertrail.tracking.uploader import sync
create = mlflow_backend.MlflowBackend._create
def create_and_die(*args):
    create(*args)
    os.kill(os.getpid(), signal.SIGKILL)
mlflow_backend.MlflowBackend._create = create_and_die
sync(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def journal(tmp_path: Path) -> JournalBackend:
    return JournalBackend(tmp_path / "run")


def write(journal: JournalBackend) -> tuple[str, str]:
    """A parent that names its child, and the child."""
    parent, child = uuid.uuid4().hex, uuid.uuid4().hex
    journal.start(RunStart(parent, "p", "e", 1, {}))
    journal.start(RunStart(child, "c", "e", 2, {PARENT_TAG: RunRef(parent)}))
    journal.log(child, RunRecord({"a": 1}, {"m": 1.0}, {"t": "x"}), 3)
    journal.log_metrics(child, [Point("loss", 0.5, step, 4 + step) for step in range(5)])
    journal.end(child, "FINISHED", 20)
    journal.log(parent, RunRecord(tags={"best_trial_run_id": RunRef(child)}), 21)
    journal.end(parent, "FINISHED", 22)
    return parent, child


def forget(run_dir: Path, uri: str) -> None:
    """As if nothing was ever acknowledged."""
    (state_folder(run_dir, uri) / "state.json").unlink(missing_ok=True)


def check_once(uri: str, parent: str, child: str) -> None:
    [above], [below] = runs_on(uri, parent), runs_on(uri, child)
    assert below.data.tags[PARENT_TAG] == above.info.run_id
    assert above.data.tags["best_trial_run_id"] == below.info.run_id
    seen = of_mlflow(MlflowBackend(uri), child)
    assert len(seen.history) == 6 and seen.params == {"a": "1"}
    assert (seen.status, seen.start_ms, seen.end_ms) == ("FINISHED", 2, 20)


@pytest.mark.parametrize("kind", ["store", pytest.param("mlflow_server", marks=pytest.mark.server)])
def test_a_journal_delivered_twice_arrives_once(
    kind: str, request: pytest.FixtureRequest, journal: JournalBackend, tmp_path: Path
) -> None:
    uri = request.getfixturevalue(kind)
    runs = write(journal)
    for _ in range(2):
        assert sync(tmp_path / "run", uri).complete
        check_once(uri, *runs)
        forget(tmp_path / "run", uri)


def test_an_uploader_killed_between_create_and_note_makes_no_second_run(
    journal: JournalBackend, tmp_path: Path, store: str
) -> None:
    runs = write(journal)
    for _ in range(2):  # the parent, then the child
        command = [sys.executable, "-c", KILLED_AFTER_CREATE, str(tmp_path / "run"), store]
        assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert sync(tmp_path / "run", store).complete
    check_once(store, *runs)


def test_without_the_search_there_would_be_two(
    journal: JournalBackend, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the tests above: they would see a duplicate."""
    parent, _ = write(journal)
    monkeypatch.setattr(MlflowBackend, "_find", lambda *args: None)
    for _ in range(2):
        sync(tmp_path / "run", store)
        forget(tmp_path / "run", store)
    assert len(runs_on(store, parent)) == 2
    monkeypatch.undo()
    sync(tmp_path / "run", store)
    younger = [run.data.tags["duplicate_of"] for run in runs_on(store, parent) if "duplicate_of" in run.data.tags]
    assert len(younger) == 1 and younger[0] in {run.info.run_id for run in runs_on(store, parent)}


def test_a_run_that_was_deleted_on_the_server_is_not_made_again(
    journal: JournalBackend, tmp_path: Path, store: str
) -> None:
    parent, _ = write(journal)
    sync(tmp_path / "run", store)
    backend = MlflowBackend(store)
    backend._client().delete_run(backend.run_id(parent))
    forget(tmp_path / "run", store)
    receipt = sync(tmp_path / "run", store)
    assert len(runs_on(store, parent)) == 1 and receipt.dropped > 0 and "rejected.jsonl" in receipt.why


def test_a_bad_name_or_value_takes_nothing_with_it(journal: JournalBackend, tmp_path: Path, store: str) -> None:
    uid = uuid.uuid4().hex
    journal.start(RunStart(uid, "r", "e", 1))
    names = ["lat (ms)", "p@95", "x%", "a//b", "../x", "", ".", "good", "B-PER_f1", "k" * 300]
    journal.log(uid, RunRecord({name: "v" * 7000 for name in names}, dict.fromkeys(names, 1.0), {"tag?": "x"}), 2)
    assert sync(tmp_path / "run", store).complete
    seen = of_mlflow(MlflowBackend(store), uid)
    assert len(seen.params) == len(seen.history) == len(names)
    assert {"good", "B-PER_f1"} <= set(seen.params)
    overflow = json.loads(seen.artifacts["overflow.json"])
    assert sorted(overflow["renamed"]["metrics"].values()) == sorted(set(names) - {"good", "B-PER_f1"})
    assert overflow["params"]["good"] == "v" * 7000


def test_what_a_server_does_not_take_becomes_a_file_and_a_count(store: str, tmp_path: Path) -> None:
    uid = uuid.uuid4().hex
    for _ in range(2):  # the second backend knows nothing but what lies on the server and in the folder
        backend = MlflowBackend(store, profile=TINY, overflow=tmp_path / "overflow")
        backend.start(RunStart(uid, "r", "e", 1, {"source": "123456789abc"}))
        backend.log(uid, RunRecord(params={"a": "123456789", "b": 2, "c": 3}), 2)
        metrics = {"e2e_latency": 9.0, "test_macro-f1": 8.0, "macro-f1": 1.0, "loss": 2.0, "x": 3.0, "y": 4.0}
        backend.log(uid, RunRecord(metrics=metrics), 3)
    seen = of_mlflow(backend, uid)
    assert seen.params == {"a": "12345", "b": "2"}
    assert {key for key, *_ in seen.history} == {"macro-f1", "loss", "x", "y"}
    overflow = json.loads(seen.artifacts["overflow.json"])
    assert set(overflow["metrics"]) == {"test_macro-f1", "e2e_latency"}
    assert overflow["params"] == {"a": "123456789", "c": "3"}
    assert (seen.tags["source"], seen.tags["nertrail.overflow"]) == ("123456789", "5")


def test_a_run_that_is_not_ours_is_never_touched(journal: JournalBackend, tmp_path: Path, store: str) -> None:
    """Not one of the same name in the same experiment, and not one that another program's journal left open."""
    client = MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("e")
    foreign = [
        client.create_run(experiment, start_time=1, run_name="p", tags=tags).info.run_id
        for tags in ({}, {UID_TAG: "of-another-journal"})
    ]
    before = [client.get_run(run_id).to_dictionary() for run_id in foreign]
    write(journal)
    journal.start(RunStart(uuid.uuid4().hex, "left open", "e", 3))
    journal.close()
    assert sync(tmp_path / "run", store).complete
    assert {run.info.status for run in client.search_runs([experiment], "status = 'KILLED'")} == {"KILLED"}
    assert [client.get_run(run_id).to_dictionary() for run_id in foreign] == before


def test_a_param_that_changed_on_resume_becomes_a_tag(journal: JournalBackend, tmp_path: Path, store: str) -> None:
    uid = uuid.uuid4().hex
    journal.start(RunStart(uid, "r", "e", 1))
    journal.log(uid, RunRecord(params={"lr": 1}), 2)
    journal.log(uid, RunRecord(params={"lr": 2, "b": 1}), 3)
    assert sync(tmp_path / "run", store).complete
    seen = of_mlflow(MlflowBackend(store), uid)
    assert seen.params == {"lr": "1", "b": "1"} and seen.tags["nertrail.param_drift.lr"] == "2"


def test_what_the_server_refuses_is_kept_and_the_batch_arrives(
    journal: JournalBackend, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = uuid.uuid4().hex
    journal.start(RunStart(uid, "r", "e", 1))
    journal.log(uid, RunRecord(metrics={f"m{n}": 1.0 for n in range(20)} | {"bad": 1.0}), 2)
    backend = MlflowBackend(store)
    log_batch = backend._client().log_batch

    def picky(run_id: str, metrics: Any = (), **others: Any) -> None:
        from mlflow.exceptions import MlflowException

        if any(metric.key == "bad" for metric in metrics):
            raise MlflowException("bad is bad", error_code=1000)  # INVALID_PARAMETER_VALUE
        log_batch(run_id, metrics=metrics, **others)

    monkeypatch.setattr(backend._client(), "log_batch", picky)
    receipt = sync(tmp_path / "run", store, backend=backend)
    assert len(of_mlflow(backend, uid).history) == 20
    assert receipt.dropped == 1
    assert "bad is bad" in (state_folder(tmp_path / "run", store) / "rejected.jsonl").read_text()


def failing_once(backend: MlflowBackend, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """The client's verb meets a connection that is reset, once."""
    real, failures = getattr(backend._client(), verb), iter([ConnectionResetError("gone")])

    def call(*args: Any, **kwargs: Any) -> Any:
        for error in failures:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(backend._client(), verb, call)


def test_what_did_not_arrive_is_not_taken_for_there(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uid, backend = uuid.uuid4().hex, MlflowBackend(store)
    backend.start(RunStart(uid, "r", "e", 1))
    failing_once(backend, monkeypatch, "log_batch")
    record = RunRecord(params={"lr": 1}, tags={"t": "x"}, metrics={"m": 1.0})
    with pytest.raises(Unreachable):
        backend.log(uid, record, 2)
    backend.log(uid, record, 2)
    seen = of_mlflow(backend, uid)
    assert (seen.params, seen.tags["t"], len(seen.history)) == ({"lr": "1"}, "x", 1)


def test_an_overflow_that_was_not_uploaded_is_uploaded_again(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, backend = uuid.uuid4().hex, MlflowBackend(store, profile=TINY, overflow=tmp_path / "overflow")
    backend.start(RunStart(uid, "r", "e", 1))
    failing_once(backend, monkeypatch, "log_artifact")
    with pytest.raises(Unreachable):
        backend.log(uid, RunRecord(params={"a": "123456789"}), 2)
    again = MlflowBackend(store, profile=TINY, overflow=tmp_path / "overflow")
    again.log(uid, RunRecord(params={"a": "123456789"}), 2)
    seen = of_mlflow(again, uid)
    assert json.loads(seen.artifacts["overflow.json"])["params"] == {"a": "123456789"}
    assert seen.tags["nertrail.overflow"] == "1"


def test_characters_that_a_database_cannot_hold_become_marks(
    journal: JournalBackend, tmp_path: Path, store: str
) -> None:
    uid = uuid.uuid4().hex
    journal.start(RunStart(uid, "nul \x00 name", "e", 1, {"half": "\ud800"}))
    journal.log(uid, RunRecord({"p": "a\x00b"}, tags={"t": "c\udfffd"}), 2)
    assert sync(tmp_path / "run", store).complete
    seen = of_mlflow(MlflowBackend(store), uid)
    assert (seen.name, seen.params["p"], seen.tags["half"], seen.tags["t"]) == (
        "nul \N{REPLACEMENT CHARACTER} name",
        "a\N{REPLACEMENT CHARACTER}b",
        "\N{REPLACEMENT CHARACTER}",
        "c\N{REPLACEMENT CHARACTER}d",
    )


def test_a_server_that_refuses_a_second_upload_is_spared_it(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ck" / "sub").mkdir(parents=True)
    (tmp_path / "ck" / "sub" / "a.json").write_text("{}")
    backend = MlflowBackend(store, profile=Profile("azure-like", rewrites_artifacts=False))
    backend.start(RunStart("a" * 32, "r", "e", 1))
    uploads: list[str] = []
    upload = backend._client().log_artifact
    monkeypatch.setattr(
        backend._client(), "log_artifact", lambda run, path, above: (uploads.append(path), upload(run, path, above))
    )
    for _ in range(2):
        backend.log("a" * 32, RunRecord(artifacts=(Artifact(tmp_path / "ck", "checkpoint"),)), 2)
    assert of_mlflow(backend, "a" * 32).artifacts == {"checkpoint/sub/a.json": b"{}"}
    assert len(uploads) == 1


def test_two_fresh_stores_made_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    script = "import sys; from nertrail.tracking.mlflow_backend import MlflowBackend as M; M(sys.argv[1]).run_id('x')"
    processes = [subprocess.Popen([sys.executable, "-c", script, uri], stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors


def test_a_store_is_made_whole_after_kills_within_its_migrations(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for statement in (1089, 500):  # 1089: a column is added, and its migration not yet told to be done
        killed = subprocess.run([sys.executable, "-c", KILLED_AT_STATEMENT, uri, str(statement)], capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "mlflow.db").exists()
    backend = MlflowBackend(uri)
    backend.start(RunStart("u" * 32, "r", "e", 1))
    assert backend.run_id("u" * 32)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_store_that_another_program_makes_meanwhile_is_kept(tmp_path: Path) -> None:
    draft, path = tmp_path / "draft", tmp_path / "mlflow.db"
    draft.write_text("ours")
    path.write_text("theirs")
    _publish(draft, path)
    assert path.read_text() == "theirs"


def test_a_store_on_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "draft").write_text("ours")
    _publish(tmp_path / "draft", tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_text() == "ours"


def test_artifacts_lie_beside_the_store_wherever_it_is_made_from(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    backend = MlflowBackend(store)
    backend.start(RunStart("u" * 32, "r", "e", 1))
    run = backend._client().get_run(backend.run_id("u" * 32))
    assert run.info.artifact_uri.startswith(f"file://{tmp_path}/store/mlruns/")
    assert files(backend._client(), run.info.run_id) == {}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_server_that_is_not_there_is_told_from_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unreachable, match="refused"):
        MlflowBackend(f"http://127.0.0.1:{free_port()}").run_id("x")
    with pytest.raises(Unreachable, match="does not exist"):
        MlflowBackend("sqlite:////no/such/folder/mlflow.db").run_id("x")


def test_without_mlflow_there_is_a_receipt(
    journal: JournalBackend, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(journal)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    receipt = sync(tmp_path / "run", store)
    assert receipt.pending == 7 and "mlflow cannot be used" in receipt.why and "nertrail sync" in receipt.command


def test_sync_leaves_the_environment_as_it_was(journal: JournalBackend, tmp_path: Path, store: str) -> None:
    before = dict(os.environ)
    sync(tmp_path / "run", store)
    assert dict(os.environ) == before


def test_status_reads_files_only(journal: JournalBackend, tmp_path: Path, store: str) -> None:
    parent, child = write(journal)
    assert [row.pending for row in status(tmp_path / "run", store)[store]] == [3, 4]
    sync(tmp_path / "run", store)
    rows = status(tmp_path / "run")[store]
    assert [(row.uid, row.status, row.pending) for row in rows] == [(parent, "FINISHED", 0), (child, "FINISHED", 0)]
    assert all(row.run_id for row in rows)
