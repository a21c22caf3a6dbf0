"""Record a training of Hugging Face's Trainer: one callback, nothing else changes.

    python examples/huggingface_trainer.py

Recorded in runs/my-trainer, delivered to MLFLOW_TRACKING_URI, or else to mlflow.db in the working directory. The model
is a two-layer BERT with random weights that learns to tell odd numbers from even ones: no download is needed.
"""

from __future__ import annotations

import tempfile

import torch
from transformers import BertConfig, BertForTokenClassification, Trainer, TrainingArguments

from nertrail.tracking.callbacks import TransformersCallback
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker

NUMBERS = 50


def examples(count: int) -> list[dict[str, torch.Tensor]]:
    """Sequences of eight numbers, each labelled 1 where it is odd."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(NUMBERS, (count, 8), generator=generator)
    return [{"input_ids": row, "labels": row % 2} for row in rows]


def main() -> None:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=NUMBERS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=2,
    )
    tracker = MLflowTrainingTracker("my-trainer")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=2, learning_rate=5e-3, logging_steps=5, eval_strategy="epoch", save_strategy="no",
            disable_tqdm=True, use_cpu=True, report_to="none",
        )  # fmt: skip
        model = BertForTokenClassification(config)
        with TransformersCallback(tracker) as callback:
            data = {"train_dataset": examples(128), "eval_dataset": examples(32)}
            Trainer(model, arguments, callbacks=[callback], **data).train()
    receipt = tracker.flush()
    assert tracker.run is not None
    print(f"run {tracker.run.uid}: {receipt.delivered} of {receipt.written} records delivered")
    tracker.close()


if __name__ == "__main__":
    main()
