"""Every setting of an experiment with its default: what the code knows, and what docs/configuration.md says."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from nertrail.config import Model
from nertrail.experiment import Experiment
from nertrail.stages.data import DataConfig
from nertrail.stages.search import Dimension

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
REQUIRED = "required"
ROW = re.compile(r"^\| `([^`]+)` \| (?:`([^`]*)`|(required)) \| (.+) \|$", re.MULTILINE)


def known(kind: type[Model] = Experiment, above: str = "") -> dict[str, Any]:
    """Dotted key → default as plain data, or REQUIRED. A section that may be missing has a row of its own."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        found.update(_field(f"{above}{name}", field))
    return found


def _field(key: str, field: FieldInfo) -> Iterator[tuple[str, Any]]:
    below = _section(field.annotation)
    default = REQUIRED if field.is_required() else _plain(field.get_default(call_default_factory=True))
    if below is None or default is None or key == "backbones":
        yield key, default
    if below is not None and (below is not DataConfig or key == "data"):  # training.source_data is like data
        yield from known(below, f"{key}.").items()


def dimensions() -> dict[str, Any]:
    """The same of the kinds of dimension, each key below the name of its kind."""
    union = get_args(Dimension)[0]
    kinds = {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(union)}
    rows = {f"{name}.{key}": value for name, kind in kinds.items() for key, value in known(kind).items()}
    return {key: value for key, value in rows.items() if not key.endswith(".type")}


def documented() -> list[tuple[str, Any]]:
    """The rows of the page's tables, in their order."""
    text = PAGE.read_text(encoding="utf-8")
    return [(key, REQUIRED if word else yaml.safe_load(value)) for key, value, word, _ in ROW.findall(text)]


def _section(annotation: Any) -> type[Model] | None:
    """The settings class below a field: its own, that of an optional one, or that of a list's items."""
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, Model):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, Annotated):
        return next((found for part in get_args(annotation) if (found := _section(part))), None)
    return None


def _plain(value: Any) -> Any:
    """As YAML holds it."""
    if isinstance(value, Model):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else dict(value) if hasattr(value, "items") else value
