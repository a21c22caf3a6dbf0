"""Scores of a model's logits on encoded documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nertrail.ner.details import details
from nertrail.ner.labels import Floats
from nertrail.ner.scoring import Scores, score
from nertrail.ner.windows import Encoded, predictions, word_loss


def evaluate(encoded: Encoded, logits: Sequence[Floats], method: str = "viterbi", *, detailed: bool = False) -> Scores:
    """Score logits, one array [len(window.first), labels] per window in the order of `encoded.windows`.

    Args:
        detailed: with intervals, kinds of mistakes and scores of parts; what a final score is worth, not an epoch's.
    """
    spans, tags = predictions(encoded, logits, method)
    gold, names = [document.gold for document in encoded.documents], encoded.labels.names
    gold_tags = [[names[tag] for tag in document.tags] for document in encoded.documents]
    found_tags = [[names[tag] for tag in found] for found in tags]
    scores = score(gold, spans, gold_tags, found_tags, encoded.labels.types, word_loss(encoded, logits))
    if not detailed:
        return scores
    sources = [document.document.origin for document in encoded.documents]
    return replace(scores, details=details(gold, spans, gold_tags, found_tags, encoded.labels.types, sources))
