"""ONNX files of a real two-layer model: made, loaded, run, compared; and what becomes of faults."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_format
import pytest
import torch
from transformers import (
    DistilBertConfig,
    DistilBertForTokenClassification,
    RobertaConfig,
    RobertaForTokenClassification,
)

import tiny
from nertrail.errors import ConversionError
from nertrail.ner import onnx, onnx_files
from nertrail.ner.documents import Document
from nertrail.ner.labels import LabelSet
from nertrail.ner.model import Backbone, Checkpoint, load_model, load_tokenizer, model_of, save_checkpoint
from nertrail.ner.parity import SHAPES, InputSpec, compare, onnx_run, torch_run
from nertrail.ner.predictor import OnnxRecognizer, TorchRecognizer, run
from nertrail.ner.windows import WindowSettings, encode

LABELS = LabelSet(tiny.TYPES)
OTHERS = {
    "distilbert": lambda size: DistilBertForTokenClassification(
        DistilBertConfig(vocab_size=size, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64)
    ),
    "roberta": lambda size: RobertaForTokenClassification(
        RobertaConfig(
            vocab_size=size,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=66,
            type_vocab_size=1,
        )
    ),
}


def saved(model: Any, tokenizer: Any, path: Path) -> Checkpoint:
    settings = WindowSettings(32, 8)
    return save_checkpoint(model, tokenizer, path, backbone_name="tiny", labels=LABELS, windows=settings)


@pytest.fixture(scope="module")
def checkpoint(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    backbone = Backbone("tiny", str(tiny_backbone))
    path = tmp_path_factory.mktemp("onnx") / "checkpoint"
    return saved(load_model(backbone, LABELS, seed=3), load_tokenizer(backbone), path)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """The conversion log of `fp32` and `int8`."""
    return []


@pytest.fixture(scope="module")
def fp32(checkpoint: Checkpoint, lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx.export_fp32(checkpoint, tmp_path_factory.mktemp("fp32") / "new" / "onnx_fp32", log=lines.append)


@pytest.fixture(scope="module")
def int8(fp32: Path, lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx.quantize_int8(fp32, tmp_path_factory.mktemp("int8") / "onnx_int8", log=lines.append)


# --- what is written ------------------------------------------------------------------------------------------------


def test_a_folder_holds_the_model_and_what_serves_it(fp32: Path, int8: Path) -> None:
    companions = {"tokenizer.json", "nertrail.json", "config.json"}
    assert {file.name for file in fp32.parent.iterdir()} == {"model_fp32.onnx"} | companions
    assert {file.name for file in int8.parent.iterdir()} == {"model_int8.onnx"} | companions
    assert [file.name for file in fp32.parent.parent.iterdir()] == ["onnx_fp32"]


def test_both_files_may_share_a_folder(fp32: Path, tmp_path: Path) -> None:
    shutil.copytree(fp32.parent, tmp_path / "both")
    int8 = onnx.quantize_int8(tmp_path / "both" / fp32.name, tmp_path / "both")
    assert int8.is_file()
    assert (tmp_path / "both" / fp32.name).read_bytes() == fp32.read_bytes()


def test_the_opset_in_the_file_is_the_one_asked_for(checkpoint: Checkpoint, fp32: Path, tmp_path: Path) -> None:
    assert onnx.opset_of(fp32) == 17
    assert onnx.opset_of(onnx.export_fp32(checkpoint, tmp_path / "old", opset=14)) == 14


def test_int8_is_smaller_and_has_integer_products_and_embeddings(fp32: Path, int8: Path) -> None:
    assert onnx.weight_bytes(int8) < onnx.weight_bytes(fp32)
    operators = [node.op_type for node in onnx_format.load(str(int8)).graph.node]
    # 2 layers x (query, key, value, attention output, widening, narrowing) + the head
    assert operators.count("MatMulInteger") == 13
    assert "DequantizeLinear" in operators


def test_products_have_one_scale_per_output(int8: Path) -> None:
    """One per tensor doubles the error, and no score of a small split shows it."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in onnx_format.load(str(int8)).graph.initializer}
    products = {
        name.removesuffix("_quantized"): dims for name, dims in weights.items() if "MatMul" in name and len(dims) == 2
    }
    assert len(products) == 13
    assert {name: weights[f"{name}_scale"] for name in products} == {name: dims[1:] for name, dims in products.items()}


def test_excluded_products_stay_in_fp32(fp32: Path, tmp_path: Path) -> None:
    narrowing = onnx.narrowing_matmuls(fp32)
    assert [".0/output/dense" in narrowing[0], ".1/output/dense" in narrowing[1], len(narrowing)] == [True, True, 2]
    int8 = onnx.quantize_int8(fp32, tmp_path, exclude=narrowing)
    operators = [node.op_type for node in onnx_format.load(str(int8)).graph.node]
    assert operators.count("MatMulInteger") == 11


def test_excluding_what_does_not_exist_is_an_error(fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no node of model_fp32\.onnx is named /layer/x"):
        onnx.quantize_int8(fp32, tmp_path / "out", exclude=["/layer/x"])
    assert not list(tmp_path.iterdir())


def test_the_log_tells_every_step(fp32: Path, int8: Path, lines: list[str]) -> None:
    text = "\n".join(lines)
    for said in (
        "versions: python 3",
        f"torch {torch.__version__}",
        "onnxruntime ",
        "machine: ",
        "torchscript exporter, attention eager, opset 17 asked for: ",
        "exporter warned: You are using the legacy",
        "model_fp32.onnx: opset 17, ir 8, ",
        "MatMul 17",
        "model_fp32.onnx against the checkpoint: max diff ",
        "int8 weights per channel",
        "model_int8.onnx: opset 17",
        "MatMulInteger 13",
        "times smaller than model_fp32.onnx",
        "smoke test of model_int8.onnx: loaded and run on 3 padded shapes",
        " s wall, ",
    ):
        assert said in text


def test_neither_warnings_nor_log_lines_get_out(
    checkpoint: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger().handlers[:]
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        onnx.quantize_int8(onnx.export_fp32(checkpoint, tmp_path), tmp_path)
    assert [str(warning.message) for warning in caught] == []
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().filters == []


def test_a_program_without_logging_stays_without(fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantizer's own call would set the root logger up for the rest of the process."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    onnx.quantize_int8(fp32, tmp_path / "int8")
    assert logging.getLogger().handlers == []


# --- what it computes -----------------------------------------------------------------------------------------------


def test_fp32_is_the_checkpoint_over_all_shapes(checkpoint: Checkpoint, fp32: Path) -> None:
    found = onnx.parity(checkpoint, fp32)
    assert found.max_abs_diff < 2e-5
    assert found.argmax_agreement == 1.0
    assert found.passed()
    assert list(found.by_shape) == ["1x3", "1x8", "2x16", "3x17", "8x64", "16x128", "1x128"]  # 128 positions


def test_int8_runs_on_all_shapes_and_differs(checkpoint: Checkpoint, int8: Path) -> None:
    found = onnx.parity(checkpoint, int8)
    assert 1e-4 < found.max_abs_diff < 1
    assert 0.5 < found.argmax_agreement <= 1


def test_parity_sees_other_weights(checkpoint: Checkpoint, tiny_backbone: Path, fp32: Path, tmp_path: Path) -> None:
    backbone = Backbone("tiny", str(tiny_backbone))
    other = saved(load_model(backbone, LABELS, seed=4), load_tokenizer(backbone), tmp_path / "other")
    found = onnx.parity(other, fp32)
    assert found.max_abs_diff > 1e-2
    assert found.argmax_agreement < 0.9


def test_the_recognizer_of_a_file_gives_the_checkpoints_logits(checkpoint: Checkpoint, fp32: Path) -> None:
    documents = [Document(str(n), document.text, ()) for n, document in enumerate(tiny.documents(5))]
    encoded = encode(documents, checkpoint.tokenizer(), LABELS, checkpoint.windows)
    expected = run(TorchRecognizer(checkpoint), encoded)
    found = run(OnnxRecognizer(fp32.parent, fp32.name, threads=1), encoded)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures(kind: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """DistilBERT has no token types; RoBERTa counts positions from its padding id on, so 66 are 64."""
    tokenizer = checkpoint.tokenizer()
    model = OTHERS[kind](tokenizer.get_vocab_size())
    model.config.id2label, model.config.label2id = LABELS.id2label, {name: i for i, name in LABELS.id2label.items()}
    model = type(model)(model.config)
    other = saved(model, tokenizer, tmp_path / "checkpoint")
    fp32 = onnx.export_fp32(other, tmp_path / "onnx")
    found = onnx.parity(other, fp32)
    assert found.max_abs_diff < 2e-5
    assert list(found.by_shape)[-1] == "1x64"
    assert [value.name for value in onnx_format.load(str(fp32)).graph.input] == ["input_ids", "attention_mask"]
    assert len(onnx.narrowing_matmuls(fp32)) == 2
    onnx.quantize_int8(fp32, tmp_path / "onnx")


# --- faults ---------------------------------------------------------------------------------------------------------


def rewritten(source: Path, folder: Path, change: Any) -> Path:
    """A copy of the model's folder with the graph changed."""
    shutil.copytree(source.parent, folder)
    model = onnx_format.load(str(source))
    change(model)
    onnx_format.save(model, str(folder / source.name))
    return folder / source.name


def spoil_head(model: Any) -> None:
    for tensor in model.graph.initializer:
        if "classifier.bias" in tensor.name:
            bias = np.full(tensor.dims, np.nan, np.float32)
            tensor.CopyFrom(onnx_format.numpy_helper.from_array(bias, tensor.name))


def test_a_file_that_yields_nan_fails(checkpoint: Checkpoint, fp32: Path, tmp_path: Path) -> None:
    path = rewritten(fp32, tmp_path / "nan", spoil_head)
    with pytest.raises(ConversionError, match="not all finite"):
        onnx.smoke_test(path)
    assert not onnx.parity(checkpoint, path).passed()
    with pytest.raises(ConversionError, match="not all finite"):
        onnx.quantize_int8(path, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def test_a_file_that_does_not_load_fails(fp32: Path, tmp_path: Path) -> None:
    path = rewritten(fp32, tmp_path / "bad", lambda model: setattr(model.graph.node[-1], "op_type", "NoSuchOperator"))
    with pytest.raises(ConversionError, match=r"model_fp32\.onnx does not load"):
        onnx.smoke_test(path)


def frozen_exporter() -> Any:
    """torch's exporter, with the length axis of the example frozen in."""
    real = torch.onnx.export

    def export(*args: Any, dynamic_axes: Any = None, **options: Any) -> Any:
        if options["dynamo"]:
            raise RuntimeError("no dynamo here")
        return real(*args, dynamic_axes={name: {0: "batch"} for name in dynamic_axes}, **options)

    return export


def test_a_frozen_axis_fails_and_both_exporters_are_named(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", frozen_exporter())
    lines: list[str] = []
    with pytest.raises(ConversionError) as caught:
        onnx.export_fp32(checkpoint, tmp_path / "onnx", log=lines.append)
    assert "frozen to the example's" in str(caught.value)
    assert "dynamo exporter, opset 18: RuntimeError: no dynamo here" in str(caught.value)
    assert [line.split(",")[0] for line in lines if "FAILED" in line] == [
        "FAILED torchscript exporter",
        "FAILED dynamo exporter",
    ]
    assert not list(tmp_path.iterdir())


def test_where_the_first_exporter_fails_the_second_is_asked(
    checkpoint: Checkpoint, fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[bool, int]] = []

    def export(model: Any, args: Any, file: str, *, dynamo: bool, opset_version: int, **options: Any) -> None:
        asked.append((dynamo, opset_version))
        if not dynamo:
            Path(file).with_suffix(".data").write_bytes(b"half")
            raise torch.onnx.errors.UnsupportedOperatorError("aten::new", 17, None)
        assert options["dynamic_shapes"] == tuple(
            {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for _ in args
        )
        shutil.copyfile(fp32, file)

    monkeypatch.setattr(torch.onnx, "export", export)
    path = onnx.export_fp32(checkpoint, tmp_path / "onnx")
    assert asked == [(False, 17), (True, 18)]
    assert not path.with_suffix(".data").exists()


def test_an_export_of_another_computation_fails(
    checkpoint: Checkpoint, fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = rewritten(fp32, tmp_path / "wrong", spoil_head)
    monkeypatch.setattr(torch.onnx, "export", lambda model, args, file, **options: shutil.copyfile(wrong, file))
    with pytest.raises(ConversionError, match="logits differ from the checkpoint's by nan"):
        onnx.export_fp32(checkpoint, tmp_path / "onnx")


def test_an_interrupted_export_leaves_the_old_file(
    checkpoint: Checkpoint, fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "onnx"
    shutil.copytree(fp32.parent, folder)

    def export(model: Any, args: Any, file: str, **options: Any) -> None:
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(KeyboardInterrupt):
        onnx.export_fp32(checkpoint, folder)
    assert (folder / fp32.name).read_bytes() == fp32.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


def test_the_model_is_the_last_file_to_be_placed(fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[str] = []
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        placed.append(path.name)
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with onnx_files.draft_of(tmp_path / "out", "model.onnx", fp32.parent) as draft:
        (draft / "model.onnx").write_bytes(b"weights")
    assert placed[-1] == "model.onnx"
    assert len(placed) == 4


# --- sizes and inputs -----------------------------------------------------------------------------------------------


def test_external_data_counts(fp32: Path, tmp_path: Path) -> None:
    model = onnx_format.load(str(fp32))
    options: dict[str, Any] = {"all_tensors_to_one_file": True, "location": "weights.bin", "size_threshold": 0}
    onnx_format.save_model(model, str(tmp_path / "model.onnx"), save_as_external_data=True, **options)
    (tmp_path / "unrelated.bin").write_bytes(b"x" * 1000)
    files = [tmp_path / "model.onnx", tmp_path / "weights.bin"]
    assert onnx.weight_bytes(files[0]) == sum(file.stat().st_size for file in files)
    assert onnx.weight_bytes(files[0]) > files[0].stat().st_size * 1.5


def test_a_checkpoints_weights_are_its_safetensors(checkpoint: Checkpoint) -> None:
    assert onnx.weight_bytes(checkpoint.path) == (checkpoint.path / "model.safetensors").stat().st_size


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_are_padded_and_valid(shape: tuple[int, int]) -> None:
    spec = InputSpec(vocabulary=50, positions=512, pad_id=1, token_types=True)
    batch = spec.batch(shape)
    mask = batch["attention_mask"]
    assert all(array.shape == shape and array.dtype == np.int64 for array in batch.values())
    assert mask[0].all()
    assert (mask.sum(axis=1) >= 1).all()
    assert shape[0] == 1 or not mask.all()
    assert ((batch["input_ids"] == 1) == (mask == 0)).all()
    assert batch["input_ids"].max() < 50


@pytest.mark.parametrize("positions, expected", [(512, 7), (128, 7), (10, 7), (3, 5)])
def test_shapes_are_capped_to_the_positions(positions: int, expected: int) -> None:
    shapes = InputSpec(50, positions, 0, False).capped(SHAPES)
    assert max(length for _, length in shapes) <= positions
    assert len(set(shapes)) == len(shapes) == expected


def test_padding_does_not_count(checkpoint: Checkpoint) -> None:
    """Logits at padded positions are nobody's business."""
    reference = torch_run(model_of(checkpoint))
    spec = InputSpec.read(checkpoint.path)

    def disturbed(arrays: dict[str, Any]) -> Any:
        return reference(arrays) + 100 * (1 - arrays["attention_mask"])[..., None]

    assert compare(reference, disturbed, spec, [(4, 9)]).max_abs_diff == 0.0


def test_a_wrong_number_of_labels_is_told(checkpoint: Checkpoint, fp32: Path) -> None:
    found, spec = onnx_run(fp32), InputSpec.read(checkpoint.path)

    def narrow(arrays: dict[str, Any]) -> Any:
        return found(arrays)[..., :-1]

    with pytest.raises(ConversionError, match=r"logits of 1x3 have shape \(1, 3, 6\), not \(1, 3, 7\)"):
        compare(found, narrow, spec, SHAPES[:1])
