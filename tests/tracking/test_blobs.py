"""Artifacts are found again, and are what they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nertrail.records import Artifact
from nertrail.tracking import blobs
from nertrail.tracking.blobs import stage, store
from nertrail.tracking.protocol import Rejected


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    checkpoint = tmp_path / "run" / "checkpoints" / "best"
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "deep" / "labels.json").write_text("{}")
    return tmp_path / "run"


def describe(run_dir: Path, path: Path) -> dict[str, object]:
    return store(run_dir / "journal" / "blobs", Artifact(path, "checkpoint", reference=True))


def contents(run_dir: Path, described: dict[str, object], folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    root = stage(run_dir / "journal" / "blobs", described, folder).path
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, and files that are big enough not to be copied."""
    monkeypatch.setattr(blobs, "_LINK_BYTES", 0)
    monkeypatch.setattr(blobs, "_linked", lambda *paths: False)


@pytest.mark.usefixtures("no_links")
def test_a_run_dir_may_move_before_it_is_delivered(run_dir: Path, tmp_path: Path) -> None:
    described = describe(run_dir, run_dir / "checkpoints" / "best")
    assert list((run_dir / "journal" / "blobs").iterdir()) == []
    shutil.copytree(run_dir, tmp_path / "elsewhere" / "moved")
    shutil.rmtree(run_dir)
    found = contents(tmp_path / "elsewhere" / "moved", described, tmp_path / "staged")
    assert found == {"model.safetensors": b"weights", "deep/labels.json": b"{}"}


@pytest.mark.usefixtures("no_links")
def test_a_file_outside_the_run_dir_is_referenced_where_it_is(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "big.bin").write_bytes(b"big")
    described = describe(run_dir, tmp_path / "other")
    run_dir.rename(tmp_path / "moved")
    assert contents(tmp_path / "moved", described, tmp_path / "staged") == {"big.bin": b"big"}


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize(("change", "words"), [("other!!", "is not what it was"), (None, "is gone")])
def test_a_referenced_file_that_changed_is_refused(
    run_dir: Path, tmp_path: Path, change: str | None, words: str
) -> None:
    described = describe(run_dir, run_dir / "checkpoints" / "best")
    path = run_dir / "checkpoints" / "best" / "model.safetensors"
    path.write_text(change) if change else path.unlink()
    with pytest.raises(Rejected, match=words):
        contents(run_dir, described, tmp_path / "staged")
