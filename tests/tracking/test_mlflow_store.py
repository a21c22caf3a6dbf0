"""Databases that MLflow would wait minutes for, and stores behind URIs that are seldom written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nertrail.records import RunRecord
from nertrail.tracking.carrier import Uploader
from nertrail.tracking.destination import resolve, state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.protocol import RunStart, Unreachable
from nertrail.tracking.state import load_health
from nertrail.tracking.sync import sync
from tracking_fixtures import free_port
from tracking_views import runs_on


def test_a_database_that_is_away_is_known_at_once(tmp_path: Path) -> None:
    uri = f"postgresql+psycopg://u:secretpw@127.0.0.1:{free_port()}/db"
    JournalBackend(tmp_path).start(RunStart("a", "a", "e", 1))
    folder = state_folder(tmp_path, uri)
    folder.mkdir(parents=True)
    uploader = Uploader(tmp_path, folder, MlflowBackend(uri))
    began = time.monotonic()
    assert not uploader.step()
    assert time.monotonic() - began < 20
    health = load_health(folder)
    assert (health.state, health.outage) == ("waiting", 1)
    assert "the database cannot be reached" in health.error and "secretpw" not in health.error


@pytest.mark.parametrize(("uri", "driver"), [("postgresql+pg8000://h/d", "pg8000"), ("mysql://h/d", "MySQLdb")])
def test_a_driver_that_is_not_installed_is_named(uri: str, driver: str) -> None:
    with pytest.raises(Unreachable, match=driver) as caught:
        MlflowBackend(uri).run_id("a")
    assert caught.value.for_all and "not installed" in str(caught.value)


def test_a_relative_store_of_a_driver_lies_where_the_stage_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart("a", "a", "e", 1))
    journal.log("a", RunRecord({"p": 1}), 2)
    journal.close()
    uri = resolve("sqlite+pysqlite:///other.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sync(tmp_path / "run", uri).complete
    assert len(runs_on(f"sqlite:///{tmp_path}/other.db", "a")) == 1
