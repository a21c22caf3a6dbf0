"""A backbone and a corpus small enough for unit tests: real parts, two layers of 32, milliseconds per step."""

from __future__ import annotations

import json
import random
from pathlib import Path

from nertrail.ner.checkpoint import Checkpoint
from nertrail.ner.readers import Document, Span

VOCAB = Path(__file__).parent / "fixtures" / "vocab.txt"
TYPES = ("LOC", "ORG", "PER")

FIRST = ["anna", "boris", "clara", "dmitri", "elena", "felix", "greta", "hugo"]
LAST = ["archer", "baker", "carter", "draper", "fisher", "mason", "potter", "weaver"]
PLACES = ["berlin", "lisbon", "madrid", "oslo", "paris", "prague", "rome", "vienna"]
SUFFIXES = ["bank", "group", "labs", "works"]
TEMPLATES = (
    "{PER} lives in {LOC}.",
    "{PER} and {PER} work for {ORG}.",
    "the office of {ORG} in {LOC} is open.",
    "yesterday {PER} left {LOC}, and {ORG} was glad.",
    "it was a long day in the rain.",
)


def build_backbone(folder: Path, seed: int = 0) -> Path:
    """Write a two-layer BERT of seeded weights (hidden 32, intermediate 64, 128 positions) and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    from nertrail.ner.model import quiet

    config = BertConfig(
        vocab_size=len(VOCAB.read_text(encoding="utf-8").splitlines()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    build_tokenizer(folder)
    return folder


def build_tokenizer(folder: Path) -> Path:
    """Write tokenizer.json, cutting and padding at 32 pieces as all-MiniLM's does at 128: not clearing that shows."""
    from tokenizers import BertWordPieceTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = BertWordPieceTokenizer(str(VOCAB), lowercase=True)
    tokenizer.enable_truncation(32)
    tokenizer.enable_padding(length=32)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def documents(n: int, seed: int = 0) -> list[Document]:
    """Sentences with people, places and organisations; organisations begin with a word of a person or a place."""
    rng = random.Random(seed)
    return [_document(f"tiny-{seed}-{number}", rng) for number in range(n)]


def write_corpus(folder: Path, train: int = 60, validation: int = 20, test: int = 20) -> Path:
    """Write train.jsonl, dev.jsonl and test.jsonl: {"id", "text", "entities": [[start, end, type], ...]}.

    No text comes twice, as the reader would say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen = set[str]()
    for name, count, seed in (("train", train, 1), ("dev", validation, 2), ("test", test, 3)):
        fresh = {each.text: each for each in documents(20 * count, seed) if each.text not in seen}
        found = list(fresh.values())[:count]
        seen |= {each.text for each in found}
        rows = [{"id": each.id, "text": each.text, "entities": [list(span) for span in each.spans]} for each in found]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def _document(identity: str, rng: random.Random) -> Document:
    text, spans, rest = "", [], rng.choice(TEMPLATES)
    while "{" in rest:
        before, _, rest = rest.partition("{")
        kind, _, rest = rest.partition("}")
        name = _name(kind, rng)
        spans.append(Span(len(text + before), len(text + before + name), kind))
        text += before + name
    return Document(identity, text + rest, tuple(spans))


def _name(kind: str, rng: random.Random) -> str:
    if kind == "PER":
        return " ".join([rng.choice(FIRST), rng.choice(LAST)][: rng.choice((1, 2, 2))]).title()
    if kind == "ORG":
        return f"{rng.choice(LAST + PLACES)} {rng.choice(SUFFIXES)}".title()
    return rng.choice(PLACES).title()


def train(folder: Path, backbone: Path, epochs: int = 4) -> Checkpoint:
    """Train the backbone on the toy corpus until it gets nearly everything right; about three seconds."""
    from nertrail.ner.labels import LabelSet
    from nertrail.ner.model import Backbone, load_tokenizer
    from nertrail.ner.trainer import FitSettings, fit
    from nertrail.ner.windows import WindowSettings, encode

    labels, source = LabelSet(TYPES), Backbone("tiny", str(backbone))
    tokenizer = load_tokenizer(source)
    train, validation = (encode(documents(n, n), tokenizer, labels, WindowSettings(24, 8)) for n in (60, 5))
    settings = FitSettings(learning_rate=8e-3, epochs=epochs, precision="fp32")
    return fit(source, labels, train, validation, tokenizer, settings, folder).checkpoint


def serve(folder: Path, checkpoint: Checkpoint) -> Path:
    """Convert a checkpoint to int8 in `folder`; return the folder that serves it."""
    from nertrail.ner.onnx import export_fp32, quantize_int8

    return quantize_int8(export_fp32(checkpoint, folder / "fp32"), folder / "int8").parent
