"""A split as a trained model sees it: predictions, scores, and the files that a training's run shows of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nertrail.records import write_json
from nertrail.stages.environment import environment

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.documents import Document
    from nertrail.ner.scoring import Scores
    from nertrail.ner.trainer import Fitted
    from nertrail.ner.windows import Encoded


@dataclass(frozen=True)
class Scored:
    """A split's predictions and scores."""

    encoded: Encoded
    spans: list[frozenset[Any]]
    scores: Scores

    @classmethod
    def of(cls, checkpoint: Checkpoint, encoded: Encoded) -> Scored:
        from nertrail.ner.evaluation import evaluate
        from nertrail.ner.predictor import TorchRecognizer, run
        from nertrail.ner.windows import predictions

        logits = run(TorchRecognizer(checkpoint), encoded)
        spans, _ = predictions(encoded, logits, checkpoint.decoding)
        return cls(encoded, spans, evaluate(encoded, logits, checkpoint.decoding, detailed=True))

    def errors(self) -> list[dict[str, Any]]:
        """The texts whose prediction differs from the gold, with what was missed and what was made up."""
        rows = []
        for document, predicted in zip(self.encoded.documents, self.spans, strict=True):
            if predicted != document.gold:
                text = document.document.text
                rows.append(
                    {
                        "id": document.document.id,
                        "missed": [[*span, text[span.start : span.end]] for span in sorted(document.gold - predicted)],
                        "spurious": [
                            [*span, text[span.start : span.end]] for span in sorted(predicted - document.gold)
                        ],
                    }
                )
        return rows


def encoded_for(checkpoint: Path, documents: Iterable[Document]) -> Encoded:
    """Texts as a checkpoint's own tokenizer and labels see them, in its windows."""
    from nertrail.ner.checkpoint import load_checkpoint
    from nertrail.ner.windows import encode

    model = load_checkpoint(checkpoint)
    return encode(documents, model.tokenizer(), model.labels, model.windows)


def write_files(
    folder: Path,
    params: Mapping[str, Any],
    validation: Scored,
    test: Scored | None,
    fitted: Fitted,
    *,
    show_texts: bool,
) -> dict[str, Path]:
    """Write what the run shows beside its numbers; texts only where they may leave the run dir."""
    from nertrail import plots

    scores = {"validation": validation.scores.document(), "test": test.scores.document() if test else None}
    history = [
        {"epoch": e.number, **e.metrics, "train_loss": e.train_loss, "learning_rate": e.learning_rate}
        for e in fitted.history
    ]
    files = {
        "metrics.json": write_json(
            folder / "metrics.json", {**scores, "history": history, "best_epoch": fitted.best_epoch}
        ),
        "config.yaml": _write_yaml(folder / "config.yaml", params),
        "label_map.json": write_json(folder / "label_map.json", fitted.checkpoint.labels.id2label),
        "environment.json": write_json(folder / "environment.json", environment()),
        "confusion_matrix.png": plots.confusion_matrix(validation.scores.confusion, folder / "confusion_matrix.png"),
    }
    if show_texts:
        files["errors.jsonl"] = _write_lines(folder / "errors.jsonl", validation.errors())
    return files


def _write_yaml(path: Path, values: Mapping[str, Any]) -> Path:
    import yaml

    path.write_text(yaml.safe_dump(dict(values), sort_keys=False), encoding="utf-8")
    return path


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
