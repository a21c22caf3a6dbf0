"""Which server, and which file: what a tracking URI says."""

from __future__ import annotations

from pathlib import Path

import pytest

from nertrail.errors import ConfigError
from nertrail.tracking import destination


def test_the_default_is_mlflows_own_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert destination.sqlite_path(destination.resolve(None)) == tmp_path / "mlflow.db"


@pytest.mark.parametrize("name", ["plain", "a b", "100%41", "what?x=1", "#1", "ödd"])
def test_a_folder_of_any_name_holds_its_own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = destination.resolve(None)
    assert not set("?#") & set(uri)
    assert destination.sqlite_path(uri) == tmp_path / name / "mlflow.db"
    assert destination.resolve(uri) == uri


def test_a_query_stays(tmp_path: Path) -> None:
    assert destination.resolve(f"sqlite:///{tmp_path}/x.db?timeout=3").endswith("x.db?timeout=3")


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///x.db", "sqlite:///{}/x.db"),
        ("sqlite+pysqlite:///x.db?timeout=3", "sqlite+pysqlite:///{}/x.db?timeout=3"),
        ("./mlruns", "{}/mlruns"),
        ("mlruns", "{}/mlruns"),
        ("file:mlruns", "file://{}/mlruns"),
        ("file:./a b", "file://{}/a%20b"),
    ],
)
def test_a_relative_place_is_looked_for_where_the_stage_runs(
    uri: str, absolute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert destination.resolve(uri) == absolute.format(tmp_path)
    assert destination.resolve(absolute.format(tmp_path)) == absolute.format(tmp_path)


@pytest.mark.parametrize("uri", ["http://h/x", "databricks", "databricks-uc", "file:///tmp/x", "postgresql://h/d"])
def test_any_other_place_stays_as_it_was_given(uri: str) -> None:
    assert destination.resolve(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000", "https://me:pw@host/x", "sqlite:///a.db", "postgresql+psycopg2://me@host/db", "runs/here",
        "file:///tmp/x", "databricks",
    ],
)  # fmt: skip
def test_what_mlflow_may_know_passes(uri: str) -> None:
    destination.check(uri, "--to")


@pytest.mark.parametrize(
    ("uri", "found"),
    [("htp://x", "has no scheme that MLflow knows"), ("http://[", "names no host"), ("http://", "names no host")],
)
def test_what_nobody_knows_is_told(uri: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        destination.check(uri, "MLFLOW_TRACKING_URI")
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


def test_no_password_in_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        destination.check("htp://me:secretpw@host", "--to")
    assert "secretpw" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://u:secret/pw@127.0.0.1:9/db",
        "postgresql://127.0.0.1:9/db?user=u&password=secretpw",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dsecretpw",
    ],
)
def test_no_password_is_noted_wherever_it_stands(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination.name_destination(tmp_path, uri)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "secret" not in destination.named_destinations(tmp_path)[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert destination.named_destinations(tmp_path) == [uri]
