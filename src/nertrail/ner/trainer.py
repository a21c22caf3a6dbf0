"""Fine-tuning: settings in, the best checkpoint and plain history out. Who listens is the caller's affair."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from nertrail.errors import ConfigError, DataError
from nertrail.ner import ranks
from nertrail.ner.backbone import Backbone, check_room, quiet
from nertrail.ner.checkpoint import Checkpoint, load_checkpoint
from nertrail.ner.history import METRICS, Epoch
from nertrail.ner.labels import METHODS, LabelSet
from nertrail.ner.loop import Keeper, Listeners, Loop, arguments, deterministic, last_resume, read_history
from nertrail.ner.memory import kept_memory
from nertrail.ner.model import continue_model, load_model
from nertrail.ner.scoring import Scores
from nertrail.ner.windows import Encoded

__all__ = ["Epoch", "FitSettings", "Fitted", "fit", "precision_of"]

CHOICES = {
    "metric": METRICS,
    "decoding": METHODS,
    "precision": ("auto", "bf16", "fp32"),
    "batching": ("length", "shuffle", "bucket", "sequential"),
}


@dataclass(frozen=True)
class FitSettings:
    """Hyperparameters of one training.

    Attributes:
        dropout: for all dropout fields of the architecture; None keeps the backbone's.
        warmup: share of all steps during which the learning rate rises; then it falls linearly to 0.
        precision: "bf16", "fp32", or "auto": bf16 where the hardware computes in it.
        patience: stop after so many epochs without a better `metric`; None never stops.
        batch_size: windows per step, of each process where several train.
        batching: "bucket" (windows of like length together, less padding; the batches in random order and every
            labelled piece of equal weight), "length" (each batch of equal weight), "shuffle" or "sequential" (in the
            data's order).
    """

    learning_rate: float = 5e-4
    batch_size: int = 8
    epochs: int = 3
    dropout: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    label_smoothing: float = 0.0
    seed: int = 42
    precision: str = "auto"
    patience: int | None = None
    metric: str = "macro-f1-span"
    decoding: str = "viterbi"
    max_grad_norm: float = 1.0
    batching: str = "bucket"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                remedy = f"use one of {', '.join(choices)}"
                raise ConfigError(f"unknown value {getattr(self, name)!r}", place=name, remedy=remedy)
        if self.epochs < 1 or self.batch_size < 1:
            found = f"epochs is {self.epochs}, batch_size is {self.batch_size}"
            raise ConfigError(found, place="training", remedy="use at least 1 of each")
        if not 0 <= self.warmup < 1:
            remedy = "use a share of the steps, from 0 to below 1"
            raise ConfigError(f"warmup is {self.warmup}", place="warmup", remedy=remedy)


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes:
        scores: of the best epoch on the validation data, in `precision`; an fp32 score needs the checkpoint reloaded.
        tokens_per_second: pieces trained on (padding aside) per second of training (evaluation aside), over all
            parts of a training that was interrupted.
        precision: the one used, never "auto".
    """

    checkpoint: Checkpoint
    best_epoch: int
    scores: Scores
    history: tuple[Epoch, ...]
    tokens_per_second: float
    precision: str


def fit(
    backbone: Backbone,
    labels: LabelSet,
    train: Encoded,
    validation: Encoded,
    tokenizer: Tokenizer,
    settings: FitSettings,
    out_dir: Path,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    start: Checkpoint | None = None,
    resume: bool = False,
    keep_resume: bool = False,
    run_uid: str | None = None,
) -> Fitted:
    """Fine-tune a backbone and keep the checkpoint of the best epoch in `out_dir`/best.

    In each of several processes that torchrun or accelerate started, all return the same, and the first writes.

    Args:
        on_epoch: called after each epoch's evaluation; what it raises ends the training and passes through.
        on_step: called after each step with the steps done and their total.
        start: go on from these weights instead of the backbone's.
        resume: continue from `out_dir`/resume, if anything is there; its numbers equal those of one uninterrupted run.
        keep_resume: write `out_dir`/resume after each epoch.
        run_uid: the run that the checkpoint names as the one that made it.

    Raises:
        TrialError: a loss or a metric is not finite.
        ModelError: the backbone can't be loaded, or its positions are fewer than the windows' length.
        DataError: a split has no text.
    """
    _check_texts(train, validation)
    precision = precision_of(settings.precision)
    # connects this process with the training's others, if there are any
    given = arguments(settings, precision, out_dir / "resume" if keep_resume else out_dir, keep_resume)
    found = _room(out_dir, resume)
    history = read_history(found, settings.metric)
    with quiet(), deterministic(), kept_memory():
        model = _model(backbone, labels, settings, start)
        check_room(model.config, max(split.settings.max_length for split in (train, validation)))
        loop = Loop(
            model,
            given,
            train,
            Keeper(out_dir / "best", tokenizer, backbone.name, validation, settings, run_uid),
            history,
            Listeners(on_epoch, on_step),
        )
        if not history.exhausted(settings.patience):
            loop.train(resume_from_checkpoint=str(found) if found else None)
    assert history.best_scores is not None, "a training has at least one epoch"
    return Fitted(
        checkpoint=load_checkpoint(out_dir / "best"),
        best_epoch=history.best_epoch,
        scores=history.best_scores,
        history=tuple(history.epochs),
        tokens_per_second=history.pieces / history.seconds,
        precision=precision,
    )


def precision_of(wanted: str) -> str:
    """The precision to train in: "auto" is bf16 where the GPU or the CPU computes in it, else fp32."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    flags = torch.cpu.get_capabilities()  # emulated bf16 is slower than fp32, so the instructions must be there
    return "bf16" if flags.get("avx512_bf16") or flags.get("amx_tile") else "fp32"


def _model(backbone: Backbone, labels: LabelSet, settings: FitSettings, start: Checkpoint | None) -> PreTrainedModel:
    if start is not None:
        return continue_model(start, labels, dropout=settings.dropout, seed=settings.seed)
    return load_model(backbone, labels, dropout=settings.dropout, seed=settings.seed)


def _room(out_dir: Path, resume: bool) -> Path | None:
    """The resume folder to go on from, or None and an empty place: no older training's files beside the new one's."""
    found = ranks.agreed(last_resume(out_dir / "resume") if resume else None)
    if found is None and ranks.rank() == 0:
        for name in ("best", "resume"):
            shutil.rmtree(out_dir / name, ignore_errors=True)
    ranks.wait()
    return found


def _check_texts(train: Encoded, validation: Encoded) -> None:
    for name, encoded in (("train", train), ("validation", validation)):
        if not encoded.windows:
            raise DataError("no text that the backbone can read", place=f"{name} split", remedy="check the data's path")
