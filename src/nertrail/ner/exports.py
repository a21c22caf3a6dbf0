"""Predictions as text that other tools read: JSON Lines of our own, Prodigy's, Label Studio's."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nertrail import __version__
from nertrail.ner.entities import Entity
from nertrail.ner.texts import Text

Answer = tuple[Text, Sequence[Entity]]
MODEL_VERSION = f"nertrail {__version__}"


def export(answers: Iterable[Answer], form: str) -> Iterator[str]:
    """The lines of a file of this format, one per answer, as the answers come.

    Args:
        form: "jsonl", "prodigy" or "labelstudio" (one JSON array of tasks, as its import wants it).
    """
    rows = (json.dumps(FORMATS[form](*answer), ensure_ascii=False) for answer in answers)
    return _array(rows) if form == "labelstudio" else rows


def _plain(text: Text, entities: Sequence[Entity]) -> dict[str, Any]:
    found = [{**_span(entity), "text": text.text[entity.start : entity.end]} for entity in entities]
    return {"id": text.id, "text": text.text, **_meta(text), "entities": found}


def _prodigy(text: Text, entities: Sequence[Entity]) -> dict[str, Any]:
    # Prodigy shows `meta` below the text; `spans` are where its manual recipes start from.
    # What the user wrote there stays; an id of the record's own joins it, a line's number only where there is nothing.
    meta = {"id": text.id, **(text.meta or {})} if text.own_id or not text.meta else text.meta
    return {"text": text.text, "spans": [_span(entity) for entity in entities], "meta": meta}


def _label_studio(text: Text, entities: Sequence[Entity]) -> dict[str, Any]:
    """A task with a prediction, for a labelling config with <Labels name="label" toName="text">."""
    result = [_region(number, text.text, entity) for number, entity in enumerate(entities)]
    score = statistics.fmean(entity.score for entity in entities) if entities else 1.0
    prediction = {"model_version": MODEL_VERSION, "score": round(score, 6), "result": result}
    return {"data": {"text": text.text, "id": text.id, **_meta(text)}, "predictions": [prediction]}


def _region(number: int, text: str, entity: Entity) -> dict[str, Any]:
    value = {"start": entity.start, "end": entity.end, "text": text[entity.start : entity.end]}
    return {
        "id": f"r{number}",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "score": entity.score,
        "value": {**value, "labels": [entity.label]},
    }


def _span(entity: Entity) -> dict[str, Any]:
    return {"start": entity.start, "end": entity.end, "label": entity.label, "score": entity.score}


def _meta(text: Text) -> dict[str, Any]:
    return {} if text.meta is None else {"meta": text.meta}


def _array(rows: Iterable[str]) -> Iterator[str]:
    """The rows as one JSON array, which is closed even where a later row fails."""
    before = "["
    try:
        for row in rows:
            yield before + row
            before = ","
    except Exception:
        yield _end(before)
        raise
    yield _end(before)


def _end(before: str) -> str:
    return "[]" if before == "[" else "]"


FORMATS: Mapping[str, Callable[[Text, Sequence[Entity]], dict[str, Any]]] = {
    "jsonl": _plain,
    "prodigy": _prodigy,
    "labelstudio": _label_studio,
}
