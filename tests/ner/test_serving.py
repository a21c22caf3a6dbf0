"""The predictor on a real quantised model: answers, scores, thresholds, streams, and bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx as onnx_format
import pytest

import tiny
from nertrail import Predictor
from nertrail.errors import ConfigError, DataError, ModelError
from nertrail.ner.checkpoint import Checkpoint, read_manifest, read_tokenizer, write_settings
from nertrail.ner.documents import Document
from nertrail.ner.entities import CHUNK_CHARACTERS, CHUNK_TEXTS, Entity, chunks, label, spans
from nertrail.ner.labels import Floats, LabelSet, decode_all
from nertrail.ner.predictor import OnnxRecognizer, TorchRecognizer, entities, run
from nertrail.ner.serving import FolderPredictor
from nertrail.ner.windows import Window, encode, merge
from nertrail.stages.conversion import Target

TEXTS = ["Anna Baker lives in Oslo.", "", "it was a long day.", "  Hugo\u00a0left Rome,\nand Paris  Bank was glad. "]


@pytest.fixture(scope="module")
def predictor(tiny_served: Path) -> Iterator[Predictor]:
    with Predictor.load(tiny_served, threads=1) as loaded:
        yield loaded


@pytest.fixture
def copy(tiny_served: Path, tmp_path: Path) -> Path:
    """A served model that a test may spoil."""
    return Path(shutil.copytree(tiny_served, tmp_path / "model"))


# --- answers --------------------------------------------------------------------------------------------------------


def test_offsets_are_those_of_the_text(predictor: Predictor) -> None:
    found = [
        [(text[entity.start : entity.end], entity.label) for entity in entities]
        for text, entities in zip(TEXTS, predictor.predict(TEXTS), strict=True)
    ]
    assert found == [
        [("Anna Baker", "PER"), ("Oslo", "LOC")],
        [],
        [],
        [("Hugo", "PER"), ("Rome", "LOC"), ("Paris  Bank", "ORG")],
    ]


def test_a_text_that_yields_no_numbers_spoils_no_other(tiny_served: Path) -> None:
    """Scores of all texts are computed together."""

    class Overflowing(OnnxRecognizer):
        def logits(self, windows: Sequence[Window]) -> list[Floats]:
            return [
                rows * np.nan if window.document == 0 else rows
                for rows, window in zip(super().logits(windows), windows, strict=True)
            ]

    documents = [Document(str(number), text, ()) for number, text in enumerate([TEXTS[2], *TEXTS])]
    found = [
        [found for _, found in label(kind(tiny_served, threads=1), documents)] for kind in (OnnxRecognizer, Overflowing)
    ]
    assert found[1][1:] == found[0][1:] and found[1][1]


def test_a_score_is_the_mean_probability_of_the_decoded_labels(predictor: Predictor, tiny_served: Path) -> None:
    recognizer = OnnxRecognizer(tiny_served, threads=1)
    encoded = encode([Document("a", TEXTS[0], ())], recognizer.tokenizer, recognizer.labels, recognizer.windows)
    (logits,) = merge(encoded, run(recognizer, encoded))
    chances = np.exp(logits.astype(np.float64))
    chances /= chances.sum(axis=1, keepdims=True)
    decoded = decode_all([logits], recognizer.labels)[0]
    words = [chances[number, tag] for number, tag in enumerate(decoded)]
    anna, oslo = predictor.predict([TEXTS[0]])[0]
    assert anna.score == pytest.approx((words[0] + words[1]) / 2, abs=2e-6)
    assert oslo.score == pytest.approx(words[4], abs=2e-6)


def test_the_decoding_is_that_of_training(tiny_checkpoint: Checkpoint) -> None:
    recognizer = TorchRecognizer(tiny_checkpoint)
    documents = tiny.documents(20, 9)
    expected = entities(recognizer, [document.text for document in documents])
    assert [sorted(spans(found)) for _, found in label(recognizer, documents)] == expected


def test_no_texts(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_a_long_text_is_read_to_its_end(predictor: Predictor) -> None:
    found = predictor.predict([f"{TEXTS[0]} " * 300])[0]
    assert len(found) > 590  # of 600: some lie where a window shows little of the sentence
    assert found == sorted(found)
    assert found[-1].end == 300 * 26 - 2


def test_min_score_and_thresholds(copy: Path) -> None:
    write_settings(Checkpoint(**{**vars(read_manifest(copy)), "thresholds": {"PER": 1.0}}))
    with Predictor.load(copy, threads=1) as predictor:
        everything = predictor.predict(TEXTS[:1])
        scores = [entity.score for entity in everything[0]]
        between = sum(scores) / 2
        assert [e.score for e in predictor.predict(TEXTS[:1], min_score=between)[0]] == [max(scores)]
        assert [e.label for e in predictor.predict(TEXTS[:1], use_thresholds=True)[0]] == ["LOC"]
        assert predictor.predict(TEXTS[:1], min_score=0.0) == everything


# --- streams --------------------------------------------------------------------------------------------------------


def test_a_stream_reads_a_bounded_number_of_texts_ahead(predictor: Predictor) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield TEXTS[0]

    stream, ahead = predictor.stream(endless()), []
    for number in range(CHUNK_TEXTS + 5):
        assert len(next(stream)) == 2
        ahead.append(taken - number)
    assert max(ahead) <= CHUNK_TEXTS + 1
    assert taken <= 2 * CHUNK_TEXTS + 1


@pytest.mark.parametrize(
    "lengths, sizes",
    [
        ([], []),
        ([1], [1]),
        ([3 * CHUNK_CHARACTERS, 1, 1], [1, 2]),
        ([1] * (CHUNK_TEXTS + 1), [CHUNK_TEXTS, 1]),
        ([CHUNK_CHARACTERS // 2] * 5, [2, 2, 1]),
    ],
)
def test_chunks_are_bounded_and_keep_the_order(lengths: list[int], sizes: list[int]) -> None:
    documents = [Document(str(number), "x" * length, ()) for number, length in enumerate(lengths)]
    found = list(chunks(documents))
    assert [len(chunk) for chunk in found] == sizes
    assert [document for chunk in found for document in chunk] == documents


# --- texts that nobody expects --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n\u00a0\u2003",
        "a" * 1_000_000,
        "\ud800",
        "x\udfff\ud800 y",
        "\0\x01\x7f\x1b[31m",
        "\u202e\ufeff\u200b",
        "🙂" * 50,
    ],
    ids=["empty", "blank", "1 MB word", "surrogate", "surrogates", "control", "invisible", "emoji"],
)
def test_any_text_gets_an_answer(predictor: Predictor, text: str) -> None:
    (found,) = predictor.predict([text])
    assert all(0 <= entity.start < entity.end <= len(text) and 0 < entity.score <= 1 for entity in found)


def test_offsets_stay_behind_what_was_replaced(predictor: Predictor) -> None:
    text = "\ud800\0 \udc00 " + TEXTS[0]
    found = {(text[entity.start : entity.end], entity.label) for entity in predictor.predict([text])[0]}
    assert ("Oslo", "LOC") in found


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["list"]])
def test_what_is_no_text_is_told(predictor: Predictor, value: object) -> None:
    with pytest.raises(DataError, match=f"found {type(value).__name__} where a text is wanted"):
        predictor.predict([value])  # type: ignore[list-item]


@pytest.mark.parametrize("texts", ["one string", b"bytes", None, 3])
def test_texts_are_several(predictor: Predictor, texts: Any) -> None:
    with pytest.raises(DataError, match=rf"found {type(texts).__name__} where several texts are wanted") as caught:
        predictor.stream(texts)  # told at once, not with the first answer
    assert "[text]" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), None, "0.5", 50, -0.1, True], ids=repr)
def test_a_score_is_a_number_from_0_to_1(predictor: Predictor, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"min_score: found {value!r} where a score is wanted"):
        predictor.predict(TEXTS, min_score=value)
    assert predictor.predict(TEXTS, min_score=np.float32(0.0)) == predictor.predict(TEXTS)  # type: ignore[arg-type]


def test_texts_before_a_bad_one_are_answered(predictor: Predictor) -> None:
    answers = predictor.stream([TEXTS[0], TEXTS[2], 3, TEXTS[0]])  # type: ignore[list-item]
    assert [len(next(answers)), len(next(answers))] == [2, 0]
    with pytest.raises(DataError, match="found int where a text is wanted"):
        next(answers)


def test_a_closed_predictor_says_so(tiny_served: Path) -> None:
    predictor = Predictor.load(tiny_served, threads=1)
    begun = predictor.stream(TEXTS * CHUNK_TEXTS)
    next(begun)
    predictor.close()
    predictor.close()
    for texts in (TEXTS, []):
        with pytest.raises(ModelError, match=r"model_int8\.onnx: is closed\n.*load the model again"):
            predictor.predict(texts)
    with pytest.raises(ModelError, match="is closed"):
        list(begun)


# --- folders --------------------------------------------------------------------------------------------------------


def other_labels(folder: Path) -> None:
    found = read_manifest(folder)
    write_settings(Checkpoint(folder, found.backbone_name, LabelSet(("A",)), found.windows, found.decoding))


def other_output(folder: Path) -> None:
    model = onnx_format.load(str(folder / "model_int8.onnx"))
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    model.graph.output[0].name = "scores"
    onnx_format.save(model, str(folder / "model_int8.onnx"))


def edited(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def settings(**changed: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "nertrail.json").read_text(encoding="utf-8"))
        (folder / "nertrail.json").write_text(json.dumps({**content, **changed}), encoding="utf-8")

    return change


def other_tokenizer(folder: Path) -> None:
    tokenizer = read_tokenizer(folder)
    tokenizer.add_tokens([f"piece{number}" for number in range(3)])
    tokenizer.save(str(folder / "tokenizer.json"))


def config(**changed: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**content, **changed}), encoding="utf-8")

    return change


def permuted_tokenizer(folder: Path) -> None:
    """As many pieces, two of them in each other's place."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = content["model"]["vocab"]
    one, other = sorted(pieces, key=lambda piece: int(pieces[piece]))[-2:]
    pieces[one], pieces[other] = pieces[other], pieces[one]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def other_training(folder: Path) -> None:
    """The same shapes, other weights: those of the head are turned around."""
    model = onnx_format.load(str(folder / "model_int8.onnx"))
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("classifier.bias"))
    values = onnx_format.numpy_helper.to_array(bias)
    bias.CopyFrom(onnx_format.numpy_helper.from_array(values[::-1].copy(), bias.name))
    onnx_format.save(model, str(folder / "model_int8.onnx"))


def cut(folder: Path) -> None:
    model = folder / "model_int8.onnx"
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "model: no such folder"),
    "no settings": (
        lambda f: (f / "nertrail.json").unlink(),
        r"model: holds no nertrail\.json: not a model of nertrail",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json: no such file"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json: no such file"),
    "no model": (lambda f: (f / "model_int8.onnx").unlink(), "model: holds no ONNX model"),
    "broken settings": (edited("nertrail.json", "{"), r"nertrail\.json: not a checkpoint's settings"),
    "settings of a list": (edited("nertrail.json", "[]"), r"nertrail\.json: not a checkpoint's settings"),
    "newer settings": (
        settings(schema=2, version="9.1"),
        r"nertrail\.json: has schema 2, written by nertrail 9\.1; this is nertrail \S+, which reads 1",
    ),
    "settings of no schema": (settings(schema=None), r"nertrail\.json: not a checkpoint's settings: schema is None"),
    "settings of a yes": (settings(schema=True), r"nertrail\.json: not a checkpoint's settings: schema is True"),
    "deep settings": (edited("nertrail.json", "[" * 100_000), r"nertrail\.json: .*JSON nested too deeply"),
    "settings without types": (settings(types=None), r"nertrail\.json: .*types is None, not a list of names"),
    "types of numbers": (settings(types=[3]), r"nertrail\.json: .*types is \[3\], not a list of names"),
    "a blank type": (settings(types=["PER", " "]), r"nertrail\.json: .*types is \['PER', ' '\], not a list of names"),
    "a type twice": (settings(types=["PER", "LOC", "PER"]), r"types is .*, not a list of names, each once"),
    "types in another order": (
        settings(types=["ORG", "LOC", "PER"]),
        r"nertrail\.json: .*labels is .*, not O, B- and I- of the types ORG, LOC, PER",
    ),
    "a threshold of no type": (settings(thresholds={"X": 0.5}), r"thresholds is {'X': 0\.5}, not scores of the types"),
    "a threshold too high": (settings(thresholds={"PER": 50}), r"thresholds\.PER is 50, not a number from 0 to 1"),
    "a threshold of text": (settings(thresholds={"PER": "0.5"}), r"thresholds\.PER is '0\.5', not a number"),
    "a threshold that is none": (settings(thresholds={"PER": float("nan")}), r"thresholds\.PER is nan, not a number"),
    "thresholds in a list": (settings(thresholds=[0.5]), r"thresholds is \[0\.5\], not an object"),
    "half a piece": (settings(windows={"max_length": 64.5}), r"windows\.max_length is 64\.5, not a whole number"),
    "a stride of text": (settings(windows={"stride": "8"}), r"windows\.stride is '8', not a whole number"),
    "a stride too long": (settings(windows={"max_length": 8, "stride": 8}), "a stride of 8 in windows of 8 pieces"),
    "windows in a list": (settings(windows=[64, 8]), r"windows is \[64, 8\], not an object"),
    "a backbone of no name": (settings(backbone=3), "backbone is 3, not a text"),
    "digests in a list": (settings(digests=["0"]), r"nertrail\.json: digests is no object of texts"),
    "a list for a configuration": (edited("config.json", "[]"), r"config\.json: not a model's configuration: a list"),
    "deep config": (edited("config.json", '{"a":' * 100_000), r"config\.json: .*JSON nested too deeply"),
    "padding with text": (config(pad_token_id="0"), r"config\.json: .*pad_token_id is '0', not a whole number"),
    "padding with a yes": (config(pad_token_id=True), r"config\.json: .*pad_token_id is True, not a whole number"),
    "padding beyond the pieces": (config(pad_token_id=10**6), "pad_token_id is 1000000, and there are 284 pieces"),
    "half a vocabulary": (config(vocab_size=0.5), r"config\.json: .*vocab_size is 0\.5, not a whole number"),
    "tokenizer of the same size": (permuted_tokenizer, r"tokenizer\.json: is not the file that nertrail\.json"),
    "model of another training": (other_training, r"model_int8\.onnx: is not the file that nertrail\.json"),
    "unknown decoding": (settings(decoding="beam"), r"nertrail\.json: .*decoding is 'beam', not one of"),
    "broken tokenizer": (edited("tokenizer.json", "{}"), r"tokenizer\.json: not a tokenizer"),
    "broken config": (edited("config.json", "{"), r"config\.json: not a model's configuration"),
    "broken model": (edited("model_int8.onnx", "no model"), r"model_int8\.onnx: onnxruntime cannot load it"),
    "cut model": (cut, r"model_int8\.onnx: onnxruntime cannot load it"),
    "other tokenizer": (other_tokenizer, r"tokenizer\.json: knows 287 pieces, the model 284: it is another model's"),
    "empty model": (edited("model_int8.onnx", ""), r"model_int8\.onnx: onnxruntime cannot load it"),
    "other labels": (other_labels, r"model_int8\.onnx: it yields 7 labels, the settings beside it name 3"),
    "other output": (other_output, r"model_int8\.onnx: its outputs are scores, none of them logits"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_folder_that_cannot_be_used_is_told(copy: Path, case: str) -> None:
    spoil, message = SPOILED[case]
    spoil(copy)
    with pytest.raises(ModelError, match=message) as caught:
        Predictor.load(copy)
    assert "→" in str(caught.value)


def test_a_folder_of_an_older_nertrail_has_no_digests(copy: Path) -> None:
    content = json.loads((copy / "nertrail.json").read_text(encoding="utf-8"))
    assert set(content.pop("digests")) == {"model_int8.onnx", "tokenizer.json"}
    (copy / "nertrail.json").write_text(json.dumps(content), encoding="utf-8")
    other_training(copy)
    assert len(Predictor.load(copy, threads=1).predict(TEXTS)) == len(TEXTS)


def test_windows_that_the_model_cannot_take_are_told_and_nothing_else_is_printed(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings(windows={"max_length": 4096, "stride": 32, "words": "pretokenizer"})(copy)
    predictor = Predictor.load(copy, threads=1)
    with pytest.raises(ModelError, match=r"onnxruntime cannot run it on 1 window\(s\) of \d+ pieces") as caught:
        predictor.predict([f"{TEXTS[0]} " * 300])
    assert "keep model, tokenizer and settings of one conversion together" in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_file_is_no_folder(copy: Path) -> None:
    with pytest.raises(ModelError, match="is a file, not a folder"):
        Predictor.load(copy / "nertrail.json")


def test_a_name_that_no_file_has() -> None:
    with pytest.raises(ModelError, match=r"a: cannot be read: File name too long\n.*check the path"):
        Predictor.load("a" * 5000)


def test_a_checkpoint_is_to_be_converted_first(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="nertrail convert"):
        Predictor.load(tiny_checkpoint.path)


def test_an_unknown_device(tiny_served: Path) -> None:
    with pytest.raises(ConfigError, match="unknown device 'tpu'"):
        Predictor.load(tiny_served, device="tpu")


def test_a_model_is_found_below_a_run_dir_and_in_an_mlflow_model(tiny_served: Path, tmp_path: Path) -> None:
    for below in (*(f"artifacts/conversion/{target}" for target in get_args(Target)), "artifacts/model"):
        shutil.copytree(tiny_served, tmp_path / below[-5:] / below)
        assert FolderPredictor(tmp_path / below[-5:]).folder == tmp_path / below[-5:] / below


def test_the_folder_is_portable_and_its_tokenizer_neither_cuts_nor_pads(
    tiny_served: Path, tiny_backbone: Path, predictor: Predictor, tmp_path: Path
) -> None:
    tokenizer = read_tokenizer(tiny_served)
    assert (tokenizer.truncation, tokenizer.padding) == (None, None)
    moved = shutil.copytree(tiny_served, tmp_path / "elsewhere" / "än other")
    assert Predictor.load(moved, threads=1).predict(TEXTS) == predictor.predict(TEXTS)
    for file in tiny_served.iterdir():
        assert str(tiny_backbone).encode() not in file.read_bytes(), file.name


def test_a_local_folder_needs_neither_torch_nor_transformers_nor_mlflow(tiny_served: Path) -> None:
    code = (
        "import sys; from nertrail import Predictor;"
        f"print(len(Predictor.load({str(tiny_served)!r}).predict(['Anna Baker lives in Oslo.'])[0]));"
        "heavy = ('torch', 'transformers', 'mlflow', 'onnx', 'pydantic', 'scipy', 'sklearn', 'pandas', 'yaml');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines(), done.stderr) == (["2", "[]"], "")


def test_an_entity_is_a_plain_tuple() -> None:
    assert Entity(0, 4, "PER", 0.5) == (0, 4, "PER", 0.5)
