"""What is fetched from a real store: once, whole, from the right place, into a folder that is meant for it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient, artifacts

from nertrail import Predictor
from nertrail.errors import ModelError
from nertrail.tracking import mlflow_download
from nertrail.tracking.mlflow_download import cache_folder, fetch


def logged(store: str, folder: Path, path: str | None = None, *, ended: bool = True) -> str:
    """The id of a run with the folder's files; they are version 1 of the model `ner`, too."""
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    place = Path(store.removeprefix("sqlite:///")).parent / "files"
    found = client.get_experiment_by_name("e")
    experiment = found.experiment_id if found else client.create_experiment("e", place.as_uri())
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(folder), path)
    if ended:
        client.set_terminated(run.info.run_id)
    client.create_registered_model(f"ner-{run.info.run_id}")
    client.create_model_version(f"ner-{run.info.run_id}", f"{run.info.artifact_uri}/{path or ''}", run.info.run_id)
    return str(run.info.run_id)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NERTRAIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the server so far."""
    asked, real = list[str](), artifacts.download_artifacts

    def noting(**what: str) -> str:
        asked.append(what.get("run_id") or what["artifact_uri"])
        return str(real(**what))

    monkeypatch.setattr(artifacts, "download_artifacts", noting)
    return asked


@pytest.mark.parametrize("source", ["runs:/{run}", "models:/ner-{run}/1"])
def test_a_model_is_fetched_once_and_nothing_lies_elsewhere(
    source: str, store: str, tiny_served: Path, cache: Path, downloads: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    source = source.format(run=logged(store, tiny_served))
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    for _ in range(2):
        with Predictor.load(source, tracking_uri=store, threads=1) as predictor:
            assert predictor.folder.parent == cache
            assert len(predictor.predict(["Anna Baker lives in Oslo."])[0]) == 2
    assert len(downloads) == 1
    assert list((tmp_path / "temp").iterdir()) == []
    assert [path.name.startswith(".") for path in cache.iterdir()] == [False]


def test_a_run_that_goes_on_is_fetched_anew(
    store: str, tiny_served: Path, tmp_path: Path, downloads: list[str]
) -> None:
    run_id = logged(store, tiny_served, ended=False)
    first = fetch(f"runs:/{run_id}", tmp_path, store).path
    (tmp_path / "more.txt").write_text("later")
    MlflowClient(tracking_uri=store).log_artifact(run_id, str(tmp_path / "more.txt"))
    second = fetch(f"runs:/{run_id}", tmp_path, store).path
    assert (first, len(downloads), (second / "more.txt").is_file()) == (second, 2, True)


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "going on"])
def test_what_came_to_a_run_since_it_was_fetched_is_not_missed(
    ended: bool, store: str, tiny_served: Path, tmp_path: Path, downloads: list[str]
) -> None:
    """It went on then, or half of its files were set aside and delivered later."""
    run_id, client = logged(store, tiny_served, ended=ended), MlflowClient(tracking_uri=store)
    fetch(f"runs:/{run_id}", tmp_path, store)
    (tmp_path / "more.txt").write_text("later")
    client.log_artifact(run_id, str(tmp_path / "more.txt"), "more")
    client.set_terminated(run_id, end_time=client.get_run(run_id).info.end_time)
    found = [fetch(f"runs:/{run_id}", tmp_path, store).path for _ in range(2)]
    assert (found[0] / "more" / "more.txt").is_file()
    assert (found[0], len(downloads)) == (found[1], 2)


def test_paths_that_differ_in_a_slash_are_two_models(store: str, tiny_served: Path, tmp_path: Path) -> None:
    for name, text in (("a/b", "slash"), ("a-b", "dash")):
        shutil.copytree(tiny_served, tmp_path / "run" / name)
        (tmp_path / "run" / name / "which").write_text(text)
    run_id = logged(store, tmp_path / "run")
    found = [fetch(f"runs:/{run_id}/{path}", tmp_path / "here", store).path for path in ("a/b", "a-b")]
    assert [(path / "which").read_text() for path in found] == ["slash", "dash"]


def test_a_store_made_again_has_another_model_of_the_same_name(store: str, tiny_served: Path, tmp_path: Path) -> None:
    run_id = logged(store, tiny_served)
    client = MlflowClient(tracking_uri=store, registry_uri=store)
    first = fetch(f"models:/ner-{run_id}/1", tmp_path, store).path
    client.delete_registered_model(f"ner-{run_id}")
    client.create_registered_model(f"ner-{run_id}")
    client.create_model_version(f"ner-{run_id}", client.get_run(run_id).info.artifact_uri, run_id)
    assert fetch(f"models:/ner-{run_id}/1", tmp_path, store).path != first


def test_what_another_process_put_there_meanwhile_stays(
    store: str, tiny_served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, real = logged(store, tiny_served), mlflow_download._put

    def slow(root: Path, target: Path, *, keep: bool) -> None:
        shutil.copytree(tiny_served, target)
        (target / "first").touch()
        real(root, target, keep=keep)

    monkeypatch.setattr(mlflow_download, "_put", slow)
    assert (fetch(f"runs:/{run_id}", tmp_path / "here", store).path / "first").exists()
    assert [path.name.startswith(run_id) for path in (tmp_path / "here").iterdir()] == [True]


def test_a_model_that_lies_in_a_run_twice_is_its_upper_one(store: str, tiny_served: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_served, tmp_path / "run")
    shutil.copytree(tiny_served, tmp_path / "run" / "model" / "artifacts" / "model")
    found = fetch(f"runs:/{logged(store, tmp_path / 'run')}", tmp_path / "here", store)
    assert (found.path / "model" / "artifacts").is_dir()


def test_several_models_or_none_are_told(store: str, tiny_served: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(tiny_served, tmp_path / "run" / name)
    with pytest.raises(ModelError, match="holds 2 models of nertrail"):
        fetch(f"runs:/{logged(store, tmp_path / 'run')}", tmp_path / "here", store)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").touch()
    run_id = logged(store, tmp_path / "empty")
    with pytest.raises(ModelError, match="holds 0 models of nertrail\n  → name a conversion's run"):
        fetch(f"runs:/{run_id}", tmp_path / "here", store)
    assert list((tmp_path / "here").iterdir()) == []
    with pytest.raises(ModelError, match=r"the run has no artifact checkpoint\s+→ name a training's run"):
        fetch(f"runs:/{run_id}", tmp_path / "here", store, artifact="checkpoint")


def test_a_damaged_copy_is_named_and_another_is_fetched_once_it_is_gone(
    store: str, tiny_served: Path, tmp_path: Path, cache: Path
) -> None:
    source = f"runs:/{logged(store, tiny_served)}"
    Predictor.load(source, tracking_uri=store).close()
    (copy,) = cache.iterdir()
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=f"if this copy is damaged, remove {copy}: it is fetched anew then"):
        Predictor.load(source, tracking_uri=store)
    shutil.rmtree(copy)
    Predictor.load(source, tracking_uri=store).close()


def test_a_cache_that_cannot_be_written_is_named(
    store: str, tiny_served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NERTRAIL_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="file/models: cannot be written") as caught:
        Predictor.load(f"runs:/{logged(store, tiny_served)}", tracking_uri=store)
    assert "NERTRAIL_CACHE" in str(caught.value)


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"NERTRAIL_CACHE": "/own", "XDG_CACHE_HOME": "/shared"}, "/own/models"),
        ({"XDG_CACHE_HOME": "/shared"}, "/shared/nertrail/models"),
        ({"HOME": "/home/ada"}, "/home/ada/.cache/nertrail/models"),
    ],
)
def test_where_models_are_kept(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NERTRAIL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
