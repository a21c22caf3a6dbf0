from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from nertrail.errors import ModelError
from nertrail.ner.checkpoint import MANIFEST, Checkpoint
from nertrail.ner.labels import LabelSet
from nertrail.ner.model import Backbone, load_model, load_tokenizer, model_of, quiet, save_checkpoint
from nertrail.ner.predictor import OnnxRecognizer, Recognizer, TorchRecognizer, batches, entities, run
from nertrail.ner.trainer import FitSettings, fit
from nertrail.ner.windows import WindowSettings, encode

LABELS = LabelSet(tiny.TYPES)
TEXTS = ["Anna Baker lives in Oslo.", "", "it was a long day.", "  Hugo\u00a0left Rome,\nand Paris  Bank was glad. "]


@pytest.fixture(scope="module")
def checkpoint(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    backbone = Backbone("tiny", str(tiny_backbone))
    tokenizer, windows = load_tokenizer(backbone), WindowSettings(24, 8)
    train, validation = (encode(tiny.documents(n, n), tokenizer, LABELS, windows) for n in (60, 5))
    settings = FitSettings(learning_rate=8e-3, epochs=4, precision="fp32")
    return fit(backbone, LABELS, train, validation, tokenizer, settings, tmp_path_factory.mktemp("fit")).checkpoint


@pytest.fixture(scope="module")
def onnx_folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plainest export there is; nertrail's own has its own tests."""
    folder = tmp_path_factory.mktemp("onnx")
    for name in ("nertrail.json", "config.json", "tokenizer.json"):
        (folder / name).write_bytes((checkpoint.path / name).read_bytes())
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch", 1: "pieces"} for name in [*names, "logits"]}
    model = model_of(checkpoint, "eager")
    model.config.return_dict = False
    example = (torch.ones(2, 9, dtype=torch.long), torch.ones(2, 9, dtype=torch.long))
    with quiet():
        torch.onnx.export(
            model,
            example,
            str(folder / "model_int8.onnx"),
            input_names=names,
            output_names=["logits"],
            dynamic_axes=axes,
            dynamo=False,
            opset_version=17,
        )
    return folder


@pytest.fixture(scope="module", params=["torch", "onnx"])
def recognizer(request: pytest.FixtureRequest, checkpoint: Checkpoint, onnx_folder: Path) -> Recognizer:
    return TorchRecognizer(checkpoint) if request.param == "torch" else OnnxRecognizer(onnx_folder, threads=1)


class TestEntities:
    def test_offsets_are_those_of_the_text(self, recognizer: Recognizer) -> None:
        found = [
            [(text[s.start : s.end], s.type) for s in spans]
            for text, spans in zip(TEXTS, entities(recognizer, TEXTS), strict=True)
        ]
        assert found == [
            [("Anna Baker", "PER"), ("Oslo", "LOC")],
            [],
            [],
            [("Hugo", "PER"), ("Rome", "LOC"), ("Paris  Bank", "ORG")],
        ]

    def test_no_texts(self, recognizer: Recognizer) -> None:
        assert entities(recognizer, []) == []

    def test_long_text(self, recognizer: Recognizer) -> None:
        spans = entities(recognizer, [f"{TEXTS[0]} " * 300])[0]
        assert len(spans) > 590  # of 600: some lie where a window shows little of the sentence
        assert spans == sorted(spans)
        assert spans[-1].end == 300 * 26 - 2

    @pytest.mark.parametrize("pieces", [1, 64, 10_000])
    def test_batching_changes_nothing(self, recognizer: Recognizer, pieces: int) -> None:
        texts = [document.text for document in tiny.documents(20, 9)]
        assert entities(recognizer, texts, pieces) == entities(recognizer, texts)


class TestRun:
    def test_order_is_kept(self, recognizer: Recognizer) -> None:
        encoded = encode(tiny.documents(12, 4), recognizer.tokenizer, LABELS, recognizer.windows)
        alone = [recognizer.logits([window])[0] for window in encoded.windows]
        for one, other, window in zip(run(recognizer, encoded), alone, encoded.windows, strict=True):
            assert one.shape == (len(window.first), 7)
            assert np.abs(one - other).max() < 1e-4

    @given(st.lists(st.integers(1, 200), max_size=40))
    def test_batches_hold_everything_once_within_the_limit(self, lengths: list[int]) -> None:
        found = list(batches(lengths, 128))
        assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
        assert all(batch and (len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 128) for batch in found)


class TestTorch:
    def test_bf16_is_near_and_does_not_stay(self, checkpoint: Checkpoint) -> None:
        full, low = TorchRecognizer(checkpoint), TorchRecognizer(checkpoint, precision="bf16")
        encoded = encode(tiny.documents(3, 4), full.tokenizer, LABELS, full.windows)
        before, near, after = (np.concatenate(run(each, encoded)) for each in (full, low, full))
        assert 0 < np.abs(before - near).max() < 0.3
        assert np.array_equal(before, after)

    def test_threads(self, checkpoint: Checkpoint) -> None:
        before = torch.get_num_threads()
        recognizer = TorchRecognizer(checkpoint, threads=1)
        for _ in range(2):
            recognizer.close()
        assert torch.get_num_threads() == 1
        torch.set_num_threads(before)


class TestOnnx:
    def test_missing_file(self, onnx_folder: Path) -> None:
        with pytest.raises(ModelError, match=r"model_fp32\.onnx: no such file"):
            OnnxRecognizer(onnx_folder, "model_fp32.onnx")

    def test_broken_file(self, onnx_folder: Path) -> None:
        (onnx_folder / "broken.onnx").write_bytes(b"no model")
        with pytest.raises(ModelError, match="onnxruntime cannot load it"):
            OnnxRecognizer(onnx_folder, "broken.onnx")

    def test_loads_no_torch(self, onnx_folder: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from nertrail.ner.predictor import OnnxRecognizer, entities;"
            f"print(len(entities(OnnxRecognizer(Path({str(onnx_folder)!r})), ['Anna Baker lives in Oslo.'])[0]));"
            "print([name for name in ('torch', 'transformers', 'mlflow') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == ["2", "[]"]
        assert done.stderr == ""


def test_settings_come_from_the_folder(checkpoint: Checkpoint, tiny_backbone: Path, tmp_path: Path) -> None:
    """The word unit, the windows and the decoding are those that the model was scored with."""
    backbone = Backbone("tiny", str(tiny_backbone))
    own = WindowSettings(16, 2, "whitespace")
    saved = save_checkpoint(
        load_model(backbone, LABELS),
        load_tokenizer(backbone),
        tmp_path / "c",
        backbone_name="tiny",
        labels=LABELS,
        windows=own,
        decoding="argmax",
    )
    recognizer = TorchRecognizer(saved)
    assert (recognizer.windows, recognizer.decoding, recognizer.labels) == (own, "argmax", LABELS)
    assert json.loads((saved.path / MANIFEST).read_text())["labels"] == list(LABELS.names)
