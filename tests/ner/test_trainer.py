from __future__ import annotations

import dataclasses
import json
import random
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import tiny
from nertrail.errors import ConfigError, DataError, ModelError, TrialError
from nertrail.ner import loop
from nertrail.ner.checkpoint import Checkpoint
from nertrail.ner.documents import Document, Span
from nertrail.ner.evaluation import evaluate
from nertrail.ner.history import Epoch, History
from nertrail.ner.labels import LabelSet
from nertrail.ner.model import Backbone, load_tokenizer
from nertrail.ner.predictor import TorchRecognizer, run
from nertrail.ner.trainer import FitSettings, Fitted, fit, precision_of
from nertrail.ner.windows import Encoded, WindowSettings, encode

LABELS = LabelSet(tiny.TYPES)
SETTINGS = FitSettings(learning_rate=8e-3, epochs=3, precision="fp32", warmup=0.0)
BRIEF = replace(SETTINGS, epochs=1)


class Task(NamedTuple):
    backbone: Backbone
    train: Encoded
    validation: Encoded
    tokenizer: Tokenizer

    def fit(self, out: Path, settings: FitSettings = SETTINGS, **more: Any) -> Fitted:
        return fit(self.backbone, LABELS, self.train, self.validation, self.tokenizer, settings, out, **more)


@pytest.fixture(scope="module")
def task(tiny_backbone: Path) -> Task:
    backbone = Backbone("tiny", str(tiny_backbone))
    tokenizer, windows = load_tokenizer(backbone), WindowSettings(12, 4)
    train, validation = (encode(tiny.documents(n, seed), tokenizer, LABELS, windows) for n, seed in ((40, 1), (16, 2)))
    return Task(backbone, train, validation, tokenizer)


@pytest.fixture(scope="module")
def fitted(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return task.fit(tmp_path_factory.mktemp("fit") / "out")


@pytest.fixture(scope="module")
def brief(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return task.fit(tmp_path_factory.mktemp("brief") / "out", BRIEF)


def rescored(checkpoint: Checkpoint, encoded: Encoded) -> dict[str, float]:
    recognizer = TorchRecognizer(checkpoint)
    return evaluate(encoded, run(recognizer, encoded), checkpoint.decoding).metrics()


def one_by_one(checkpoint: Checkpoint, encoded: Encoded) -> dict[str, float]:
    """Scores from one window after the other: no batch, so no order to get wrong."""
    recognizer = TorchRecognizer(checkpoint)
    logits = [recognizer.logits([window])[0] for window in encoded.windows]
    return evaluate(encoded, logits, checkpoint.decoding).metrics()


class TestFit:
    def test_learns(self, fitted: Fitted) -> None:
        assert fitted.scores.macro_f1_span > 0.5
        assert [epoch.number for epoch in fitted.history] == [1, 2, 3]
        assert fitted.history[0].train_loss > fitted.history[-1].train_loss
        assert fitted.tokens_per_second > 0

    def test_best_epoch(self, fitted: Fitted) -> None:
        values = [epoch.metrics["macro-f1-span"] for epoch in fitted.history]
        assert fitted.best_epoch == 1 + values.index(max(values))
        assert fitted.scores.metrics() == fitted.history[fitted.best_epoch - 1].metrics

    def test_reloaded_best_checkpoint_scores_the_same(self, fitted: Fitted, task: Task) -> None:
        assert rescored(fitted.checkpoint, task.validation) == pytest.approx(fitted.scores.metrics(), abs=1e-6)

    def test_only_safe_files(self, fitted: Fitted) -> None:
        out = fitted.checkpoint.path.parent
        assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".safetensors", ".json"}
        assert [path.name for path in out.iterdir()] == ["best"]

    def test_says_nothing(self, task: Task, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            task.fit(tmp_path, BRIEF, keep_resume=True)
        assert capfd.readouterr() == ("", "")

    def test_steps_and_epochs_are_told(self, task: Task, tmp_path: Path) -> None:
        steps: list[tuple[int, int]] = []
        epochs: list[Epoch] = []
        fitted = task.fit(tmp_path, on_step=lambda done, total: steps.append((done, total)), on_epoch=epochs.append)
        total = 3 * -(-len(task.train.windows) // 8)
        assert steps == [(done, total) for done in range(1, total + 1)]
        assert tuple(epochs) == fitted.history

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory"), SystemExit(3)])
    def test_what_a_listener_raises_passes_through(self, task: Task, tmp_path: Path, error: BaseException) -> None:
        def listener(_: Epoch) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            task.fit(tmp_path, on_epoch=listener)
        assert caught.value is error
        assert error.__cause__ is None

    def test_a_new_training_leaves_nothing_of_an_old_one(self, task: Task, tmp_path: Path) -> None:
        (tmp_path / "resume" / "checkpoint-1").mkdir(parents=True)
        (tmp_path / "best").mkdir()
        (tmp_path / "best" / "old.json").touch()
        task.fit(tmp_path, BRIEF)
        assert not (tmp_path / "resume").exists()
        assert not (tmp_path / "best" / "old.json").exists()


class TestOrder:
    @pytest.mark.parametrize("batching", ["length", "shuffle", "bucket"])
    def test_evaluation_reads_the_data_in_its_order(self, task: Task, tmp_path: Path, batching: str) -> None:
        """Batches by length shuffle the Trainer's own evaluation: gold and prediction would not belong together."""
        fitted = task.fit(tmp_path, replace(SETTINGS, batching=batching))
        assert fitted.scores.macro_f1_span > 0.5
        assert one_by_one(fitted.checkpoint, task.validation) == pytest.approx(fitted.scores.metrics(), abs=1e-6)


class TestSeed:
    def test_same_seed_same_numbers(self, fitted: Fitted, task: Task, tmp_path: Path) -> None:
        random.seed(99)
        np.random.seed(99)
        torch.manual_seed(99)
        again = task.fit(tmp_path)
        assert again.history == fitted.history
        assert again.scores == fitted.scores
        one, two = ((f.checkpoint.path / "model.safetensors").read_bytes() for f in (again, fitted))
        assert one == two

    def test_other_seed_other_numbers(self, fitted: Fitted, task: Task, tmp_path: Path) -> None:
        assert task.fit(tmp_path, replace(SETTINGS, seed=43)).history != fitted.history

    def test_seed_is_also_that_of_order_and_dropout(self, fitted: Fitted, task: Task, tmp_path: Path) -> None:
        """From one checkpoint, so that the head is no part of the difference."""
        one, two = (task.fit(tmp_path, replace(BRIEF, seed=seed), start=fitted.checkpoint) for seed in (1, 2))
        assert one.history != two.history

    def test_precision_of_one_training_does_not_stay_for_the_next(
        self, fitted: Fitted, task: Task, tmp_path: Path
    ) -> None:
        low = task.fit(tmp_path / "bf16", replace(SETTINGS, precision="bf16"))
        assert (low.precision, fitted.precision) == ("bf16", "fp32")
        assert low.history != fitted.history
        assert task.fit(tmp_path / "fp32").history == fitted.history


class TestResume:
    @pytest.mark.parametrize("batching", ["length", "shuffle", "bucket"])
    def test_ends_as_if_never_interrupted(self, task: Task, tmp_path: Path, batching: str) -> None:
        settings = replace(SETTINGS, batching=batching, dropout=0.2, warmup=0.2)

        def interrupt(epoch: Epoch) -> None:
            if epoch.number == 2:
                raise KeyboardInterrupt

        whole = task.fit(tmp_path / "whole", settings)
        with pytest.raises(KeyboardInterrupt):
            task.fit(tmp_path / "cut", settings, on_epoch=interrupt, keep_resume=True)
        told: list[int] = []
        rest = task.fit(
            tmp_path / "cut", settings, on_epoch=lambda epoch: told.append(epoch.number), resume=True, keep_resume=True
        )
        assert told == [2, 3]
        assert rest.history == whole.history
        assert (rest.best_epoch, rest.scores) == (whole.best_epoch, whole.scores)
        one, two = ((f.checkpoint.path / "model.safetensors").read_bytes() for f in (whole, rest))
        assert one == two

    def test_nothing_there_starts_anew(self, fitted: Fitted, task: Task, tmp_path: Path) -> None:
        assert task.fit(tmp_path, resume=True).history == fitted.history

    def test_nothing_left_to_do(self, task: Task, tmp_path: Path) -> None:
        done = task.fit(tmp_path, keep_resume=True)
        again = task.fit(tmp_path, resume=True)
        assert (again.history, again.scores, again.best_epoch) == (done.history, done.scores, done.best_epoch)
        assert again.tokens_per_second == done.tokens_per_second

    def test_a_torn_folder_is_passed_over(self, task: Task, tmp_path: Path) -> None:
        task.fit(tmp_path, BRIEF, keep_resume=True)
        (whole,) = (tmp_path / "resume").iterdir()
        torn = tmp_path / "resume" / "checkpoint-9999"
        torn.mkdir()
        assert loop.last_resume(tmp_path / "resume") == whole
        (torn / "trainer_state.json").write_text('{"epo')
        assert loop.last_resume(tmp_path / "resume") == whole

    def test_no_pickled_arguments(self, task: Task, tmp_path: Path) -> None:
        task.fit(tmp_path, replace(SETTINGS, epochs=2), keep_resume=True)
        (kept,) = (tmp_path / "resume").iterdir()
        assert not (kept / "training_args.bin").exists()


class TestEveryHyperparameter:
    @pytest.mark.parametrize(
        "change",
        [
            {"learning_rate": 4e-3},
            {"batch_size": 4},
            {"dropout": 0.3},
            {"weight_decay": 0.5},
            {"warmup": 0.5},
            {"label_smoothing": 0.2},
            {"max_grad_norm": 0.01},
            {"batching": "shuffle"},
            {"batching": "length"},
        ],
        ids=str,
    )
    def test_changes_the_training(self, brief: Fitted, task: Task, tmp_path: Path, change: dict[str, Any]) -> None:
        changed = task.fit(tmp_path, replace(BRIEF, **change))
        assert changed.history[0].train_loss != brief.history[0].train_loss
        assert changed.scores.loss != brief.scores.loss

    def test_epochs(self, task: Task, tmp_path: Path) -> None:
        assert len(task.fit(tmp_path, replace(SETTINGS, epochs=2)).history) == 2

    def test_learning_rate_falls_to_zero(self, fitted: Fitted) -> None:
        rates = [epoch.learning_rate for epoch in fitted.history]
        assert 8e-3 > rates[0] > rates[1] > rates[2] > 0

    def test_warmup_is_a_share_of_the_steps(self, task: Task, tmp_path: Path) -> None:
        rates = [epoch.learning_rate for epoch in task.fit(tmp_path, replace(SETTINGS, warmup=0.6)).history]
        assert rates[0] < rates[1] > rates[2]

    def test_weight_decay_shrinks_the_weights(self, task: Task, tmp_path: Path) -> None:
        norms = []
        for decay in (0.0, 50.0):
            fitted = task.fit(tmp_path / str(decay), replace(BRIEF, weight_decay=decay))
            weights = TorchRecognizer(fitted.checkpoint)._model.bert.encoder.layer[0].output.dense.weight
            norms.append(weights.norm().item())
        assert norms[1] < 0.9 * norms[0]

    def test_label_smoothing_keeps_the_model_less_sure(self, brief: Fitted, task: Task, tmp_path: Path) -> None:
        smooth = task.fit(tmp_path, replace(BRIEF, label_smoothing=0.5))
        assert smooth.history[0].train_loss > brief.history[0].train_loss

    def test_decoding(self, task: Task, tmp_path: Path) -> None:
        assert task.fit(tmp_path, replace(BRIEF, decoding="argmax")).checkpoint.decoding == "argmax"

    def test_every_one_is_tried_here(self) -> None:
        tried = {"learning_rate", "batch_size", "dropout", "weight_decay", "warmup", "label_smoothing", "max_grad_norm"}
        tried |= {"batching", "epochs", "decoding", "seed", "precision", "patience", "metric"}
        assert {field.name for field in dataclasses.fields(FitSettings)} == tried


class TestEarlyStopping:
    def test_stops_when_patience_is_over(self, task: Task, tmp_path: Path) -> None:
        settings = replace(SETTINGS, learning_rate=1e-9, epochs=6, patience=2)  # nothing gets better
        fitted = task.fit(tmp_path, settings, keep_resume=True)
        assert (fitted.best_epoch, len(fitted.history)) == (1, 3)
        assert len(task.fit(tmp_path, settings, resume=True).history) == 3

    @pytest.mark.parametrize(
        ("metric", "values", "best"),
        [("macro-f1-span", [0.1, 0.5, 0.5, 0.4], 2), ("loss", [3.0, 1.0, 0.5, 0.7], 3), ("macro-f1", [0.0, 0.0], 1)],
    )
    def test_best_is_by_the_metric(self, metric: str, values: list[float], best: int, fitted: Fitted) -> None:
        history = History(metric)
        for number, value in enumerate(values, start=1):
            history.add(Epoch(number, {metric: value}, 0.0, 0.0), fitted.scores)
        assert history.best_epoch == best
        assert history.exhausted(len(values) - best) is (len(values) >= best)
        assert not history.exhausted(len(values) - best + 1)
        assert not history.exhausted(None)

    def test_history_survives_json(self, fitted: Fitted) -> None:
        history = History("loss", list(fitted.history), fitted.best_epoch, fitted.scores)
        assert History.from_json(json.loads(json.dumps(history.to_json()))) == history
        assert History.from_json(History("loss").to_json()) == History("loss")


class TestErrors:
    def test_a_loss_that_is_not_finite(self, task: Task, tmp_path: Path) -> None:
        with pytest.raises(TrialError, match=r"the loss is nan at step \d+; learning_rate is 1e\+30"):
            task.fit(tmp_path, replace(SETTINGS, learning_rate=1e30, max_grad_norm=0.0))

    def test_a_metric_that_is_not_finite(
        self, task: Task, tmp_path: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "evaluate", lambda *_: replace(fitted.scores, loss=float("inf")))
        with pytest.raises(TrialError, match="loss is inf after epoch 1"):
            task.fit(tmp_path)
        assert not (tmp_path / "best").exists()

    def test_windows_longer_than_the_model(self, task: Task, tmp_path: Path) -> None:
        long = encode(tiny.documents(3), task.tokenizer, LABELS, WindowSettings(129, 32))
        with pytest.raises(ModelError, match="use at most 128"):
            fit(task.backbone, LABELS, long, long, task.tokenizer, SETTINGS, tmp_path)

    def test_no_text(self, task: Task, tmp_path: Path) -> None:
        nothing = encode([], task.tokenizer, LABELS)
        with pytest.raises(DataError, match="validation split"):
            fit(task.backbone, LABELS, task.train, nothing, task.tokenizer, SETTINGS, tmp_path)

    @pytest.mark.parametrize(
        "change",
        [
            {"metric": "f1"},
            {"precision": "fp16"},
            {"batching": "x"},
            {"decoding": "crf"},
            {"epochs": 0},
            {"batch_size": 0},
            {"warmup": 1.0},
        ],
        ids=str,
    )
    def test_bad_settings(self, change: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            replace(SETTINGS, **change)


def test_a_text_of_20000_pieces_is_trained_on_and_read(task: Task, tmp_path: Path) -> None:
    part = "yesterday Anna Baker left Rome, and Archer Bank was glad. "
    spans = [Span(10, 20, "PER"), Span(26, 30, "LOC"), Span(36, 47, "ORG")]
    repeats = [
        span._replace(start=span.start + at, end=span.end + at)
        for at in range(0, 1500 * len(part), len(part))
        for span in spans
    ]
    book = encode([Document("book", part * 1500, tuple(repeats))], task.tokenizer, LABELS, WindowSettings(120, 30))
    assert book.pieces > 20_000
    learnt = task._replace(train=book, validation=book).fit(tmp_path, BRIEF)
    assert learnt.scores.micro_f1_span > 0.99


def test_continued_training_starts_where_the_checkpoint_ended(fitted: Fitted, task: Task, tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e-9, epochs=1)
    continued = task.fit(tmp_path, settings, start=fitted.checkpoint)
    assert continued.scores.loss == pytest.approx(fitted.scores.loss, abs=1e-4)


@pytest.mark.parametrize(("flags", "precision"), [({"avx512_bf16": True}, "bf16"), ({"avx512_f": True}, "fp32")])
def test_auto_precision(flags: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert precision_of("auto") == precision
    assert precision_of("bf16") == "bf16"
