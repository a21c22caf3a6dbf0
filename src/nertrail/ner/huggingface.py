"""Hugging Face datasets saved to disk: Arrow files read with pyarrow, without the library that wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nertrail.errors import DataError
from nertrail.ner import conll
from nertrail.ner.documents import Document
from nertrail.ner.jsonrecords import kind
from nertrail.ner.jsonspans import document
from nertrail.ner.sources import Source

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
SAVE_AGAIN = "save it again with Dataset.save_to_disk"
Decode = Callable[[Any], Any]


def is_split(folder: Path) -> bool:
    """Whether a folder is one dataset saved to disk."""
    return (folder / STATE).is_file()


def parse(source: Source) -> Iterator[Document]:
    """Yield the rows as documents; a place is the row's number, from 1."""
    begins = conll.Begins()
    decode = _features(source.path / INFO)
    for number, row in enumerate(_rows(source.path), 1):
        try:
            record = decode(row)
        except ValueError as error:
            raise source.error(number, f"lists of unequal length in one row: {error}", SAVE_AGAIN) from error
        yield from document(record, number, begins, source)
    begins.report(source)


def _features(path: Path) -> Decode:
    described = _json(path)
    try:
        return _struct(described.get("features") or {})
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"describes no features: {error!r}", place=str(path), remedy=SAVE_AGAIN) from error


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    import pyarrow

    state = _json(folder / STATE)
    if state.get("_indices_data_files"):
        raise DataError("the dataset is an unflattened selection of rows", place=str(folder), remedy=SAVE_AGAIN)
    try:
        paths = [folder / str(file["filename"]) for file in state.get("_data_files") or ()]
    except (KeyError, TypeError) as error:
        found, place = f"names no data files: {error!r}", str(folder / STATE)
        raise DataError(found, place=place, remedy=SAVE_AGAIN) from error
    for path in paths:
        try:
            with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_stream(mapped) as batches:
                for batch in batches:
                    batch.validate(full=True)  # damaged bytes would crash the conversion
                    yield from batch.to_pylist()
        except (OSError, ValueError, SystemError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise DataError(f"can't read the Arrow file: {error}", place=str(path), remedy=SAVE_AGAIN) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"can't be read: {error}", place=str(path), remedy=SAVE_AGAIN) from error
    if not isinstance(found, dict):
        raise DataError(f"holds {kind(found)}, not an object", place=str(path), remedy=SAVE_AGAIN)
    return found


def _decoder(feature: Any) -> Decode:
    """What turns a stored value into a plain one: class labels into names, a struct of lists into a list of objects."""
    if isinstance(feature, list):
        return _each(_decoder(feature[0]))
    if not isinstance(feature, dict):
        return lambda value: value
    if feature.get("_type") == "ClassLabel":
        return _named(feature["names"])
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        inner = feature["feature"]
        is_struct = isinstance(inner, dict) and "_type" not in inner
        return _transposed(_decoder(inner)) if is_struct else _each(_decoder(inner))
    return (lambda value: value) if "_type" in feature else _struct(feature)


def _named(names: list[str]) -> Decode:
    return lambda value: names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _each(decode: Decode) -> Decode:
    return lambda values: None if values is None else [decode(value) for value in values]


def _struct(features: Mapping[str, Any]) -> Decode:
    decoders = {name: _decoder(feature) for name, feature in features.items()}
    same: Decode = lambda value: value  # noqa: E731
    return lambda row: row if row is None else {name: decoders.get(name, same)(value) for name, value in row.items()}


def _transposed(decode: Decode) -> Decode:
    """A sequence of objects is stored as such, or as one object of lists."""

    def rows(value: Any) -> Any:
        if isinstance(value, dict):
            value = [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
        return None if value is None else [decode(row) for row in value]

    return rows
