"""The lines of a journal: one event each, as `crc32 json`, and the way back from a line to an event."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from nertrail.records import DatasetInput, RunRecord, RunRef, Value
from nertrail.tracking.protocol import Point, RunStart

SCHEMA = 1
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
Event = dict[str, Any]  # {"op": header | start | log | metrics | end, "run": uid, "t": milliseconds, ...}


class BadLine(ValueError):
    """A line whose checksum does not fit what it says."""


def encode(event: Event) -> bytes:
    """The event as one line."""
    body = _to_json(event).encode("utf-8", "backslashreplace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Event:
    """The event of one line, with or without its line feed.

    Raises:
        BadLine: the checksum is wrong.
    """
    mark, _, body = line.rstrip(b"\n").partition(b" ")
    if mark != b"%08x" % zlib.crc32(body):
        raise BadLine(line[:80])
    event: Event = json.loads(body)
    return event


def start_event(run: RunStart) -> Event:
    """A run begins, or is opened again."""
    return {
        "op": "start",
        "run": run.uid,
        "t": run.start_ms,
        "name": run.name,
        "experiment": run.experiment,
        "tags": _encoded(run.tags),
    }


def run_start(event: Event) -> RunStart:
    """The way back from `start_event`."""
    return RunStart(event["run"], event["name"], event["experiment"], event["t"], _decoded(event["tags"]))


def log_event(uid: str, record: RunRecord, artifacts: Sequence[Mapping[str, Any]], at_ms: int) -> Event:
    """A record, with its artifacts as the blob store describes them. Empty parts are left out."""
    parts: dict[str, Any] = {
        "params": _encoded(record.params),
        "metrics": {key: _number(value) for key, value in record.metrics.items()},
        "tags": _encoded(record.tags),
        "artifacts": list(artifacts),
        "datasets": [vars(dataset) for dataset in record.datasets],
    }
    return {"op": "log", "run": uid, "t": at_ms, **{name: part for name, part in parts.items() if part}}


def log_record(event: Event) -> RunRecord:
    """The way back from `log_event`, without the artifacts: those are to be fetched from the blob store."""
    return RunRecord(
        params=_decoded(event.get("params", {})),
        metrics={key: float(value) for key, value in event.get("metrics", {}).items()},
        tags=_decoded(event.get("tags", {})),
        datasets=tuple(DatasetInput(**dataset) for dataset in event.get("datasets", ())),
    )


def metrics_event(uid: str, points: Sequence[Point]) -> Event:
    """Values of metrics."""
    return {"op": "metrics", "run": uid, "v": [(p.key, _number(p.value), p.step, p.at_ms) for p in points]}


def event_points(event: Event) -> list[Point]:
    """The way back from `metrics_event`."""
    return [Point(key, float(value), step, at_ms) for key, value, step, at_ms in event["v"]]


def end_event(uid: str, status: str, at_ms: int) -> Event:
    """A run ends."""
    return {"op": "end", "run": uid, "status": status, "t": at_ms}


def event_time(event: Event) -> int:
    """When the event was logged, in milliseconds."""
    return max((point[3] for point in event["v"]), default=0) if event["op"] == "metrics" else int(event["t"])


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity: they are written as text, which `float` reads."""
    return value if math.isfinite(value) else str(value)


def _encoded(values: Mapping[str, Value]) -> dict[str, Any]:
    return {str(key): _encoded_value(value) for key, value in values.items()}


def _encoded_value(value: Any) -> Any:
    """Plain values as they are; references typed, so that no text can be taken for one."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, RunRef):
        return {"ref": value.uid}
    if isinstance(value, tuple) and all(isinstance(ref, RunRef) for ref in value):
        return {"refs": [ref.uid for ref in value]}
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


def _decoded(values: Mapping[str, Any]) -> dict[str, Value]:
    return {key: _decoded_value(value) for key, value in values.items()}


def _decoded_value(value: Any) -> Value:
    if not isinstance(value, dict):
        plain: Value = value
        return plain
    if "ref" in value:
        return RunRef(value["ref"])
    return tuple(RunRef(uid) for uid in value["refs"])
