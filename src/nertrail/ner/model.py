"""Token classifiers made of backbones: loaded, continued, saved."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForTokenClassification, PreTrainedModel

from nertrail.errors import ModelError
from nertrail.ner.backbone import Backbone, as_model_error, load_config, load_tokenizer, max_positions, quiet, resolve
from nertrail.ner.checkpoint import Checkpoint, load_checkpoint, replace_folder, write_manifest
from nertrail.ner.labels import Floats, LabelSet
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


def load_model(
    backbone: Backbone,
    labels: LabelSet,
    *,
    dropout: float | None = None,
    attention: str | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """The backbone with a new head for the labels, in fp32.

    Args:
        dropout: set in every dropout field that the architecture has; None keeps the backbone's own.
        attention: "eager" where the graph has to be read by others; None: the fastest that the architecture has.
        seed: of the head's weights.

    Raises:
        ModelError: unknown backbone, one without safetensors, or one whose weights don't fit its architecture.
    """
    source = resolve(backbone.source)
    with quiet(), as_model_error(backbone), torch.random.fork_rng():
        config = load_config(backbone)
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


def check_weights(backbone: Backbone) -> None:
    """Raise ModelError where the weights of a local folder can't be loaded; a hub's are not fetched."""
    if isinstance(resolve(backbone.source), Path):
        load_model(backbone, LabelSet(("X",)))


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


def model_of(checkpoint: Checkpoint, attention: str | None = None) -> PreTrainedModel:
    """The checkpoint's model in fp32, ready to predict."""
    with quiet(), as_model_error(Backbone(checkpoint.backbone_name, str(checkpoint.path))):
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


def window_logits(model: PreTrainedModel, windows: Sequence[Window], pad_id: int) -> list[Floats]:
    """Logits of the words' first pieces, one array [len(window.first), labels] per window, as one padded batch."""
    ids, mask = pad_batch(windows, pad_id)
    with torch.inference_mode():
        device = model.device
        batch = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(mask).to(device)}
        logits = model(**batch).logits.float().cpu().numpy()
    return [rows[list(window.first)] for rows, window in zip(logits, windows, strict=True)]


def _configure(config: Any, backbone: Backbone, labels: LabelSet, dropout: float | None) -> None:
    config.id2label = labels.id2label
    config.label2id = {name: index for index, name in labels.id2label.items()}
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
