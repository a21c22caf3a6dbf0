"""What a run dir shows of itself: the table of stages and the lineage, from the ledger's entries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nertrail import __version__
from nertrail.ledger import Entry, Ledger, parsed
from nertrail.stages.benchmark import BenchmarkResult
from nertrail.stages.conversion import ConversionResult
from nertrail.stages.seeds import summarize
from nertrail.stages.selection import SelectionResult
from nertrail.stages.sweep import SweepResult
from nertrail.stages.training import TrainingResult


@dataclass(frozen=True)
class StageLine:
    """One line of the table at the end: what a step did, how long it took, and its main number."""

    step: str
    status: str
    seconds: float
    number: str


def main_number(result: Any) -> str:
    """The one number (or two) of a stage's result that a reader looks for."""
    if isinstance(result, list):
        return ", ".join(main_number(item) for item in result)
    return _NUMBERS[type(result)](result)


def _sweep(result: SweepResult) -> str:
    done = f"{result.count('COMPLETE')} of {len(result.trials)} trials"
    return f"{result.metric} {result.best.value:.4f} ({done}, best: {result.best_number})"


def _benchmark(result: BenchmarkResult) -> str:
    size, milliseconds = min(result.latencies().items())
    return f"{result.name} {milliseconds:.1f} ms (batch {size})"


def _selection(result: SelectionResult) -> str:
    return f"{result.selection.selected.name}, {result.selection.objective} {result.selection.selected.score:.4f}"


def _training(result: TrainingResult) -> str:
    shown = {"validation": result.metrics, "test": result.test_metrics}
    metric = result.metric
    text = ", ".join(f"{split} {metric} {found[metric]:.4f}" for split, found in shown.items() if found)
    together, name = summarize(result.seeds), f"test_{metric}" if result.test_metrics else metric
    if not together:
        return text
    low, high = together[f"seeds_ci_low_{name}"], together[f"seeds_ci_high_{name}"]
    split, mean = "test" if result.test_metrics else "validation", together[f"seeds_mean_{name}"]
    return f"{text}; {len(result.seeds)} seeds: mean on {split} {mean:.4f} (95 % {low:.4f} to {high:.4f})"


def _conversion(result: ConversionResult) -> str:
    size = f"{result.onnx_bytes / 1e6:.1f} MB"
    return size if result.f1_drop is None else f"{size}, micro-f1-span {0.0 - result.f1_drop:+.4f} against PyTorch"


def comparison(ledger: Ledger) -> list[tuple[str, ...]]:
    """The final models side by side: name, size, latency, throughput, speed-up over PyTorch, F1.

    The F1 is micro-f1-span on validation. Empty where they were not timed. A target that failed has no row: its
    failure is told elsewhere.
    """
    timed = ledger.entry("benchmark-final")
    if timed is None or timed.state != "done":
        return []
    results = map(_conversion_result, ledger.entries())
    made: dict[str, ConversionResult] = {result.target: result for result in results if result is not None}
    return [_compared(item, made) for item in parsed(timed, list[BenchmarkResult])]


def _conversion_result(entry: Entry) -> ConversionResult | None:
    is_one = entry.step.startswith("conversion-") and entry.state == "done"
    return parsed(entry, ConversionResult) if is_one else None


def _compared(timed: BenchmarkResult, made: Mapping[str, ConversionResult]) -> tuple[str, ...]:
    size, milliseconds = min(timed.latencies().items())
    rates = {size: batch["throughput_samples_per_sec"] for size, batch in timed.report["batches"].items()}
    best = max(rates, key=lambda size: rates[size])
    gain = timed.report.get("speedup", {}).get("batches", {}).get(str(size))
    speed = f"{gain['ratio']:.2f} ({gain['low']:.2f} to {gain['high']:.2f})" if gain else "1"
    row = (f"{milliseconds:.1f} ms (batch {size})", f"{rates[best]:.1f} /s (batch {best})", speed)
    return (timed.backend, _size(timed, made), *row, _f1(timed, made))


def _size(timed: BenchmarkResult, made: Mapping[str, ConversionResult]) -> str:
    if timed.backend != "torch":
        return f"{made[timed.backend].onnx_bytes / 1e6:.1f} MB"
    return next((f"{result.checkpoint_bytes / 1e6:.1f} MB" for result in made.values()), "")


def _f1(timed: BenchmarkResult, made: Mapping[str, ConversionResult]) -> str:
    """micro-f1-span on validation, in the predictor's batches; PyTorch's is known from any comparison with it."""
    known = next(iter(made.values()), None) if timed.backend == "torch" else made[timed.backend]
    if known is None or known.f1 is None or known.f1_drop is None:
        return ""
    return f"{known.f1 + known.f1_drop if timed.backend == 'torch' else known.f1:.4f}"


_NUMBERS: Mapping[type, Callable[[Any], str]] = {
    SweepResult: _sweep,
    BenchmarkResult: _benchmark,
    SelectionResult: _selection,
    TrainingResult: _training,
    ConversionResult: _conversion,
}
_KINDS: Mapping[str, Any] = {
    "sweep": SweepResult,
    "benchmark": list[BenchmarkResult],
    "selection": SelectionResult,
    "training": TrainingResult,
    "conversion": ConversionResult,
}


def lines(ledger: Ledger, steps: Collection[str]) -> list[StageLine]:
    """The table of a run dir in which `steps` are done."""
    done = [entry for entry in ledger.entries() if entry.step in steps and entry.state == "done"]
    return [StageLine(entry.step, "reused", entry.seconds, main_number(_result(entry))) for entry in done]


def _result(entry: Entry) -> Any:
    stage = entry.step.split("-", 1)[0]
    return parsed(entry, _KINDS[stage])


def lineage(ledger: Ledger, data_version: str, steps: Collection[str]) -> dict[str, Any]:
    """Which run made what of which: `steps` by uid, with what each was made from."""
    entries = {entry.step: entry for entry in ledger.entries() if entry.step in {"pipeline", *steps}}
    return {
        "schema": 1,
        "nertrail": __version__,
        "data_version": data_version,
        "pipeline": entries["pipeline"].uid,
        "steps": [_step(entry, entries) for step, entry in entries.items() if step != "pipeline"],
    }


def _step(entry: Entry, entries: Mapping[str, Entry]) -> dict[str, Any]:
    return {
        "step": entry.step,
        "state": entry.state,
        "fingerprint": entry.fingerprint,
        "runs": entry.uids,
        "superseded": entry.superseded,
        "seconds": round(entry.seconds, 3),
        "made_from": sources(entry.step, entries),
    }


def sources(step: str, known: Mapping[str, Entry]) -> list[str]:
    """The steps whose results `step` read."""
    sweeps = sorted(name for name in known if name.startswith("sweep-"))
    conversions = sorted(name for name in known if name.startswith("conversion-"))
    above = {
        "benchmark-trials": sweeps,
        "selection": [*sweeps, "benchmark-trials"],
        "training": ["selection"],
        "benchmark-final": ["training", *(name for name in conversions if known[name].state == "done")],
    }
    return above.get(step, ["training"] if step in conversions else [])
