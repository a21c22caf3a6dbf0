"""What is uploaded arrives, whatever its name is and whoever answers in the server's place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from proxy import Proxy

from nertrail.records import Artifact, RunRecord
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_client import short_tries
from nertrail.tracking.profiles import Profile
from nertrail.tracking.protocol import RunStart, Unreachable
from nertrail.tracking.sync import sync
from nertrail.tracking.uploads import server_name
from nertrail.tracking.verify import verify

pytestmark = pytest.mark.server
NAMES = ["a#b.txt", "a?b.txt", "a_b.txt", "50%.txt", "50%25.txt", "what?x=1", "#", "a\tb", "plain ü.txt"]


@pytest.fixture
def proxy(mlflow_server: str) -> Iterator[Proxy]:
    made = Proxy(mlflow_server)
    yield made
    made.refuse()


@pytest.fixture
def uid(tmp_path: Path) -> str:
    return tmp_path.name


def test_names_that_need_no_change_keep_theirs_and_no_two_become_one() -> None:
    assert [server_name(name) for name in ("a/b c.txt", "ü.json", "x/y.tar.gz")] == [
        "a/b c.txt",
        "ü.json",
        "x/y.tar.gz",
    ]
    assert len({server_name(name) for name in NAMES}) == len(NAMES)
    assert server_name("d#/a#.txt").startswith("d_-") and server_name("d#/a#.txt").endswith(".txt")


@pytest.mark.parametrize("where", ["http", "sqlite"])
@pytest.mark.parametrize("rewrites", [True, False])
def test_a_file_of_any_name_arrives(
    where: str,
    rewrites: bool,
    mlflow_server: str,
    store: str,
    tmp_path: Path,
    uid: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = Profile("any", rewrites_artifacts=rewrites)
    monkeypatch.setattr("nertrail.tracking.mlflow_backend.profile_of", lambda _: profile)
    (tmp_path / "odd % dir").mkdir()
    for name in NAMES:
        (tmp_path / "odd % dir" / name).write_text(name)
    files = [Artifact(tmp_path / "odd % dir" / name, name) for name in NAMES]
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart(uid, "r", "uploads", 1))
    journal.log(uid, RunRecord(artifacts=(*files, Artifact(tmp_path / "odd % dir", "odd # dir"))), 2)
    journal.close()
    uri = mlflow_server if where == "http" else store
    assert sync(tmp_path / "run", uri).complete
    [found] = verify(tmp_path / "run", uri)
    assert (found.differences, found.artifacts) == ((), 2 * len(NAMES))


def test_a_login_page_in_place_of_an_upload_is_no_upload(proxy: Proxy, tmp_path: Path, uid: str) -> None:
    (tmp_path / "f.txt").write_text("content")
    backend = MlflowBackend(proxy.url)
    backend.start(RunStart(uid, "r", "uploads", 1))
    record = RunRecord(artifacts=(Artifact(tmp_path / "f.txt", "deep/f.txt"),))
    proxy.fault, proxy.faults, proxy.chance, proxy.only = "login", 1, 1.0, "PUT"
    with short_tries(), pytest.raises(Unreachable, match="the server does not hold what was sent") as caught:
        backend.log(uid, record, 2)
    assert not caught.value.for_all
    backend.log(uid, record, 2)
    run_id = backend.run_id(uid)
    assert [entry.file_size for entry in MlflowClient(proxy.url).list_artifacts(run_id, "deep")] == [7]


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_closed_door_of_the_artifacts_holds_nothing_else_up(
    status: int, proxy: Proxy, tmp_path: Path, uid: str
) -> None:
    (tmp_path / "f.txt").write_text("content")
    backend = MlflowBackend(proxy.url)
    backend.start(RunStart(uid, "r", "uploads", 1))
    proxy.fault, proxy.faults, proxy.chance, proxy.only = f"answer {status}", 1, 1.0, "PUT"
    with short_tries(), pytest.raises(Unreachable) as caught:
        backend.log(uid, RunRecord(artifacts=(Artifact(tmp_path / "f.txt", "f.txt"),)), 2)
    assert not caught.value.for_all


def test_a_folder_is_looked_at_once(proxy: Proxy, tmp_path: Path, uid: str) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("a", "b", "folder", "deep/c", "deep/d"):
        (tmp_path / "folder" / name).write_text(name)
    backend = MlflowBackend(proxy.url)
    backend.start(RunStart(uid, "r", "uploads", 1))
    proxy.requests.clear()
    backend.log(uid, RunRecord(artifacts=(Artifact(tmp_path / "folder", "folder"),)), 2)
    looks = [what for _, what in proxy.requests if what.startswith("GET") and "artifacts?path=" in what]
    assert len(looks) == 2
    assert sum("mlflow-artifacts" not in what for _, what in proxy.requests) == 1  # get_run, for the first upload


def test_a_full_disk_of_ours_says_nothing_of_the_server(
    store: str, tmp_path: Path, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f.txt").write_text("content")
    backend = MlflowBackend(store, overflow=tmp_path / "overflow")
    backend.start(RunStart(uid, "r", "uploads", 1))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no" / "such"))
    with pytest.raises(Unreachable, match="this machine's own disk fails") as caught:
        backend.log(uid, RunRecord(artifacts=(Artifact(tmp_path / "f.txt", "deep/f.txt"),)), 2)
    assert caught.value.for_all
