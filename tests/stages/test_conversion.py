"""Conversion: a model that passes, and every trace of one that does not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_format
import pytest
import torch

import tiny
from nertrail import Predictor
from nertrail.convert_to_onnx import main
from nertrail.errors import ConversionError, InputError, ModelError
from nertrail.experiment import Experiment
from nertrail.ner import judging, onnx
from nertrail.ner.bootstrap import Interval
from nertrail.ner.checkpoint import Checkpoint
from nertrail.ner.documents import Document
from nertrail.ner.judging import Comparison
from nertrail.ner.model import model_of
from nertrail.ner.onnx_files import seal
from nertrail.ner.sensitivity import rank_by_error
from nertrail.ner.windows import encode
from nertrail.records import read_json
from nertrail.stages import attempt
from nertrail.stages.benchmark import candidates_in
from nertrail.stages.conversion import ConversionConfig, Texts, convert_model
from nertrail.stages.inputs import Inputs
from nertrail.stages.training import train_model
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowConversionTracker

LENIENT = ConversionConfig(min_f1_share=0.0)


@pytest.fixture(scope="module")
def checkpoint(experiment: Experiment, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    values = experiment.hyperparameters.with_values({"learning_rate": 5e-3})
    config = experiment.training.model_copy(update={"epochs": 3})  # after fewer it may find nothing yet
    return train_model(config, values, inputs, experiment.backbones[1], folder).checkpoint


@pytest.fixture(scope="module")
def texts(experiment: Experiment, inputs: Inputs) -> Texts:
    prepared = inputs.prepare(experiment.backbones[1])
    return Texts(prepared.validation, prepared.test, "v1")


@pytest.fixture
def memory() -> MemoryBackend:
    return MemoryBackend()


@pytest.mark.parametrize("target", ["onnx_fp32", "onnx_fp16", "onnx_int8"])
def test_a_conversion(checkpoint: Path, target: str, tmp_path: Path, experiment: Experiment, inputs: Inputs) -> None:
    validation = inputs.prepare(experiment.backbones[1]).validation
    result = convert_model(LENIENT, checkpoint, target, tmp_path, texts=Texts(validation))
    metrics = result.record().metrics
    assert (metrics["conversion_success"], metrics["smoke_test_passed"]) == (1.0, 1.0)
    assert metrics["compression_ratio"] == pytest.approx(result.checkpoint_bytes / result.onnx_bytes)
    assert abs(metrics["f1_drop"]) <= 1
    assert result.record().params["onnx_opset_version"] == 17
    assert "passed" in result.log_path.read_text(encoding="utf-8")
    assert [(c.backend, c.backbone) for c in candidates_in([tmp_path / target])] == [(target, "cut")]


def test_a_model_that_is_not_good_enough_leaves_its_numbers_and_its_log(
    checkpoint: Path, memory: MemoryBackend, tmp_path: Path
) -> None:
    config = ConversionConfig(max_abs_diff=1e-30)
    with pytest.raises(ConversionError, match="onnx_fp32: ConversionError: logits differ"):
        convert_model(config, checkpoint, "onnx_fp32", tmp_path, tracker=MLflowConversionTracker.over(memory))
    (run,) = memory.runs.values()
    assert run.status == "FAILED"
    assert (run.metrics["conversion_success"], run.metrics["smoke_test_passed"]) == (0.0, 1.0)
    assert run.metrics["max_abs_diff"] > 0
    assert "conversion_log.txt" in run.artifacts
    assert "model_fp32.onnx" not in run.artifacts
    assert not (tmp_path / "onnx_fp32").exists()


def test_what_an_exporter_raises_is_kept_as_the_cause(
    checkpoint: Path, memory: MemoryBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boom = OSError("disk full")

    def export(*_: object) -> None:
        raise boom

    monkeypatch.setattr(onnx, "export_fp32", export)
    with pytest.raises(ConversionError) as caught:
        convert_model(LENIENT, checkpoint, "onnx_int8", tmp_path, tracker=MLflowConversionTracker.over(memory))
    (run,) = memory.runs.values()
    assert caught.value.__cause__ is boom
    assert (run.metrics["conversion_success"], run.metrics["smoke_test_passed"]) == (0.0, 0.0)
    assert "disk full" in (tmp_path / "onnx_int8.log.txt").read_text(encoding="utf-8")


def verdicts(*kept: float) -> Callable[..., Comparison]:
    """A comparison that finds one share of F1 kept after the other."""
    left = iter(kept)
    return lambda *_: Comparison(0.8, 0.8 * next(left), Interval(-0.1, 0.2), 0.5)


@pytest.mark.parametrize("few, warned", [(1, 0), (10_000, 1)])
def test_a_gate_that_rests_on_few_entities_says_so_once(
    checkpoint: Path, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    few: int, warned: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(attempt, "_FEW_ENTITIES", few)
    monkeypatch.setattr(judging, "compare", verdicts(0.9, 0.99))  # int8 is judged twice
    result = convert_model(ConversionConfig(), checkpoint, "onnx_int8", tmp_path, texts=texts)
    assert texts.validation is not None
    entities = sum(len(tagged.document.spans) for tagged in texts.validation.documents)
    assert f"the gate rests on {entities} entities of the validation texts" in result.log_path.read_text()
    said = [text for text in caplog.messages if "the gate rests" in text]
    assert said == [f"onnx_int8: the gate rests on {entities} entities only"] * warned


def test_int8_is_tried_again_with_products_in_fp32(
    checkpoint: Path, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "compare", verdicts(0.9, 0.99))
    result = convert_model(ConversionConfig(), checkpoint, "onnx_int8", tmp_path, texts=texts)
    (left,) = result.fp32_matmuls
    assert left.endswith("output/dense/MatMul")
    assert result.record().metrics["fp32_matmuls"] == 1
    log = result.log_path.read_text(encoding="utf-8")
    assert "gate: micro-f1-span 0.7200 is below 99 % of PyTorch's 0.8000" in log
    assert f"left in fp32: {left}" in log
    assert "| left in fp32 to keep F1 | 1 matrix products |" in (tmp_path / "onnx_int8" / "README.md").read_text()


@pytest.fixture(scope="module", params=[0, 1])
def fragile(
    request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Checkpoint]:
    """A checkpoint that does in fp32 what it did, with one layer whose narrowing product int8 can't hold: one weight of
    each output is huge, so that the others round to nothing, and what it is multiplied with is always 0.
    """
    number: int = request.param
    model = model_of(tiny_checkpoint)
    layer = model.base_model.encoder.layer[number]
    layer.intermediate.dense.weight.data[0] = 0.0
    layer.intermediate.dense.bias.data[0] = 0.0
    layer.output.dense.weight.data *= 3.0
    layer.output.dense.weight.data[:, 0] = 3000.0
    folder = tmp_path_factory.mktemp("fragile") / "checkpoint"
    shutil.copytree(tiny_checkpoint.path, folder)
    model.save_pretrained(folder)
    return number, replace(tiny_checkpoint, path=folder)


def test_the_product_that_costs_most_comes_first(fragile: tuple[int, Checkpoint], tmp_path: Path) -> None:
    number, checkpoint = fragile
    fp32 = onnx.export_fp32(checkpoint, tmp_path)
    candidates = onnx.narrowing_matmuls(fp32)
    sample = encode(tiny.documents(20, 5), checkpoint.tokenizer(), checkpoint.labels, checkpoint.windows)
    for given in (candidates, candidates[::-1]):
        first, second = rank_by_error(fp32, given, sample, lambda _: None)
        assert f"layer.{number}/output/dense" in first and {first, second} == set(candidates)


@pytest.mark.parametrize("fragile", [0], indirect=True)  # what the last layer's product costs is no entity
def test_leaving_it_in_fp32_keeps_f1(fragile: tuple[int, Checkpoint], tmp_path: Path) -> None:
    _, checkpoint = fragile
    texts = Texts(encode(tiny.documents(60, 5), checkpoint.tokenizer(), checkpoint.labels))
    with pytest.raises(ConversionError, match="is below 99 %"):
        convert_model(ConversionConfig(fp32_matmuls=0), checkpoint.path, "onnx_int8", tmp_path, texts=texts)
    result = convert_model(ConversionConfig(), checkpoint.path, "onnx_int8", tmp_path, texts=texts)
    (left,) = result.fp32_matmuls
    assert "layer.0/output/dense" in left
    assert (result.gate, result.f1_drop) == ("passed", pytest.approx(0.0, abs=0.01))


@pytest.mark.parametrize("most, tries", [(0, 1), (4, 2)])
def test_a_target_that_cannot_keep_f1_fails_and_says_why(
    checkpoint: Path, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, tries: int
) -> None:
    monkeypatch.setattr(judging, "compare", verdicts(*[0.9] * tries))  # one more would raise StopIteration
    with pytest.raises(ConversionError, match=r"micro-f1-span 0\.7200 is below 99 % of PyTorch's 0\.8000") as caught:
        convert_model(ConversionConfig(fp32_matmuls=most), checkpoint, "onnx_int8", tmp_path, texts=texts)
    assert ("even with 1 products left in fp32" in str(caught.value)) == (most > 0)
    log = (tmp_path / "onnx_int8.log.txt").read_text(encoding="utf-8")
    assert log.count("gate: ") == tries
    assert "parity of model_int8.onnx" in log  # numbers are left all the same
    assert not (tmp_path / "onnx_int8").exists()


def test_a_model_that_loads_and_runs_but_finds_nothing_fails(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnx.quantize_int8
    tokenizer, windows = tiny_checkpoint.tokenizer(), tiny_checkpoint.windows
    texts = Texts(encode(tiny.documents(20, 5), tokenizer, tiny_checkpoint.labels, windows))

    def spoiled(*given: Any, **named: Any) -> Path:
        path = real(*given, **named)
        model = onnx_format.load(str(path))
        for tensor in model.graph.initializer:
            if "classifier.bias" in tensor.name:
                bias = np.array([50.0] + [0.0] * 6, np.float32)
                tensor.CopyFrom(onnx_format.numpy_helper.from_array(bias, tensor.name))
        onnx_format.save(model, str(path))
        seal(path.parent, path.parent)
        return path

    monkeypatch.setattr(onnx, "quantize_int8", spoiled)
    with pytest.raises(ConversionError, match=r"micro-f1-span 0\.0000 is below 99 %"):
        convert_model(ConversionConfig(), tiny_checkpoint.path, "onnx_int8", tmp_path, texts=texts)
    assert "smoke test of model_int8.onnx: loaded and run" in (tmp_path / "onnx_int8.log.txt").read_text()


@pytest.fixture(scope="module")
def untrained(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint whose head was drawn anew: it finds nothing right."""
    model = model_of(tiny_checkpoint)
    model.classifier.weight.data.zero_()
    model.classifier.bias.data.copy_(torch.tensor([50.0] + [0.0] * 6))
    folder = tmp_path_factory.mktemp("untrained") / "checkpoint"
    shutil.copytree(tiny_checkpoint.path, folder)
    model.save_pretrained(folder)
    return replace(tiny_checkpoint, path=folder)


@pytest.mark.parametrize("target", ["onnx_fp32", "onnx_fp16", "onnx_int8"])
def test_a_model_that_knows_nothing_fails_the_gate(
    untrained: Checkpoint, tmp_path: Path, memory: MemoryBackend, target: str
) -> None:
    """Its converted twin would keep all of its F1, which is 0."""
    texts = Texts(encode(tiny.documents(20, 5), untrained.tokenizer(), untrained.labels))
    options = {"texts": texts, "tracker": MLflowConversionTracker.over(memory)}
    with pytest.raises(ConversionError, match="PyTorch itself finds none of the validation entities"):
        convert_model(ConversionConfig(), untrained.path, target, tmp_path, **options)
    (run,) = memory.runs.values()
    assert (run.status, run.metrics["conversion_success"], run.metrics["smoke_test_passed"]) == ("FAILED", 0.0, 1.0)
    log = (tmp_path / f"{target}.log.txt").read_text(encoding="utf-8")
    assert "FAILED: PyTorch itself finds none" in log and "ranking" not in log
    assert not (tmp_path / target).exists()


def test_texts_without_entities_compare_nothing_and_it_is_said(untrained: Checkpoint, tmp_path: Path) -> None:
    documents = [Document(str(number), "it was a long day in the rain.", ()) for number in range(5)]
    texts = Texts(encode(documents, untrained.tokenizer(), untrained.labels))
    result = convert_model(ConversionConfig(), untrained.path, "onnx_int8", tmp_path, texts=texts)
    assert "validation texts without any entity: entity F1 was not compared" in result.log_path.read_text()
    (model,) = [artifact for artifact in result.record().artifacts if artifact.version]
    assert model.version is not None
    assert (model.version.tags["gate"], model.version.alias) == ("not compared", None)
    card = (tmp_path / "onnx_int8" / "README.md").read_text(encoding="utf-8")
    assert "| micro F1 on validation | not compared" in card


def test_the_folder_serves_and_says_what_it_is(checkpoint: Path, texts: Texts, tmp_path: Path) -> None:
    result = convert_model(LENIENT, checkpoint, "onnx_int8", tmp_path, texts=texts)
    assert result.folder is not None and texts.test is not None
    scores = read_json(result.folder / "scores.json")
    assert (scores["data_version"], len(scores["counts"]["texts"])) == ("v1", len(texts.test.documents))
    assert scores["micro_f1_span"] == result.test_f1 == result.record().metrics["test_micro-f1-span"]
    card = (result.folder / "README.md").read_text(encoding="utf-8")
    assert "# cut, onnx_int8" in card and "| data version | v1 |" in card and str(tmp_path) not in card
    with Predictor.load(result.folder) as predictor:
        assert dict(predictor.thresholds) == dict(result.thresholds)
        assert predictor.labels == ("LOC", "ORG", "PER")


def test_a_gate_that_is_switched_off_makes_no_challenger(untrained: Checkpoint, tmp_path: Path) -> None:
    texts = Texts(encode(tiny.documents(20, 5), untrained.tokenizer(), untrained.labels))
    result = convert_model(LENIENT, untrained.path, "onnx_int8", tmp_path, texts=texts)
    (model,) = [artifact for artifact in result.record().artifacts if artifact.version]
    assert model.version is not None
    assert (model.version.tags["gate"], model.version.alias, result.f1) == ("switched off", None, 0.0)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_model_takes_its_place_only_once_it_has_passed(
    checkpoint: Path, untrained: Checkpoint, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = convert_model(ConversionConfig(), checkpoint, "onnx_int8", tmp_path, texts=texts)
    assert good.folder is not None
    before = hashes(good.folder)
    with pytest.raises(ConversionError, match="PyTorch itself finds none"):
        convert_model(ConversionConfig(), untrained.path, "onnx_int8", tmp_path, texts=texts)
    assert hashes(good.folder) == before

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(judging, "judge", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_model(ConversionConfig(), checkpoint, "onnx_int8", tmp_path, texts=texts)
    assert hashes(good.folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["onnx_int8", "onnx_int8.log.txt"]


@pytest.mark.parametrize("target", ["onnx_fp32", "onnx_int8"])
def test_what_a_killed_conversion_leaves_serves_nobody_and_goes(
    target: str, checkpoint: Path, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = judging.judge, []

    def judge(*given: Any) -> Any:
        seen.append((tmp_path / target).exists())
        return real(*given)

    monkeypatch.setattr(judging, "judge", judge)
    aside = tmp_path / f".{target}.draft"
    (aside / target).mkdir(parents=True)
    (aside / target / "left").write_text("by a killed one")
    result = convert_model(ConversionConfig(), checkpoint, target, tmp_path, texts=texts)  # type: ignore[arg-type]
    assert result.folder is not None and not (result.folder / "left").exists() and not aside.exists()
    assert len(seen) == 4 and not any(seen)  # PyTorch, the gate, a long text, the test texts


@pytest.mark.parametrize("there", ["its own checkpoint", "somebody's file", "a file", "nothing"])
def test_nothing_else_is_lost(there: str, checkpoint: Path, tmp_path: Path) -> None:
    place = tmp_path / "onnx_int8"
    source = checkpoint
    if there == "its own checkpoint":
        source = shutil.copytree(checkpoint, place / "best")
    elif there == "somebody's file":
        place.mkdir()
        (place / "precious.txt").write_text("x")
    elif there == "a file":
        place.write_text("x")
    else:
        place.mkdir()
        assert convert_model(LENIENT, source, "onnx_int8", tmp_path).success
        return
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="own checkpoint" if there == "its own checkpoint" else "would be lost"):
        convert_model(LENIENT, source, "onnx_int8", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("what", ["windows", "types", "tokenizer"])
def test_a_folder_that_nobody_could_predict_with_does_not_pass(what: str, checkpoint: Path, tmp_path: Path) -> None:
    """Without texts to judge by, too."""
    source = shutil.copytree(checkpoint, tmp_path / "source")
    manifest = read_json(source / "nertrail.json")
    if what == "tokenizer":
        (source / "tokenizer.json").write_text("{}")
    elif what == "windows":
        manifest["windows"]["max_length"] = 512  # the backbone has 128 positions
    else:
        manifest |= {"types": ["A", "B"], "labels": ["O", "B-A", "I-A", "B-B", "I-B"]}
    (source / "nertrail.json").write_text(json.dumps(manifest))
    with pytest.raises((ConversionError, ModelError)):
        convert_model(LENIENT, source, "onnx_int8", tmp_path / "out")
    assert not (tmp_path / "out" / "onnx_int8").exists()


def test_fp16_is_half_as_large_and_finds_the_same(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    texts = Texts(encode(tiny.documents(20, 5), tiny_checkpoint.tokenizer(), tiny_checkpoint.labels))
    result = convert_model(ConversionConfig(), tiny_checkpoint.path, "onnx_fp16", tmp_path, texts=texts)
    assert result.record().params["quantization"] == "fp16"
    assert result.max_abs_diff is not None and 1e-5 < result.max_abs_diff < 0.05
    assert (result.changed_texts, result.f1_drop) == (0.0, 0.0)
    with Predictor.load(result.folder or "") as predictor:
        assert len(predictor.predict(["Anna Baker lives in Oslo."])[0]) == 2


def test_without_texts_the_card_says_so(checkpoint: Path, tmp_path: Path) -> None:
    result = convert_model(LENIENT, checkpoint, "onnx_int8", tmp_path)
    assert result.folder is not None
    assert "not compared: there were no validation texts with entities" in (result.folder / "README.md").read_text()
    assert not (result.folder / "scores.json").exists()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"per_channel": False}, "int8 weights per tensor"),
        ({"quantize_embeddings": False}, "left in fp32: embeddings"),
        ({"exporter": "torchscript", "opset": 15}, "torchscript exporter, attention eager, opset 15"),
        ({"exporter": "dynamo", "opset": 18}, "dynamo exporter, attention eager, opset 18"),
    ],
)
def test_the_recipe_has_options(checkpoint: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    result = convert_model(ConversionConfig(**options), checkpoint, "onnx_int8", tmp_path)
    assert said in result.log_path.read_text(encoding="utf-8")
    assert result.opset == options.get("opset", 17)


def test_main_returns_its_exit_code(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(checkpoint), "--target", "onnx_fp32", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "onnx_fp32" / "model_fp32.onnx")
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_folder_without_a_model_is_no_candidate(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nertrail\.json"):
        candidates_in([tmp_path])
