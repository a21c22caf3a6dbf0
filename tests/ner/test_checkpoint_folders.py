"""A folder that is no checkpoint: what is said of it, and which one is meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nertrail.errors import DataError, ModelError
from nertrail.ner.backbone import resolve
from nertrail.ner.checkpoint import Checkpoint, load_checkpoint
from nertrail.ner.files import find
from nertrail.ner.sources import DataSettings


def test_a_run_dir_in_a_checkpoints_place_names_those_in_it(tmp_path: Path, tiny_checkpoint: Checkpoint) -> None:
    for place in ("sweep-a/trials/0", "training/fit"):
        shutil.copytree(tiny_checkpoint.path, tmp_path / "checkpoints" / place / "best")
    with pytest.raises(ModelError, match=r"nertrail\.json: no such file") as caught:
        load_checkpoint(tmp_path)
    first, second = str(caught.value.remedy).split(", ")
    assert first == f"did you mean {tmp_path}/checkpoints/training/fit/best"
    assert second == f"{tmp_path}/checkpoints/sweep-a/trials/0/best?"


def test_a_converted_model_is_no_checkpoint(tiny_served: Path) -> None:
    with pytest.raises(ModelError, match="is a converted model; a PyTorch checkpoint is needed"):
        load_checkpoint(tiny_served)


@pytest.mark.parametrize("source", ["./nomodel", "/nomodel", "~/nomodel", "models/own/nomodel"])
def test_a_backbones_folder_that_is_missing_is_no_id_of_the_hub(source: str) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        resolve(source)
    assert resolve("owner/name") == "owner/name"


@pytest.mark.parametrize("suffix", [".jsonl", ".conll"])
def test_a_missing_split_is_to_be_called_as_the_others_are(tmp_path: Path, suffix: str) -> None:
    for stem in ("train", "dev"):
        (tmp_path / f"{stem}{suffix}").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="no file of the test split") as caught:
        find(DataSettings(tmp_path))
    assert f"call it test{suffix}" in str(caught.value.remedy)
