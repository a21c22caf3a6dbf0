"""report.html: what a run dir's result files say, in one page that needs no server. Imports no MLflow."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dbe2; }
table { border-collapse: collapse; margin: .8rem 0; } td, th { padding: .25rem .8rem; text-align: left; }
th { border-bottom: 1px solid #8593a2; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.taken { font-weight: 600; background: #eef6ee; } .quiet { color: #5d6b7a; } img { max-width: 100%; }
"""


def write_report(path: Path, title: str, results: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the report of steps, given as a ledger's entries in plain data; what has not run is left out."""
    done = {step: entry["result"] for step, entry in results.items() if entry["state"] == "done" and entry["result"]}
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _selection(done.get("selection")),
        _training(done.get("training")),
        _models(done),
        _sweeps({step: result for step, result in done.items() if step.startswith("sweep-")}),
        _benchmarks(done),
        _steps(results),
    ]
    page = f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    path.write_text(page + "\n".join(part for part in parts if part), encoding="utf-8")
    return path


def _selection(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    selection = result["selection"]
    rows = []
    for verdict in selection["verdicts"]:
        candidate = verdict["candidate"]
        latency = candidate["latency_ms"].get(str(selection["batch_size"]))
        params = ", ".join(f"{name} {_short(value)}" for name, value in candidate["params"].items())
        row = [candidate["name"], _number(candidate["score"]), _number(latency, 2), params, verdict["why"]]
        rows.append((row, "taken" if verdict["selected"] else ""))
    table = _table(["candidate", selection["objective"], "latency ms", "hyperparameters", "why"], rows)
    return f"<h2>Decision</h2><p>{html.escape(selection['reason'])}</p>{table}{_picture(result['picture'])}"


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
    matrix = _picture(result["files"].get("confusion_matrix.png"))
    return (
        f"<h2>Final model</h2><p>{html.escape(about)} <span class=quiet>({html.escape(speed)})</span></p>"
        + _table(["metric", "validation", "test"], scores)
        + _entities(result)
        + matrix
    )


def _entities(result: Mapping[str, Any]) -> str:
    found, test = result["entity_metrics"], result["test_entity_metrics"]
    names = [name.removesuffix("_support") for name in found if name.endswith("_support")]
    rows = []
    for name in names:
        scores = [_with_interval(found, f"{name}_{score}") for score in ("precision", "recall", "f1")]
        support = str(round(found[f"{name}_support"]))
        rows.append(([name, *scores, support, _with_interval(test, f"{name}_f1")], ""))
    return _table(["type", "precision", "recall", "F1", "spans", "F1 on test"], rows)


def _with_interval(metrics: Mapping[str, float], name: str) -> str:
    """A metric, and its 95 % interval where there is one."""
    low, high = metrics.get(f"{name}_ci_low"), metrics.get(f"{name}_ci_high")
    shown = _number(metrics.get(name), 0 if name.startswith("errors_") else 4)
    return shown if low is None or high is None else f"{shown} ({_number(low)} to {_number(high)})"


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
    head = ["model", "weights MB", "batch 1 ms", "samples/s", "F1 lost on validation"]
    return "<h2>Models</h2>" + _table(head, [(row, "") for row in rows])


def _model_row(name: str, report: Mapping[str, Any] | None, size: int | None, drop: float | None) -> list[str]:
    batches = report["batches"] if report else {}
    first = min(batches, key=int, default=None)
    speed = max((batch["throughput_samples_per_sec"] for batch in batches.values()), default=None)
    latency = batches[first]["mean_ms"] if first else None
    return [name, _number(size and size / 1e6, 1), _number(latency, 2), _number(speed, 1), _number(drop)]


def _sweeps(results: Mapping[str, Any]) -> str:
    return "".join(_sweep(result) for result in results.values())


def _sweep(result: Mapping[str, Any]) -> str:
    names = sorted({name for trial in result["trials"] for name in trial["params"]})
    rows = []
    for trial in result["trials"]:
        values = [_short(trial["params"].get(name, "")) for name in names]
        row = [str(trial["number"]), trial["state"], _number(trial["value"]), *values]
        rows.append((row, "taken" if trial["number"] == result["best_number"] else ""))
    note = "<p class=quiet>So few trials are random search: no sampler had anything to learn from.</p>"
    return (
        f"<h2>Sweep of {html.escape(result['backbone'])}</h2>{note if result['random_search'] else ''}"
        + _table(["trial", "state", result["metric"], *names], rows)
        + "".join(_picture(picture) for picture in result["pictures"])
    )


def _benchmarks(done: Mapping[str, Any]) -> str:
    items = [item for step in ("benchmark-trials", "benchmark-final") for item in done.get(step, [])]
    rows = [
        (_benchmark_row(item["name"], size, batch), "")
        for item in items
        for size, batch in item["report"]["batches"].items()
    ]
    head = ["model", "batch", "mean ms", "std", "p50", "p95", "p99", "samples/s", "end to end ms", "calls"]
    return "<h2>Latency</h2>" + _table(head, rows) if rows else ""


def _benchmark_row(name: str, size: str, batch: Mapping[str, Any]) -> list[str]:
    statistics = [_number(batch[key], 2) for key in ("mean_ms", "std_ms", "p50_ms", "p95_ms", "p99_ms")]
    end_to_end = _number(batch["e2e"]["mean_ms"], 2) if batch.get("e2e") else ""
    return [name, size, *statistics, _number(batch["throughput_samples_per_sec"], 1), end_to_end, str(batch["n"])]


def _steps(results: Mapping[str, Any]) -> str:
    rows = [
        ([step, entry["state"], _number(entry["seconds"], 1), ", ".join(uid[:8] for uid in entry["uids"].values())], "")
        for step, entry in results.items()
    ]
    return "<h2>Steps</h2>" + _table(["step", "state", "seconds", "runs (uid)"], rows)


def _table(head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(f"<tr class='{kind}'>{''.join(map(_cell, row))}</tr>" for row, kind in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(text: str) -> str:
    number = text.replace(".", "", 1).replace("-", "", 1).isdigit()
    return f"<td{' class=n' if number else ''}>{html.escape(text)}</td>"


def _picture(path: str | None) -> str:
    if path is None or not Path(path).is_file():
        return ""
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return f"<p><img alt='{html.escape(Path(path).stem)}' src='data:image/png;base64,{data}'></p>"


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
