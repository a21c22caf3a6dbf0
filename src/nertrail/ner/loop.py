"""The training loop: transformers' Trainer with our loss, our evaluation in dataset order, and our checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from nertrail.errors import TrialError
from nertrail.ner import ranks
from nertrail.ner.checkpoint import pad_id
from nertrail.ner.evaluation import evaluate
from nertrail.ner.history import Epoch, History
from nertrail.ner.labels import Floats
from nertrail.ner.model import save_checkpoint, window_logits
from nertrail.ner.order import Order, bucketed, generator
from nertrail.ner.predictor import BATCH_PIECES, batches
from nertrail.ner.scoring import Scores
from nertrail.ner.windows import IGNORED, Encoded

if TYPE_CHECKING:
    from nertrail.ner.trainer import FitSettings

SAMPLING = {"length": "group_by_length", "shuffle": "random", "bucket": "random", "sequential": "sequential"}
STATE = "trainer_state.json"


@dataclass(frozen=True)
class Listeners:
    """Who wants to know; what they raise ends the training."""

    on_epoch: Callable[[Epoch], None] | None = None
    on_step: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Keeper:
    """How a model is scored, and where the best one is kept."""

    path: Path
    tokenizer: Tokenizer
    backbone_name: str
    validation: Encoded
    settings: FitSettings
    run_uid: str | None = None

    def scores(self, model: PreTrainedModel) -> Scores:
        """Scores on the validation data, in dataset order whatever order training takes.

        Where several processes train, each computes its share and all get the scores of the whole.
        """
        pad, windows = pad_id(model.config.to_dict()), self.validation.windows
        shares = list(batches([len(window.input_ids) for window in windows], BATCH_PIECES))
        found: dict[int, Floats] = {}
        model.eval()
        for share in shares[ranks.rank() :: ranks.world()]:
            found.update(zip(share, window_logits(model, [windows[index] for index in share], pad), strict=True))
        logits = {index: rows for part in ranks.collected(found) for index, rows in part.items()}
        return evaluate(self.validation, [logits[index] for index in range(len(windows))], self.settings.decoding)

    def save(self, model: PreTrainedModel) -> None:
        """Keep the model; the first process writes, the others go on when it has."""
        if ranks.rank() == 0:
            self._write(model)
        ranks.wait()

    def _write(self, model: PreTrainedModel) -> None:
        save_checkpoint(
            model,
            self.tokenizer,
            self.path,
            backbone_name=self.backbone_name,
            labels=self.validation.labels,
            windows=self.validation.settings,
            decoding=self.settings.decoding,
            run_uid=self.run_uid,
        )


class Loop(Trainer):  # type: ignore[misc]  # transformers is not typed
    """One training; what it has trained on, and for how long, is counted in its history."""

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        train: Encoded,
        keeper: Keeper,
        history: History,
        listeners: Listeners,
    ) -> None:
        collate, rows = _Collator(pad_id(model.config.to_dict())), _rows(train)
        super().__init__(
            model, args, collate, rows, eval_dataset=[], callbacks=[_Watch(self)]
        )  # evaluate() has its own
        self.remove_callback(PrinterCallback)
        self.keeper, self.history, self.listeners = keeper, history, listeners
        self.pieces, self.since = 0, 0.0  # of this epoch, in this process
        self._mean_labelled = _labelled(rows) / max(1, math.ceil(len(rows) / keeper.settings.batch_size))

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        """The order of each epoch; that of "length" is transformers' own, but where several processes must agree."""
        settings, lengths = self.keeper.settings, [len(row["input_ids"]) for row in self.train_dataset]
        draws = {"bucket": bucketed, "length": _grouped} if ranks.world() > 1 else {"bucket": bucketed}
        draw = draws.get(settings.batching)
        if draw is None:
            own: Sampler[int] | None = super()._get_train_sampler(train_dataset)
            return own
        return Order(
            len(lengths),
            lambda epoch: draw(lengths, settings.batch_size, generator(settings.seed, epoch)),
            lambda: round(self.state.epoch or 0),
        )

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Cross-entropy of the batch's labelled pieces: their mean, 0 if there are none.

        In buckets it is their sum over the mean number of a batch: with batches of like length, a mean of each would
        let a piece in short texts weigh many times one in long texts.
        """
        labels = inputs.pop("labels").flatten()
        logits = model(**inputs).logits.float()
        smoothing = self.keeper.settings.label_smoothing
        total = cross_entropy(
            logits.flatten(0, 1), labels, ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum"
        )
        if self.keeper.settings.batching == "bucket":
            return total / max(self._mean_labelled, 1.0)
        return total / (labels != IGNORED).sum().clamp(min=1)

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> torch.Tensor:
        self.pieces += int(inputs["attention_mask"].sum())
        loss: torch.Tensor = super().training_step(model, inputs, *rest, **more)
        if not torch.isfinite(loss):
            rate = self.keeper.settings.learning_rate
            raise TrialError(f"the loss is {loss.item()} at step {self.state.global_step + 1}; learning_rate is {rate}")
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score an epoch, keep the model if it is the best, tell the listener, stop if patience is over."""
        self.history.seconds += time.perf_counter() - self.since
        self.history.pieces += sum(ranks.collected(self.pieces))
        scores = self.keeper.scores(self.model)
        logged = self.state.log_history[-1]
        epoch = Epoch(len(self.history.epochs) + 1, scores.metrics(), logged["loss"], logged["learning_rate"])
        _check_finite(epoch)
        if self.history.add(epoch, scores):
            self.keeper.save(self.model)
        if self.listeners.on_epoch is not None:
            self.listeners.on_epoch(epoch)
        if self.history.exhausted(self.keeper.settings.patience):
            self.control.should_training_stop = True
        return epoch.metrics

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights and history of a resume folder, without the pickled arguments that the Trainer adds."""
        folder = Path(output_dir or self.args.output_dir)
        self.model.save_pretrained(folder)
        (folder / "history.json").write_text(json.dumps(self.history.to_json()), encoding="utf-8")


class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Starts clock and count of an epoch, and passes the steps on."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._loop.pieces, self._loop.since = 0, time.perf_counter()

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if self._loop.listeners.on_step is not None:
            self._loop.listeners.on_step(state.global_step, state.max_steps)


@dataclass(frozen=True)
class _Collator:
    """Rows to a batch as long as its longest row."""

    pad: int

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        ids, labels = torch.full((len(rows), longest), self.pad), torch.full((len(rows), longest), IGNORED)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[number, :length], labels[number, :length] = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
            mask[number, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def arguments(settings: FitSettings, precision: str, folder: Path, keep_resume: bool) -> TrainingArguments:
    """Our settings in the Trainer's words, and everything quiet."""
    cuda = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        num_train_epochs=settings.epochs,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup,  # below 1 it is a share
        lr_scheduler_type="linear",
        max_grad_norm=settings.max_grad_norm,
        train_sampling_strategy=SAMPLING[settings.batching],
        seed=settings.seed,  # of python, numpy and torch, set by the Trainer's constructor
        data_seed=settings.seed,
        bf16=precision == "bf16",
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        eval_strategy="epoch",
        save_strategy="epoch" if keep_resume else "no",
        save_total_limit=1,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )


def last_resume(folder: Path) -> Path | None:
    """The newest complete resume folder; its state file is the last to be written."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{STATE}") if _is_json(path)]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def read_history(resume: Path | None, metric: str) -> History:
    """The history that a resume folder ends with, or an empty one."""
    if resume is None:
        return History(metric)
    return History.from_json(json.loads((resume / "history.json").read_text(encoding="utf-8")))


@contextmanager
def deterministic() -> Iterator[None]:
    """Only reproducible kernels, where there is a choice: on a GPU."""
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(before or torch.cuda.is_available(), warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


def _rows(encoded: Encoded) -> list[dict[str, list[int]]]:
    return [
        {"input_ids": list(window.input_ids), "labels": window.labels(encoded.documents[window.document].tags)}
        for window in encoded.windows
    ]


def _labelled(rows: Sequence[dict[str, list[int]]]) -> int:
    """How many pieces carry a label."""
    return sum(label != IGNORED for row in rows for label in row["labels"])


def _grouped(lengths: Sequence[int], batch_size: int, chance: torch.Generator) -> list[int]:
    indices: list[int] = get_length_grouped_indices(list(lengths), batch_size, generator=chance)
    return indices


def _check_finite(epoch: Epoch) -> None:
    for name, value in {**epoch.metrics, "train_loss": epoch.train_loss}.items():
        if not math.isfinite(value):
            raise TrialError(f"{name} is {value} after epoch {epoch.number}")


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
