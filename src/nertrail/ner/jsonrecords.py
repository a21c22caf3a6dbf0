"""What one JSON record says, whichever annotation tool wrote it.

Known: `text` with entities under `entities`, `annotations`, `spans` (Prodigy) or `label` (doccano, Label Studio's
short form); Label Studio's tasks; DataTurks' `content` with `annotation`; `tokens` with tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nertrail.ner.quirks import DROP, KEEP
from nertrail.ner.sources import Source

SPAN_KEYS = ("entities", "annotations", "spans", "label", "labels")
TAG_KEYS = ("ner_tags", "tags", "labels", "ner")
SHAPE = 'each record is {"text": "...", "entities": [[start, end, "TYPE"], ...]}'
SPAN_SHAPE = 'an entity is [start, end, "TYPE"] or {"start": 0, "end": 4, "label": "TYPE"}'
TOOLS = "export it again from the annotation tool"
STUDIO_LABELS = ("labels", "hypertextlabels")


@dataclass(frozen=True)
class Item:
    """An entity as it stands: offsets unchecked, with its own text if the tool wrote it down."""

    start: int
    end: int
    label: str
    text: str | None = None
    inclusive: bool = False


@dataclass(frozen=True)
class Annotated:
    """A record's text and entities."""

    text: str
    items: tuple[Item, ...]


def read(record: Mapping[str, Any], line: int, source: Source) -> Annotated | None:
    """Return what a record holds, None where the policies leave it out.

    Raises:
        DataError: no known shape, or something of the wrong type in it.
    """
    if isinstance(record.get("data"), dict):
        return _studio(record, line, source)
    if "content" in record and "annotation" in record:
        entries = _list(record["annotation"], "annotation", line, source)
        items = [item for entry in entries for item in _turks(entry, line, source)]
        return Annotated(text_of(record, "content", line, source), tuple(items))
    text = text_of(record, "text", line, source)
    if _rejected(record.get("answer", "accept") != "accept", line, source):
        return None
    items = [item for entry in _entries(record, line, source) for item in items_of(entry, line, source)]
    if text.strip() and _is_unannotated(record) and source.meet("records_without_annotation", line) == DROP:
        return None
    return Annotated(text, tuple(items))


def has_tokens(record: Mapping[str, Any]) -> bool:
    """Whether a record is tokens and tags; Prodigy's records have tokens too, beside their text."""
    return "text" not in record and "tokens" in record and any(key in record for key in TAG_KEYS)


def tokens_and_tags(record: Mapping[str, Any], line: int, source: Source) -> Iterator[tuple[str, str]]:
    """Yield the tokens of a record with their tags.

    Raises:
        DataError: they are no lists of strings, or differ in length.
    """
    key = next(key for key in TAG_KEYS if key in record)
    tokens, tags = record["tokens"], record[key]
    for name, values in (("tokens", tokens), (key, tags)):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            remedy = "save the tags with their names (a ClassLabel feature), or as strings such as B-PER"
            raise source.error(line, f"`{name}` is not a list of strings: {_short(values)}", remedy)
    if len(tokens) != len(tags):
        found = f"{len(tokens)} tokens, but {len(tags)} tags"
        raise source.error(line, found, "give one tag per token")
    yield from zip(tokens, tags, strict=True)


def text_of(record: Mapping[str, Any], key: str, line: int, source: Source) -> str:
    """The text under `key`, with half surrogates as the policy says."""
    text = record.get(key)
    if not isinstance(text, str):
        found = f"`{key}` is {kind(text)}, not a string" if key in record else f"the record has no `{key}`"
        raise source.error(line, found, SHAPE)
    if any("\ud800" <= character <= "\udfff" for character in text):
        found, remedy = "the text holds half of a surrogate pair", "write the file as UTF-8 without \\ud8xx escapes"
        source.meet("half_surrogate", line, found, remedy)
        text = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text


def items_of(entry: Any, line: int, source: Source, inclusive: bool = False) -> Iterator[Item]:
    """Yield an entity, once per label; nothing where it has none and the policy drops it."""
    own = entry.get("text") if isinstance(entry, dict) else None
    if isinstance(entry, dict):
        label = next((entry[key] for key in ("label", "labels", "type") if entry.get(key) is not None), None)
        entry = [_first(entry, "start", "start_offset"), _first(entry, "end", "end_offset"), label]
    if not isinstance(entry, list) or len(entry) != 3:
        raise source.error(line, f"an entity is {_short(entry)}", SPAN_SHAPE)
    start, end, labels = entry
    for name, value in (("start", start), ("end", end)):
        if type(value) is not int:
            raise source.error(line, f"an entity's {name} is {kind(value)}: {_short(entry)}", SPAN_SHAPE)
    for label in _labels(labels, entry, line, source):
        yield Item(start, end, label, own if isinstance(own, str) else None, inclusive)


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def origin_of(record: Mapping[str, Any], field: str) -> str | None:
    """What stands under a dotted key of a record or of its `meta`, as text."""
    for root in (record, record.get("meta")):
        value: Any = root
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str | int) and value != "":
            return str(value)
    return None


def _labels(labels: Any, entry: Any, line: int, source: Source) -> list[str]:
    found = labels if isinstance(labels, list) else [labels]
    if not found or labels is None:
        source.meet("span_without_label", line, f"an entity without a label: {_short(entry)}")
        return []
    for label in found:
        if not isinstance(label, str):
            raise source.error(line, f"an entity's label is {kind(label)}: {_short(entry)}", SPAN_SHAPE)
    return found


def _entries(record: Mapping[str, Any], line: int, source: Source) -> list[Any]:
    key = next((key for key in SPAN_KEYS if key in record), None)
    entries = [] if key is None else record[key]
    if not isinstance(entries, list):
        raise source.error(line, f"`{key}` is {kind(entries)}, not a list", SPAN_SHAPE)
    if record.get("relations"):  # doccano
        source.meet("other_annotations", line)
    return entries


def _is_unannotated(record: Mapping[str, Any]) -> bool:
    return not any(key in record for key in SPAN_KEYS)


def _rejected(rejected: bool, line: int, source: Source) -> bool:
    return rejected and source.meet("answer_not_accept", line) != KEEP


def _studio(task: Mapping[str, Any], line: int, source: Source) -> Annotated | None:
    """Read a task of Label Studio's full export; predictions are no annotations."""
    data, key = task["data"], "annotations" if task.get("annotations") else "completions"
    results = [_object(result, key, line, source) for result in _list(task.get(key), key, line, source) if result]
    found = [result for result in results if not _rejected(bool(result.get("was_cancelled")), line, source)]
    if results and not found:
        return None
    text = text_of(data, _studio_key(data, results, line, source), line, source)
    if text.strip() and not results and source.meet("records_without_annotation", line) == DROP:
        return None
    found.sort(key=lambda result: not result.get("ground_truth"))
    read = [tuple(_studio_items(result, line, source)) for result in found]
    if len({frozenset(items) for items in read}) > 1:
        problem = f"{len(read)} annotations that differ"
        if source.meet("annotators_differ", line, problem, "decide on one, or mark it as ground truth") == DROP:
            return None
    return Annotated(text, read[0] if read else ())


def _studio_key(data: Mapping[str, Any], results: Sequence[Mapping[str, Any]], line: int, source: Source) -> str:
    """The key of the task's text: the one annotations name, else `text`, else its only string."""
    named = [entry.get("to_name") for result in results for entry in _studio_results(result, line, source)]
    strings = [key for key, value in data.items() if isinstance(value, str)]
    candidates = [key for key in strings if key in named] or [key for key in strings if key == "text"] or strings
    return candidates[0] if candidates else "text"


def _studio_items(annotation: Mapping[str, Any], line: int, source: Source) -> Iterator[Item]:
    for entry in _studio_results(annotation, line, source):
        if entry.get("type") not in STUDIO_LABELS:
            source.meet("other_annotations", line)
            continue
        value = _object(entry.get("value") or {}, "value", line, source)
        yield from items_of({**value, "label": value.get(entry["type"])}, line, source)


def _studio_results(annotation: Mapping[str, Any], line: int, source: Source) -> list[dict[str, Any]]:
    entries = _list(annotation.get("result"), "result", line, source)
    return [_object(entry, "result", line, source) for entry in entries]


def _turks(entry: Any, line: int, source: Source) -> Iterator[Item]:
    """Yield DataTurks' points; their ends are inclusive."""
    if not isinstance(entry, dict) or not isinstance(entry.get("points"), list):
        raise source.error(line, f"an annotation is {_short(entry)}", "DataTurks' has `label` and `points`")
    for point in entry["points"]:
        point = _object(point, "points", line, source)
        yield from items_of({**point, "label": entry.get("label")}, line, source, inclusive=True)


def _list(value: Any, key: str, line: int, source: Source) -> list[Any]:
    """A list, an empty one for null."""
    if value is not None and not isinstance(value, list):
        raise source.error(line, f"`{key}` is {kind(value)}, not a list", TOOLS)
    return value or []


def _object(value: Any, key: str, line: int, source: Source) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise source.error(line, f"`{key}` holds {kind(value)}, not an object: {_short(value)}", TOOLS)
    return value


def _first(entry: Mapping[str, Any], *keys: str) -> Any:
    return next((entry[key] for key in keys if key in entry), None)


def _short(value: Any) -> str:
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        text = "nested too deeply to be shown"
    return text if len(text) <= 80 else f"{text[:77]}..."
