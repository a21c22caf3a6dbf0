"""Scores of a model's logits on encoded documents."""

from __future__ import annotations

from collections.abc import Sequence

from nertrail.ner.labels import Floats
from nertrail.ner.scoring import Scores, score
from nertrail.ner.windows import Encoded, predictions, word_loss


def evaluate(encoded: Encoded, logits: Sequence[Floats], method: str = "viterbi") -> Scores:
    """Score logits, one array [len(window.first), labels] per window in the order of `encoded.windows`."""
    spans, tags = predictions(encoded, logits, method)
    names = encoded.labels.names
    return score(
        gold=[document.gold for document in encoded.documents],
        predicted=spans,
        gold_tags=[[names[tag] for tag in document.tags] for document in encoded.documents],
        predicted_tags=[[names[tag] for tag in found] for found in tags],
        types=encoded.labels.types,
        loss=word_loss(encoded, logits),
    )
