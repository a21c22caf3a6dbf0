"""The names of docs/run-contents.md as pure functions, used by the trackers and by the stages' `record()` alike."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nertrail.errors import DataError
from nertrail.records import RunRecord, RunRef, Value, run_reference

TRAINING_PARAMS = (
    "learning_rate", "batch_size", "dropout", "weight_decay", "epochs", "backbone", "data_version", "dataset_path",
    "training_type", "source_checkpoint", "data_strategy", "random_seed", "max_length", "stride", "precision",
)  # fmt: skip
STATISTICS = ("std", "min", "max", "p50", "p95", "p99")
ENTITY_SCORES = ("precision", "recall", "f1", "support")
_REFUSED = re.compile(r"[^\w/.\-: ]")
_HARDWARE_TAGS = {"cpu": "hw.cpu", "cores": "hw.cores", "isa": "hw.isa", "torch": "sw.torch"}


def prefixed(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The metrics under `prefix` + name, as in test_macro-f1 or eval_loss."""
    return {f"{prefix}{name}": value for name, value in metrics.items()}


def run_name(template: str, uid: str, backbone: str = "") -> str:
    """The template with `{run_id}` (first 8 characters of the run's uid) and `{backbone}` filled in."""
    return template.replace("{run_id}", uid[:8]).replace("{backbone}", backbone)


def safe_name(name: str) -> str:
    """The name with `_` for every character that MLflow refuses, and as its normalised path."""
    clean = os.path.normpath(_REFUSED.sub("_", name)).replace("\\", "/").lstrip("/")
    parts = ["_" if part == ".." else part for part in clean.split("/")]
    return "/".join(parts) if clean not in ("", ".") else "_"


def entity_metrics(per_entity: Mapping[str, Any]) -> dict[str, float]:
    """`{entity}_precision` and so on, of scores given as mappings or as objects with those attributes.

    Raises:
        DataError: two entity types have the same name once refused characters are replaced.
    """
    metrics: dict[str, float] = {}
    for entity, scores in per_entity.items():
        named = {f"{safe_name(entity)}_{score}": _get(scores, score) for score in ENTITY_SCORES}
        if not metrics.keys().isdisjoint(named):
            problem = f"two entity types are both written as {safe_name(entity)!r} in metric names"
            raise DataError(problem, place=f"entity type {entity!r}", remedy="rename one of them with data.label_map")
        metrics.update(named)
    return {name: float(value) for name, value in metrics.items() if value is not None}


def metric_names(types: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Every entity type with each of the metrics that a training names after it, those of the test split too."""
    for entity in types:
        for score in ENTITY_SCORES:
            name = f"{safe_name(entity)}_{score}"
            yield from ((entity, name), (entity, f"test_{name}"))


def flatten(config: Any) -> dict[str, Any]:
    """A nested config as one level: leaves under their own name, and under the dotted path where names repeat."""
    flat: dict[str, Any] = {}
    for path, value in _leaves(_mapping(config), ()):
        name = path[-1] if path[-1] not in flat else ".".join(path)
        flat[name] = value
    return flat


def training_params(config: Any, data_config: Any = None, **given: Any) -> dict[str, Value]:
    """The params of a training run: what is given by name, else what a config has under that name."""
    known = {
        **flatten(data_config),
        **flatten(config),
        **{key: value for key, value in given.items() if value is not None},
    }
    return {name: _param(known[name]) for name in TRAINING_PARAMS if known.get(name) is not None}


def sweep_params(
    hpo_config: Any,
    backbone: str,
    study_name: str,
    checkpoint_config: Any,
    storage_path: str | Path | None,
    resumed: bool,
) -> dict[str, Value]:
    """The params of a sweep run, known when it begins."""
    config, checkpoint = flatten(hpo_config), flatten(checkpoint_config)
    metric = config.get("metric", config.get("primary_metric", config.get("objective_metric", "macro-f1-span")))
    return {
        "primary_metric": _param(metric),
        "objective_metric": _param(metric),
        "objective_goal": _param(config.get("goal", config.get("objective_goal", "maximize"))),
        "backbone": backbone,
        "max_trials": _param(config.get("max_trials")),
        "study_name": study_name,
        "checkpoint_enabled": bool(checkpoint.get("enabled", storage_path is not None)),
        "checkpoint_path": str(storage_path) if storage_path else "",
        "checkpoint_storage_type": storage_type(storage_path),
        "resumed_from_checkpoint": resumed,
    }


def storage_type(storage: str | Path | None) -> str:
    """memory, sqlite, journal or postgresql: the kind of an Optuna storage, by its path or URL."""
    text = str(storage or "")
    if not text:
        return "memory"
    if text.startswith("postgres"):
        return "postgresql"
    return "sqlite" if text.startswith("sqlite") or text.endswith((".db", ".sqlite")) else "journal"


def benchmark_params(doc: Mapping[str, Any]) -> dict[str, Value]:
    """The params of a benchmark run, of a benchmark.json document."""
    sizes = doc.get("batch_sizes") or sorted(int(size) for size in doc.get("batches", {}))
    params = {
        name: doc.get(name)
        for name in ("iterations", "warmup_iterations", "max_length", "device", "backend", "threads")
    }
    named = {f"benchmark_{name}": _param(value) for name, value in params.items() if value is not None}
    return {"benchmark_batch_sizes": ",".join(str(size) for size in sizes), **named}


def benchmark_metrics(doc: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a benchmark run, of a benchmark.json document."""
    metrics: dict[str, float] = {}
    for size, batch in doc.get("batches", {}).items():
        metrics.update(_series_metrics(size, batch))
        metrics.update(prefixed(_series_metrics(size, batch.get("e2e") or {}), "e2e_"))
    rates = [batch["throughput_samples_per_sec"] for batch in doc.get("batches", {}).values()]
    if rates:
        metrics["throughput_samples_per_sec"] = max(rates)
    extra = {name: doc.get(name) for name in ("peak_memory_mb", "model_load_seconds", "first_call_ms")}
    known = {name: value for name, value in extra.items() if value is not None}
    return {**metrics, **known, **_speedup_metrics(doc.get("speedup") or {})}


def benchmark_tags(doc: Mapping[str, Any]) -> dict[str, Value]:
    """The hardware and library tags of a benchmark run."""
    hardware = doc.get("hardware") or {}
    named = {**_HARDWARE_TAGS, "onnxruntime": "sw.onnxruntime"}
    tags: dict[str, Value] = {tag: str(hardware[key]) for key, tag in named.items() if hardware.get(key) is not None}
    tags |= {"contended": str(doc["contended"]).lower()} if "contended" in doc else {}
    return {**tags, "percentiles": "underpowered"} if doc.get("underpowered") else tags


def conversion_params(
    source: str | Path, target: str, quantization: str | None, opset_version: int, backbone: str
) -> dict[str, Value]:
    """The params of a conversion run."""
    return {
        "conversion_source": str(source),
        "conversion_target": target,
        "quantization": quantization or "none",
        "onnx_opset_version": opset_version,
        "conversion_backbone": backbone,
    }


def conversion_metrics(
    success: bool, model_mb: float | None = None, checkpoint_mb: float | None = None, smoke: bool | None = None
) -> dict[str, float]:
    """The metrics of a conversion run; the smoke test counts as failed where it could not run."""
    metrics = {"conversion_success": float(success), "smoke_test_passed": float(bool(smoke))}
    if model_mb:
        metrics["onnx_model_size_mb"] = model_mb
    if model_mb and checkpoint_mb:
        metrics["compression_ratio"] = checkpoint_mb / model_mb
    return metrics


def study_metrics(study: Any, objective_metric: str) -> dict[str, float]:
    """The counts and the best value of a finished Optuna study."""
    states = [trial.state.name for trial in study.trials]
    counts = {"completed": states.count("COMPLETE"), "pruned": states.count("PRUNED"), "failed": states.count("FAIL")}
    metrics = {"n_trials": float(len(states)), **{f"n_{name}_trials": float(n) for name, n in counts.items()}}
    return {**metrics, f"best_{objective_metric}": float(study.best_value)} if counts["completed"] else metrics


def best_params(params: Mapping[str, Any]) -> dict[str, Value]:
    """The winner's hyperparameters under `best_<param>`."""
    return {f"best_{name}": _param(value) for name, value in params.items()}


def _series_metrics(size: int | str, series: Mapping[str, float]) -> dict[str, float]:
    keys = {
        "mean_ms": f"latency_batch_{size}_ms",
        "throughput_samples_per_sec": f"throughput_batch_{size}_samples_per_sec",
    }
    keys |= {f"{name}_ms": f"latency_batch_{size}_{name}_ms" for name in STATISTICS}
    return {name: float(series[key]) for key, name in keys.items() if series.get(key) is not None}


def _speedup_metrics(speedup: Mapping[str, Any]) -> dict[str, float]:
    """`speedup_batch_{b}` and its interval, of a benchmark.json document's `speedup`; model alone and end to end."""
    ends = {"ratio": "", "low": "_low", "high": "_high"}
    return {
        f"{scope}speedup_batch_{size}{end}": float(found[key])
        for scope, kind in (("", "batches"), ("e2e_", "e2e"))
        for size, found in speedup.get(kind, {}).items()
        for key, end in ends.items()
    }


def _param(value: Any) -> Value:
    if isinstance(value, (str, int, float, bool, RunRef)):
        return value
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], RunRef):
        return ",".join(str(item) for item in value)
    return value if isinstance(value, tuple) else str(value)


def _get(scores: Any, name: str) -> Any:
    return scores.get(name) if isinstance(scores, Mapping) else getattr(scores, name)


def _mapping(config: Any) -> Mapping[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return config
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    values: Mapping[str, Any] = config.model_dump() if hasattr(config, "model_dump") else vars(config)
    return values


def _leaves(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for key, value in node.items():
        here = (*path, str(key))
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        else:
            yield here, value


def source_run(run: Any) -> dict[str, Value]:
    """`source_training_run` and, where the run is one of ours, its uid beside it."""
    if run is None:
        return {}
    ref = run if isinstance(run, RunRef) else RunRef(run.uid) if hasattr(run, "uid") else None
    if ref is None:  # an id of the server, or the folder of a checkpoint
        return {"source_training_run": str(run)}
    return {"source_training_run": ref, "source_training_run_uid": ref.uid}


def selection_record(doc: Mapping[str, Any]) -> RunRecord:
    """What a selection run shows, of the document of a selection.json: objective, best_score, batch_size, strategy,
    reason, config and verdicts, each with `selected` and a candidate of backbone, params, score, latency_ms (by batch
    size), sweep_uid and benchmark_uid.
    """
    candidates = [verdict["candidate"] for verdict in doc["verdicts"]]
    chosen = next(verdict["candidate"] for verdict in doc["verdicts"] if verdict["selected"])
    metric, latency = doc["objective"], chosen["latency_ms"].get(str(doc["batch_size"]))
    params = {
        "selected_backbone": chosen["backbone"],
        **chosen["params"],
        "selection_strategy": doc["strategy"],
        **doc["config"],
    }
    return RunRecord(
        params={name: _param(value) for name, value in params.items()},
        metrics={
            f"selected_{metric}": float(chosen["score"]),
            f"best_{metric}": float(doc["best_score"]),
            "n_candidates": float(len(candidates)),
            **({} if latency is None else {"selected_latency_ms": float(latency)}),
        },
        tags={
            "selection_reason": doc["reason"],
            **run_reference("source_sweep_runs", *(candidate.get("sweep_uid", "") for candidate in candidates)),
            **run_reference("source_benchmark_runs", *(candidate.get("benchmark_uid", "") for candidate in candidates)),
        },
    )
