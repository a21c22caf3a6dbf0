"""What callers give, as what a journal can hold. What cannot be held is told, and takes nothing else with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from nertrail.records import Artifact, DatasetInput, RunRecord, RunRef, Value
from nertrail.tracking.boundary import quietly

_LONGEST_INT = 10_000  # bits; Python refuses to write much longer ones
_FARTHEST_STEP = 2**63 - 1  # what a store's column holds
_T = TypeVar("_T")
Lost = Callable[[], None]  # called for each value that is not recorded


def plain_record(record: RunRecord, lost: Lost) -> RunRecord:
    """The record with texts for names, and with plain values and numbers."""
    return RunRecord(
        plain_values(record.params, lost),
        plain_numbers(record.metrics, lost),
        plain_values(record.tags, lost),
        tuple(_each(_artifact, record.artifacts, lost)),
        tuple(_each(_dataset, record.datasets, lost)),
    )


def plain_values(values: Any, lost: Lost) -> dict[str, Value]:
    """Params or tags, of a mapping or of pairs; of what is neither plain nor a reference to a run, its text."""
    return dict(_each(_pair, _pairs(values, lost), lost))


def plain_numbers(metrics: Any, lost: Lost) -> dict[str, float]:
    """The metrics that are numbers."""
    return dict(_each(_number, _pairs(metrics, lost), lost))


def plain_int(value: Any, default: int) -> int:
    """The value as a whole number that a store can hold, the default for None and for what is no such number."""
    number = default if value is None else quietly(_int, value)
    return default if number is None else number


def _pairs(values: Any, lost: Lost) -> Iterable[tuple[Any, Any]]:
    found = {} if values is None else quietly(_dict, values)
    if found is None:
        lost()
    return (found or {}).items()


def _dict(values: Any) -> Mapping[Any, Any]:
    return values if isinstance(values, dict) else dict(values)


def _each(action: Callable[[Any], _T], values: Iterable[Any], lost: Lost) -> Iterable[_T]:
    for value in values:
        done = quietly(action, value)
        if done is None:
            lost()
        else:
            yield done


def _pair(pair: tuple[Any, Any]) -> tuple[str, Value]:
    return _name(pair[0]), _value(pair[1])


def _value(value: Any) -> Value:
    if value is None or isinstance(value, (str, bool, float, RunRef)):
        return value
    if isinstance(value, int) and value.bit_length() < _LONGEST_INT:
        return value
    if isinstance(value, tuple) and value and all(isinstance(each, RunRef) for each in value):
        return value
    return str(value)  # before secrets are taken out: they stand in lists and in errors, too


def _number(pair: tuple[Any, Any]) -> tuple[str, float]:
    key, value = pair
    if type(value) is float and type(key) is str:  # nearly all: this is done for every value of every step
        return key, value
    try:
        return _name(key), float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metric {key!r} is not a number: {value!r}") from error


def _int(value: Any) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no step and no time")
    number = int(value)
    if abs(number) > _FARTHEST_STEP:
        raise ValueError("a step or a time has more than 63 bits")
    return number


def _name(key: Any) -> str:
    return key if type(key) is str else str(key)


def _artifact(artifact: Artifact) -> Artifact:
    return replace(artifact, path=Path(artifact.path), name=_name(artifact.name))


def _dataset(dataset: DatasetInput) -> DatasetInput:
    return DatasetInput(*(_name(part) for part in (dataset.name, dataset.digest, dataset.source, dataset.context)))
