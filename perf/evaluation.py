"""How long scoring a checkpoint on a validation split takes, against transformers' token-classification example.

Usage: python perf/evaluation.py EXPERIMENT CHECKPOINT [--rounds N] [--set KEY=VALUE] [--out FILE]

The same weights and texts in all ways, which take turns: the example's (fp32, batches of 8 in the data's order, padded
to the longest of each) and ours (batches of like length), in fp32 and in bf16. What is reported per way: CPU-seconds
of the process, how many times as fast as the example's way (95 % t interval over the rounds), micro-F1 and its
distance from the example's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from nertrail.experiment import find_config, load_experiment
from nertrail.ner.checkpoint import Checkpoint, load_checkpoint, pad_id
from nertrail.ner.evaluation import evaluate
from nertrail.ner.hardware import hardware
from nertrail.ner.model import model_of, window_logits
from nertrail.ner.predictor import TorchRecognizer, run
from nertrail.ner.seedwise import t_interval
from nertrail.ner.windows import Encoded
from nertrail.records import write_json
from nertrail.stages.inputs import read_inputs

EXAMPLE, EXAMPLE_BATCH = "example", 8

Score = Callable[[], float]


def in_order(model: PreTrainedModel, encoded: Encoded, decoding: str) -> float:
    """Micro-F1 as the example evaluates: batches of its size in the data's order."""
    pad, windows = pad_id(model.config.to_dict()), encoded.windows
    logits = []
    for start in range(0, len(windows), EXAMPLE_BATCH):
        logits += window_logits(model, windows[start : start + EXAMPLE_BATCH], pad)
    return evaluate(encoded, logits, decoding).micro_f1_span


def ways(checkpoint: Checkpoint, encoded: Encoded, decoding: str) -> dict[str, Score]:
    """All ways of scoring, each with a model of its own: one that ran under autocast stays in it."""
    model = model_of(checkpoint)

    def ours(precision: str) -> Score:
        recognizer = TorchRecognizer(checkpoint, precision)
        return lambda: evaluate(encoded, run(recognizer, encoded), decoding).micro_f1_span

    return {EXAMPLE: lambda: in_order(model, encoded, decoding), "fp32": ours("fp32"), "bf16": ours("bf16")}


def measured(scores: dict[str, Score], rounds: int) -> list[dict[str, Any]]:
    """One row per way; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in scores}
    found = {name: score() for name, score in scores.items()}
    for number in range(rounds):
        turn = number % len(scores)
        for name in [*scores][turn:] + [*scores][:turn]:
            began = time.process_time()
            scores[name]()
            seconds[name].append(time.process_time() - began)
    return [
        {
            "way": name,
            "cpu_seconds": sum(taken) / len(taken),
            "times_as_fast": interval([base / own for base, own in zip(seconds[EXAMPLE], taken, strict=True)]),
            "micro_f1": found[name],
            "f1_difference": found[name] - found[EXAMPLE],
        }
        for name, taken in seconds.items()
    ]


def interval(values: Sequence[float]) -> list[float]:
    """Mean, and the ends of its 95 % t interval where there are two values or more."""
    if len(values) < 2:
        return [values[0]]
    low, mean, high, _ = t_interval(values)
    return [round(mean, 4), round(low, 4), round(high, 4)]


def main(argv: Sequence[str] | None = None) -> int:
    """Score in turns, print a table, write everything as JSON."""
    options = _parse(argv)
    experiment = load_experiment(find_config(options.experiment), options.set)
    inputs = read_inputs(experiment.data, experiment.windows, experiment.decoding, experiment.seed)
    data = inputs.prepare(experiment.backbones[0])
    scores = ways(load_checkpoint(Path(options.checkpoint)), data.validation, experiment.decoding)
    rows = measured(scores, options.rounds)
    for row in rows:
        print(json.dumps(row))
    if options.out:
        write_json(Path(options.out), {"hardware": hardware(), "rounds": options.rounds, "rows": rows})
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", help="an experiment file or a preset: its validation texts")
    parser.add_argument("checkpoint", help="a folder with a checkpoint of the experiment's first backbone")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", help="where everything goes as JSON")
    options = parser.parse_args(argv)
    if options.rounds < 2:
        parser.error("--rounds: an interval needs 2 or more")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
