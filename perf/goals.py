"""What perf/inference.py found, beside what it should be: a row per number, over the seeds or the rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from measuring import Row, spread_row

# Times PyTorch fp32: one short sentence, one of 128 pieces, eight sentences; times smaller; share of F1.
_MODELS = {
    "plain": {"short x1": 5.0, "128 x1": 4.5, "short x8": 4.0, "size": 3.9},
    "gated": {"short x1": 4.3, "128 x1": 4.1, "short x8": 3.5, "size": 3.4, "F1": 0.99},
}
_KINDS = ("short x1", "128 x1", "short x8")
_OURS = "nertrail"


def rows(found: Mapping[str, Any]) -> list[Row]:
    """The table. A model that no seed has, a rival that is not installed: no row."""
    seeds = list(found["seeds"].values())
    return [
        *_models(seeds),
        *_conversion(seeds),
        *_end_to_end(found.get("end_to_end")),
        *_cold(found.get("cold_start")),
    ]


def _models(seeds: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for model, goals in _MODELS.items():
        made = [seed for seed in seeds if model in seed["sizes"]]
        if not made:
            continue
        for kind in _KINDS:
            timed = [seed["latency"][kind][model] for seed in made]
            yield _at_least(
                f"{model}, {kind}, times PyTorch", [each["times_torch"]["ratio"] for each in timed], goals[kind]
            )
            fp32 = [each["times_onnx_fp32"]["ratio"] for each in timed]
            yield _at_least(f"{model}, {kind}, times ONNX fp32", fp32, 2.0 if model == "plain" else None)
        yield _at_least(f"{model}, times smaller", [seed["sizes"][model] for seed in made], goals["size"])
        kept = [seed["f1"][model]["f1"] / seed["f1"]["torch"]["f1"] for seed in made if seed["f1"]["torch"]["f1"]]
        if kept:
            yield _at_least(f"{model}, share of PyTorch's test F1", kept, goals.get("F1"), digits=4)


def _conversion(seeds: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for target in ("onnx_fp32", "onnx_int8"):
        spent = [seed["conversion_cpu_seconds"][target] for seed in seeds]
        yield _at_most(f"conversion to {target}, parity included, CPU s", spent, 10)
    differences = [1e6 * seed["max_abs_diff"] for seed in seeds]
    yield _at_most("fp32 logits off PyTorch's, millionths", differences, 20)


def _end_to_end(found: Mapping[str, Any] | None) -> Iterator[Row]:
    if not found:
        return
    seconds, f1 = found["cpu_seconds"], found["f1"]
    against = {"pipeline, default": 10.0, "pipeline, batch 16": None, "spaCy, NER alone": 1.2, "spaCy, all pipes": None}
    for rival, goal in against.items():
        if rival in seconds:
            yield _at_least(f"end to end, times {rival}", _ratios(seconds[rival], seconds[_OURS]), goal)
    long = _ratios(seconds["pipeline with stride, long"], seconds[f"{_OURS}, long"])
    yield _at_least("long documents, times pipeline with stride", long, 4.5)
    best = max(score for name, score in f1.items() if name != _OURS)
    yield _at_least("test F1 above the pipeline's best decoding", [f1[_OURS] - best], 0.0, digits=4)


def _cold(found: Mapping[str, Any] | None) -> Iterator[Row]:
    if not found:
        return
    for name, runs in found.items():
        ours = name == _OURS
        yield _at_most(f"start to first prediction, {name}, s", runs["wall"], 0.25 if ours else None)
        yield _at_most(f"start to first prediction, {name}, CPU s", runs["cpu"], None)
        yield _at_most(f"start to first prediction, {name}, MB", runs["mb"], 150 if ours else None)


def _ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Round by round: a busy minute hits both."""
    return [one / other for one, other in zip(theirs, ours, strict=True)]


def _at_least(what: str, values: Sequence[float], goal: float | None, digits: int = 2) -> Row:
    return spread_row(what, values, "", "" if goal is None else f">= {goal:g}", digits)


def _at_most(what: str, values: Sequence[float], goal: float | None) -> Row:
    return spread_row(what, values, "", "" if goal is None else f"<= {goal:g}")
