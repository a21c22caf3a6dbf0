"""report.html: what a run dir's result files say, in one page that needs no server. Imports no MLflow."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nertrail.markup import number, page, picture, quiet, remark, short, table
from nertrail.ner.seedwise import t_interval

_BENCHMARKS = ("benchmark-trials", "benchmark-final", "benchmark-models")


def write_report(
    path: Path,
    title: str,
    results: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
) -> Path:
    """Write the report of steps, given as a ledger's entries in plain data; what has not run is left out.

    Args:
        about: what was run, of which data and where, by name.
        remarks: what is not to be overlooked, in sentences.
    """
    done = {step: entry["result"] for step, entry in results.items() if entry["state"] == "done" and entry["result"]}
    parts = [
        _about(about or {}),
        *map(remark, remarks),
        _selection(done.get("selection")),
        _training(done.get("training")),
        _models(done),
        _sweeps({step: result for step, result in done.items() if step.startswith("sweep-")}),
        _benchmarks(done),
        _steps(results),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(title, parts), encoding="utf-8")
    return path


def _about(about: Mapping[str, str]) -> str:
    return table((), [((name, value), "") for name, value in about.items()]) if about else ""


def _selection(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    selection = result["selection"]
    rows = []
    for verdict in selection["verdicts"]:
        candidate = verdict["candidate"]
        latency = candidate["latency_ms"].get(str(selection["batch_size"]))
        params = ", ".join(f"{name} {short(value)}" for name, value in candidate["params"].items())
        row = [candidate["name"], number(candidate["score"]), number(latency, 2), params, verdict["why"]]
        rows.append((row, "taken" if verdict["selected"] else ""))
    size = selection["batch_size"]
    head = ["candidate", selection["objective"], f"ms (batch {size})" if size else "ms", "hyperparameters", "why"]
    return (
        f"<h2>Decision</h2><p>{html.escape(selection['reason'])}</p>" + table(head, rows) + picture(result["picture"])
    )


def _training(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    test = result["test_metrics"]
    metrics = result["metrics"]
    shown = [name for name in metrics if not name.endswith(("_ci_low", "_ci_high"))]
    scores = [([name, _with_interval(metrics, name), _with_interval(test, name)], "") for name in shown]
    about = f"{result['backbone']}, {result['training_type']}, best epoch {result['best_epoch']}"
    if result["absent_types"]:
        about += f", types absent from validation: {', '.join(result['absent_types'])}"
    speed = f"{result['tokens_per_second']:.0f} pieces per second, data version {result['dataset_digest']}"
    matrix = picture(result["files"].get("confusion_matrix.png"))
    return (
        f"<h2>Final model</h2><p>{html.escape(about)} <span class=quiet>({html.escape(speed)})</span></p>"
        + table(["metric", "validation", "test"], scores)
        + _seeds(result)
        + _before_and_after(result)
        + _entities(result)
        + matrix
    )


def _seeds(result: Mapping[str, Any]) -> str:
    """Every seed's scores, their mean, and its 95 % interval."""
    seeds = result.get("seeds", ())
    if len(seeds) < 2:
        return ""
    names = list(seeds[0]["metrics"])
    rows = [([str(each["seed"]), *(number(each["metrics"][name]) for name in names)], "") for each in seeds]
    found = [t_interval([each["metrics"][name] for each in seeds]) for name in names]
    rows.append((["mean", *(number(mean) for _, mean, _, _ in found)], "taken"))
    rows.append((["95 %", *(f"{number(low)} to {number(high)}" for low, _, high, _ in found)], ""))
    return "<h3>Seeds</h3>" + table(["seed", *names], rows)


def _before_and_after(result: Mapping[str, Any]) -> str:
    """What training further changed, on each split that it was compared on."""
    found = result.get("comparison", {})
    pairs = [name.partition("_before_")[::2] for name in found if "_before_" in name]
    rows = [
        ([split, metric, number(found[f"{split}_before_{metric}"]), number(found[f"{split}_after_{metric}"])], "")
        for split, metric in pairs
    ]
    source = html.escape(str(result["params"].get("source_checkpoint", "")))
    head = ["texts", "metric", "before", "after"]
    return f"<h3>Trained further from {source}</h3>" + table(head, rows) if rows else ""


def _entities(result: Mapping[str, Any]) -> str:
    found, test = result["entity_metrics"], result["test_entity_metrics"]
    names = [name.removesuffix("_support") for name in found if name.endswith("_support")]
    rows = []
    for name in names:
        shown = [_of_type(found, name, score) for score in ("precision", "recall", "f1")]
        support = str(round(found[f"{name}_support"]))
        rows.append(([name, *shown, support, _of_type(test, name, "f1")], ""))
    return table(["type", "precision", "recall", "F1", "spans", "F1 on test"], rows)


def _of_type(metrics: Mapping[str, float], name: str, score: str) -> str:
    """A type's score; nothing where no text holds the type, so that there was nothing to find."""
    return _with_interval(metrics, f"{name}_{score}") if metrics.get(f"{name}_support") else ""


def _with_interval(metrics: Mapping[str, float], name: str) -> str:
    """A metric, and its 95 % interval where there is one."""
    low, high = metrics.get(f"{name}_ci_low"), metrics.get(f"{name}_ci_high")
    shown = number(metrics.get(name), 0 if name.startswith("errors_") else 4)
    return shown if low is None or high is None else f"{shown} ({number(low)} to {number(high)})"


def _models(done: Mapping[str, Any]) -> str:
    """The final models side by side: size, speed and score."""
    measured = {item["backend"]: item["report"] for item in done.get("benchmark-final", [])}
    converted = {step.removeprefix("conversion-"): done[step] for step in done if step.startswith("conversion-")}
    if not measured:
        return ""
    size = next((item["checkpoint_bytes"] for item in converted.values()), None)
    rows = [_model_row("torch", measured.get("torch"), size, None)]
    rows += [
        _model_row(name, measured.get(name), result["onnx_bytes"], result["f1_drop"])
        for name, result in converted.items()
    ]
    head = [
        "model",
        "weights MB",
        "ms",
        "speed-up over PyTorch (95 %)",
        "most samples/s",
        "micro-f1-span against PyTorch",
    ]
    note = quiet(
        "F1 is that of the validation texts; a minus is a loss. The time is that of one call of the model alone."
    )
    return "<h2>Models</h2>" + table(head, [(row, "") for row in rows]) + note


def _model_row(name: str, report: Mapping[str, Any] | None, size: int | None, drop: float | None) -> list[str]:
    against = "" if drop is None else f"{0.0 - drop:+.4f}"
    return [name, number(size and size / 1e6, 1), *_speed(report), against]


def _speed(report: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """Latency at the smallest batch size, gain over PyTorch, and throughput where it is greatest."""
    if report is None:
        return "", "", ""
    batches = report["batches"]
    first, best = min(batches, key=int), max(batches, key=lambda size: batches[size]["throughput_samples_per_sec"])
    gain = report.get("speedup", {}).get("batches", {}).get(first)
    times = f"{gain['ratio']:.2f} ({gain['low']:.2f} to {gain['high']:.2f})" if gain else ""
    latency = f"{number(batches[first]['mean_ms'], 2)} (batch {first})"
    return latency, times, f"{number(batches[best]['throughput_samples_per_sec'], 1)} (batch {best})"


def _sweeps(results: Mapping[str, Any]) -> str:
    return "".join(_sweep(result) for result in results.values())


def _sweep(result: Mapping[str, Any]) -> str:
    names = sorted({name for trial in result["trials"] for name in trial["params"]})
    rows = []
    for trial in result["trials"]:
        values = [short(trial["params"].get(name, "")) for name in names]
        row = [str(trial["number"]), trial["state"], number(trial["value"]), *values]
        rows.append((row, "taken" if trial["number"] == result["best_number"] else ""))
    note = quiet("So few trials are random search: no sampler had anything to learn from.")
    return (
        f"<h2>Sweep of {html.escape(result['backbone'])}</h2>{note if result['random_search'] else ''}"
        + table(["trial", "state", result["metric"], *names], rows)
        + "".join(map(picture, result["pictures"]))
    )


def _benchmarks(done: Mapping[str, Any]) -> str:
    items = [item for step in _BENCHMARKS for item in done.get(step, [])]
    rows = [
        (_benchmark_row(item["name"], size, batch, item["report"]), "")
        for item in items
        for size, batch in item["report"]["batches"].items()
    ]
    head = ["model", "batch", "mean ms", "std", "p50", "p95", "p99", "samples/s", "end to end ms", "calls", "machine"]
    busy = any(item["report"].get("contended") for item in items)
    note = "busy: calls waited for a core, so these times say too much; see cpu_over_wall in benchmark.json."
    return "<h2>Latency</h2>" + table(head, rows) + (quiet(note) if busy else "") if rows else ""


def _benchmark_row(name: str, size: str, batch: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    statistics = [number(batch[key], 2) for key in ("mean_ms", "std_ms", "p50_ms", "p95_ms", "p99_ms")]
    end_to_end = number(batch["e2e"]["mean_ms"], 2) if batch.get("e2e") else ""
    rate = number(batch["throughput_samples_per_sec"], 1)
    return [name, size, *statistics, rate, end_to_end, str(batch["n"]), "busy" if report.get("contended") else ""]


def _steps(results: Mapping[str, Any]) -> str:
    rows = [
        ([step, entry["state"], number(entry["seconds"], 1), ", ".join(entry["uids"].values())], "")
        for step, entry in results.items()
    ]
    note = quiet("A run's uid is its tag nertrail.run_uid in MLflow.")
    return "<h2>Steps</h2>" + table(["step", "state", "seconds", "runs (uid)"], rows) + note
