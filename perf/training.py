"""Time to quality of our training against transformers' token-classification example: same data, model, schedule.

Usage: python perf/training.py EXPERIMENT [--quick] [--seeds N] [--epochs N] [--modes A,B] [--out FILE] ...

Each seed trains every mode once, one after the other, the order turned by one with each seed. A mode is a precision
and a batching of ours, as fp32:bucket (with a batch size and a learning rate of its own: bf16:bucket:32:1e-3), or
`example`: the `Trainer` with the example's defaults (fp32, random order, padding to the longest of a batch, each
batch's loss divided by its own count). What is reported:

- CPU-seconds of training until the mean validation micro-F1 reaches the example's after its last epoch, linear between
  epochs, evaluation aside, and how many times sooner than the example: of the model as it is after each epoch, and of
  the best one so far, which is what a training of ours returns;
- CPU-seconds of all epochs, how many times less than the example's, and the difference of the last epoch's micro-F1;
- pieces trained on per CPU-second; test micro-F1 with a 95 % t interval, and of its paired difference from the example.

What evaluation takes is measured by perf/evaluation.py, on one checkpoint.

CPU-seconds are those of the process, all threads. With `--out` each training is kept when it is done, and the same
command goes on with those that are missing. `--quick` shows that it works: few texts, two seeds, one epoch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from evaluation import EXAMPLE, in_order, interval
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from nertrail.experiment import find_config, load_experiment
from nertrail.ner.checkpoint import pad_id
from nertrail.ner.evaluation import evaluate
from nertrail.ner.hardware import hardware
from nertrail.ner.loop import _Collator, _rows
from nertrail.ner.model import load_model, quiet
from nertrail.ner.pace import pieces_of
from nertrail.ner.predictor import BATCH_PIECES, TorchRecognizer, in_batches
from nertrail.ner.trainer import FitSettings, fit
from nertrail.ner.windows import Encoded
from nertrail.stages.inputs import Prepared, read_inputs

MODES = (EXAMPLE, "fp32:length", "fp32:shuffle", "fp32:bucket", "bf16:length", "bf16:shuffle", "bf16:bucket")


@dataclass
class Outcome:
    """One training: CPU-seconds and validation micro-F1 after each epoch, and the last epoch's numbers."""

    mode: str
    seed: int
    seconds: list[float]
    validation: list[float]
    test: float
    pieces: int

    def kept(self) -> Outcome:
        """The same with the best score so far in the place of each."""
        return replace(self, validation=list(itertools.accumulate(self.validation, max)))


class Meter:
    """CPU-seconds that training took, the listener's own aside."""

    def __init__(self) -> None:
        self.since, self.total = time.process_time(), 0.0
        self.seconds: list[float] = []
        self.validation: list[float] = []

    def stop(self) -> None:
        self.total += time.process_time() - self.since

    def mark(self, f1: float) -> None:
        self.seconds.append(self.total)
        self.validation.append(f1)
        self.since = time.process_time()


def ours(mode: str, data: Prepared, settings: FitSettings) -> Outcome:
    """A training of `fit`, its clock stopped from the last step of an epoch until its evaluation is over."""
    settings = _settings_of(mode, settings)
    meter, steps = Meter(), math.ceil(len(data.train.windows) / settings.batch_size)

    def on_step(done: int, _total: int) -> None:
        if done % steps == 0:
            meter.stop()

    with tempfile.TemporaryDirectory() as folder:
        given = (data.backbone, data.labels, data.train, data.validation, data.tokenizer, settings, Path(folder))
        fitted = fit(*given, on_step=on_step, on_epoch=lambda epoch: meter.mark(epoch.metrics["micro-f1-span"]))
        test = test_f1(TorchRecognizer(fitted.checkpoint), data.test, settings.decoding)
    return _outcome(mode, settings, meter, data, test)


def _settings_of(mode: str, settings: FitSettings) -> FitSettings:
    precision, batching, *own = mode.split(":")
    batch_size = int(own[0]) if own else settings.batch_size
    rate = float(own[1]) if len(own) > 1 else settings.learning_rate
    return replace(settings, precision=precision, batching=batching, batch_size=batch_size, learning_rate=rate)


def example(data: Prepared, settings: FitSettings) -> Outcome:
    """The Trainer with the example's defaults, evaluated in batches in the data's order, scored by our metric."""
    meter, rows = Meter(), _rows(data.train)
    with quiet():
        model = load_model(data.backbone, data.labels, seed=settings.seed)
    pad = pad_id(model.config.to_dict())

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            meter.stop()
            model.eval()
            meter.mark(in_order(model, data.validation, settings.decoding))

    with tempfile.TemporaryDirectory() as folder, quiet():
        arguments = TrainingArguments(
            output_dir=folder,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=settings.epochs,
            weight_decay=settings.weight_decay,
            warmup_steps=settings.warmup,
            seed=settings.seed,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
        )
        trainer = Trainer(model, arguments, _Collator(pad), rows, callbacks=[Watch()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.eval()
    assert data.test is not None
    test = in_order(model, data.test, settings.decoding)
    return _outcome(EXAMPLE, settings, meter, data, test)


def test_f1(recognizer: TorchRecognizer, encoded: Encoded | None, decoding: str) -> float:
    assert encoded is not None
    return evaluate(encoded, in_batches(recognizer.logits, encoded, BATCH_PIECES), decoding).micro_f1_span


def _outcome(mode: str, settings: FitSettings, meter: Meter, data: Prepared, test: float) -> Outcome:
    pieces = pieces_of(data.train.windows) * len(meter.seconds)
    return Outcome(mode, settings.seed, meter.seconds, meter.validation, test, pieces)


def seconds_to(target: float, outcomes: Sequence[Outcome]) -> float | None:
    """CPU-seconds until the mean validation F1 reaches `target`, linear between epochs; None if it never does."""
    before, f1 = 0.0, 0.0
    for epoch in range(len(outcomes[0].seconds)):
        now = sum(o.seconds[epoch] for o in outcomes) / len(outcomes)
        mean = sum(o.validation[epoch] for o in outcomes) / len(outcomes)
        if mean >= target:
            return before + (now - before) * (target - f1) / (mean - f1) if mean > f1 else now
        before, f1 = now, mean
    return None


def summary(outcomes: Sequence[Outcome], modes: Sequence[str]) -> list[dict[str, Any]]:
    """One row per mode."""
    by_mode = {mode: [o for o in outcomes if o.mode == mode] for mode in modes}
    base = by_mode.get(EXAMPLE) or by_mode[modes[0]]
    target = sum(o.validation[-1] for o in base) / len(base)
    reference = seconds_to(target, base)
    rows = []
    for mode, found in by_mode.items():
        reached, kept = seconds_to(target, found), seconds_to(target, [o.kept() for o in found])
        whole = [base_.seconds[-1] / own.seconds[-1] for base_, own in zip(base, found, strict=True)]
        rows.append(
            {
                "mode": mode,
                "seeds": len(found),
                "target": target,
                "seconds_to_target": reached,
                "times_sooner": reference / reached if reached and reference else None,
                "times_sooner_best": reference / kept if kept and reference else None,
                "cpu_seconds": sum(o.seconds[-1] for o in found) / len(found),
                "times_less": interval(whole),
                "last_difference": interval(
                    [o.validation[-1] - b.validation[-1] for o, b in zip(found, base, strict=True)]
                ),
                "pieces_per_cpu_second": sum(o.pieces for o in found) / sum(o.seconds[-1] for o in found),
                "validation": interval([max(o.validation) for o in found]),
                "validation_difference": _difference([max(o.validation) for o in found], base),
                "test": interval([o.test for o in found]),
                "test_difference": interval([o.test - b.test for o, b in zip(found, base, strict=True)]),
            }
        )
    return rows


def _difference(best: Sequence[float], base: Sequence[Outcome]) -> list[float]:
    return interval([value - max(b.validation) for value, b in zip(best, base, strict=True)])


def main(argv: Sequence[str] | None = None) -> int:
    """Train, print a table, write everything as JSON."""
    options = _parse(argv)
    experiment = load_experiment(find_config(options.experiment), options.set)
    inputs = read_inputs(experiment.data, experiment.windows, experiment.decoding, experiment.seed)
    if options.quick:
        parts = {name: documents[:64] for name, documents in inputs.dataset.splits.items()}
        inputs = replace(inputs, dataset=replace(inputs.dataset, **parts), _cache={})
    data, modes = inputs.prepare(experiment.backbones[options.backbone]), options.modes.split(",")
    kept = Kept(Path(options.out) if options.out else None, _what(options))
    for number in range(options.seeds):
        settings = experiment.hyperparameters.fit_settings(
            epochs=options.epochs,
            seed=experiment.seed + number,
            metric="micro-f1-span",
            decoding=experiment.decoding,
            patience=None,
        )
        turn = number % len(modes)
        for mode in modes[turn:] + modes[:turn]:
            if not kept.has(mode, settings.seed):
                kept.add(example(data, settings) if mode == EXAMPLE else ours(mode, data, settings))
    seeds = {experiment.seed + number for number in range(options.seeds)}
    for row in summary([outcome for outcome in kept.outcomes if outcome.seed in seeds], modes):
        print(json.dumps(row))
    return 0


class Kept:
    """The outcomes so far, in a file where one is named."""

    def __init__(self, path: Path | None, what: dict[str, Any]) -> None:
        self._path, self._what = path, what
        self.outcomes: list[Outcome] = []
        if path and path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["what"] != what:
                raise SystemExit(f"{path}: measured {content['what']}, not {what}; name another file")
            self.outcomes = [Outcome(**outcome) for outcome in content["outcomes"]]

    def has(self, mode: str, seed: int) -> bool:
        return any((outcome.mode, outcome.seed) == (mode, seed) for outcome in self.outcomes)

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        print(json.dumps(asdict(outcome)), file=sys.stderr, flush=True)
        if self._path:
            content = {"what": self._what, "outcomes": [asdict(outcome) for outcome in self.outcomes]}
            self._path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _what(options: argparse.Namespace) -> dict[str, Any]:
    """What is measured and where, so that nothing else is added to it."""
    named = {name: getattr(options, name) for name in ("experiment", "quick", "epochs", "backbone", "set")}
    return {**named, "threads": torch.get_num_threads(), "hardware": hardware()}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", help="an experiment file or a preset")
    parser.add_argument("--quick", action="store_true", help="64 texts per split, 2 seeds, 1 epoch")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--backbone", type=int, default=0, help="its place in the experiment's list")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", help="where everything goes as JSON; goes on with what it holds")
    options = parser.parse_args(argv)
    if options.quick:
        options.seeds, options.epochs = 2, 1
    return options


if __name__ == "__main__":
    raise SystemExit(main())
