"""Digests of a conversion's files: what they tell apart, and that they stay true while a folder grows."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import onnx as onnx_format
import pytest

from nertrail.errors import ModelError
from nertrail.ner.checkpoint import Checkpoint, read_digests, read_manifest, write_settings
from nertrail.ner.onnx import export_fp32, quantize_int8
from nertrail.ner.onnx_files import draft_of
from nertrail.ner.predictor import OnnxRecognizer
from nertrail.ner.session import fingerprint

SIZE = 5 << 20


@pytest.fixture(scope="module")
def fp32(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_fp32(tiny_checkpoint, tmp_path_factory.mktemp("fp32") / "onnx_fp32")


def changed(content: bytes, at: int) -> bytes:
    return content[:at] + b"other" + content[at + 5 :]


@pytest.mark.parametrize("name, size", [("m.onnx", SIZE), ("m.onnx", 9_000), ("tokenizer.json", SIZE)])
@pytest.mark.parametrize("part", [0.0, 1.0])
def test_another_content_is_another_fingerprint(tmp_path: Path, name: str, size: int, part: float) -> None:
    content, seen = os.urandom(size), set[str]()
    for number, found in enumerate((content, content, changed(content, int(part * (size - 5))), content + b"x")):
        (tmp_path / f"{number}{name}").write_bytes(found)
        seen.add(fingerprint(tmp_path / f"{number}{name}"))
    assert len(seen) == 3


def test_a_text_is_read_whole(tmp_path: Path) -> None:
    content, path = bytes(SIZE), tmp_path / "tokenizer.json"
    seen = set()
    for at in range(0, SIZE - 5, SIZE // 7):
        path.write_bytes(changed(content, at))
        seen.add(fingerprint(path))
    assert len(seen) == 7 + 1


def test_a_model_is_sealed_with_its_external_data(tiny_served: Path, tmp_path: Path) -> None:
    with draft_of(tmp_path / "out", "model_int8.onnx", tiny_served) as draft:
        onnx_format.save_model(
            onnx_format.load(str(tiny_served / "model_int8.onnx")),
            str(draft / "model_int8.onnx"),
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
    assert set(read_digests(tmp_path / "out")) == {"model_int8.onnx", "weights.bin", "tokenizer.json"}
    OnnxRecognizer(tmp_path / "out", threads=1).close()
    weights = tmp_path / "out" / "weights.bin"
    weights.write_bytes(changed(weights.read_bytes(), 100))
    with pytest.raises(ModelError, match=r"weights\.bin: is not the file that nertrail\.json beside it"):
        OnnxRecognizer(tmp_path / "out", threads=1)


def test_a_second_model_in_the_folder_leaves_the_first_sealed(fp32: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(fp32.parent, tmp_path / "both"))
    before = read_digests(folder)
    quantize_int8(folder / fp32.name, folder)
    assert set(before) == {"model_fp32.onnx", "tokenizer.json"}
    assert read_digests(folder) == {**before, "model_int8.onnx": fingerprint(folder / "model_int8.onnx")}
    (folder / fp32.name).write_bytes(b"x")
    OnnxRecognizer(folder, "model_int8.onnx", threads=1)  # a model that is not used is not read


def test_a_folder_is_sealed_anew_when_its_model_is(fp32: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for content in (b"one", b"two"):
        with draft_of(folder, "model_int8.onnx", fp32.parent) as draft:
            (draft / "model_int8.onnx").write_bytes(content)
        assert read_digests(folder)["model_int8.onnx"] == fingerprint(folder / "model_int8.onnx")
    assert set(read_digests(folder)) == {"model_int8.onnx", "tokenizer.json"}


def test_settings_are_written_again_without_breaking_the_seal(tiny_served: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_served, tmp_path / "model"))
    write_settings(replace(read_manifest(folder), thresholds={"PER": 0.25}))
    assert read_manifest(folder).thresholds == {"PER": 0.25}
    assert read_digests(folder) == read_digests(tiny_served)


def test_a_checkpoint_has_none(tiny_checkpoint: Checkpoint) -> None:
    assert "digests" not in json.loads((tiny_checkpoint.path / "nertrail.json").read_text(encoding="utf-8"))
