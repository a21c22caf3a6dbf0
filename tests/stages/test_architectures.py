"""Architectures other than the quick start's: made from a configuration alone, trained a little, converted, gated."""

from __future__ import annotations

from pathlib import Path

import onnx as onnx_format
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    PreTrainedConfig,
    RobertaConfig,
)

import tiny
from nertrail import Predictor
from nertrail.ner.model import quiet
from nertrail.ner.windows import encode
from nertrail.stages.conversion import ConversionConfig, Texts, convert_model

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WITH, WITHOUT = ["input_ids", "attention_mask", "token_type_ids"], ["input_ids", "attention_mask"]


def config_of(kind: str, vocabulary: int) -> PreTrainedConfig:
    if kind == "distilbert":
        return DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64
        )
    if kind == "roberta":  # counts positions from its padding id on
        return RobertaConfig(
            vocab_size=vocabulary, max_position_embeddings=66, type_vocab_size=1, pad_token_id=0, **SIZE
        )
    if kind == "deberta-v2":
        return DebertaV2Config(
            vocab_size=vocabulary,
            max_position_embeddings=64,
            type_vocab_size=0,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            **SIZE,
        )
    return BertConfig(vocab_size=vocabulary, max_position_embeddings=64, **SIZE)


@pytest.mark.parametrize(
    "kind, inputs", [("bert", WITH), ("distilbert", WITHOUT), ("roberta", WITHOUT), ("deberta-v2", WITHOUT)]
)
def test_an_architecture_converts_and_passes(kind: str, inputs: list[str], tmp_path: Path) -> None:
    backbone = tmp_path / kind
    vocabulary = len(tiny.VOCAB.read_text(encoding="utf-8").splitlines())
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        AutoModel.from_config(config_of(kind, vocabulary)).save_pretrained(backbone)
    tiny.build_tokenizer(backbone)
    checkpoint = tiny.train(tmp_path / "fit", backbone)
    documents = tiny.documents(40, 5)
    texts = Texts(encode(documents, checkpoint.tokenizer(), checkpoint.labels, checkpoint.windows))
    for target in ("onnx_fp32", "onnx_int8"):
        result = convert_model(ConversionConfig(), checkpoint.path, target, tmp_path / "onnx", texts=texts)
        assert result.f1 is not None and result.f1 > 0.5
        assert result.folder is not None and result.model is not None
        assert [value.name for value in onnx_format.load(str(result.model)).graph.input] == inputs
        assert Predictor.load(result.folder).predict(["Anna Baker lives in Oslo."])
