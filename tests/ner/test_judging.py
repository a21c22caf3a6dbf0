"""What is counted when a model is judged, and in which layout it is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from nertrail import Predictor
from nertrail.ner.checkpoint import Checkpoint
from nertrail.ner.documents import Document, Span
from nertrail.ner.entities import Entity
from nertrail.ner.evaluation import evaluate
from nertrail.ner.judging import Judged, compare, judge
from nertrail.ner.predictor import OnnxRecognizer, TorchRecognizer, run
from nertrail.ner.windows import encode

GOLD = (frozenset({Span(0, 2, "A"), Span(3, 5, "B")}), frozenset[Span]())
RIGHT = ((Entity(0, 2, "A", 0.9), Entity(3, 5, "B", 0.9)), ())
WRONG = ((Entity(0, 2, "B", 0.9),), (Entity(0, 1, "A", 0.1),))


def test_counts() -> None:
    assert Judged(GOLD, RIGHT).counts.tolist() == [[2, 2, 2], [0, 0, 0]]
    assert Judged(GOLD, WRONG).counts.tolist() == [[0, 2, 1], [0, 0, 1]]


def test_a_comparison() -> None:
    found = compare(Judged(GOLD, RIGHT), Judged(GOLD, WRONG))
    assert (found.before, found.after, found.changed, found.kept) == (1.0, 0.0, 1.0, 0.0)
    assert found.drop.low >= 0 and found.drop.high == 1.0
    assert "0.00% kept" in str(found)
    assert compare(Judged(GOLD, RIGHT), Judged(GOLD, RIGHT)).changed == 0.0


def test_there_may_be_nothing_to_lose() -> None:
    assert compare(Judged((), ()), Judged((), ())).kept == 1.0


def test_the_score_is_that_of_evaluation(tiny_checkpoint: Checkpoint) -> None:
    documents = tiny.documents(30, 8)
    recognizer = TorchRecognizer(tiny_checkpoint)
    encoded = encode(documents, recognizer.tokenizer, recognizer.labels, recognizer.windows)
    expected = evaluate(encoded, run(recognizer, encoded), recognizer.decoding).micro_f1_span
    assert judge(recognizer, documents).f1 == pytest.approx(expected)


def test_a_model_is_judged_on_the_very_answers_that_production_gives(tiny_served: Path) -> None:
    """int8 answers depend on what else is in the batch: any other batching would judge other answers."""
    documents = [replace(document, spans=()) for document in tiny.documents(300, 8)]
    predictor = Predictor.load(tiny_served, threads=1)
    answers = predictor.predict(document.text for document in documents)
    judged = judge(OnnxRecognizer(tiny_served, threads=1), documents)
    assert [list(found) for found in judged.found] == answers
    alone = [predictor.predict([document.text])[0] for document in documents]
    assert [entity.score for found in alone for entity in found] != [e.score for found in answers for e in found]


def test_spans_inside_words_stay_in_the_gold(tiny_checkpoint: Checkpoint) -> None:
    document = Document("a", "Anna lives in Oslo.", (Span(0, 2, "PER"), Span(14, 18, "LOC")))
    judged = judge(TorchRecognizer(tiny_checkpoint), [document])
    assert judged.gold == (frozenset(document.spans),)
    assert judged.counts[0, 1] == 2
