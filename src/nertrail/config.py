"""Checked settings: a frozen base model, mistakes told with their file, line and key, "did you mean"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import pydantic

from nertrail.errors import ConfigError
from nertrail.yamlfile import Key, line_of


class Model(pydantic.BaseModel):
    """Base of every settings class: frozen, and an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Misplaced(ValueError):
    """A mistake that a validator found further down.

    Args:
        key: where, seen from the model that raises it.
        known: what may stand there; the nearest is proposed.
    """

    def __init__(self, problem: str, key: Key, known: Iterable[str] = ()) -> None:
        self.key, self.known = key, tuple(known)
        super().__init__(problem)


M = TypeVar("M", bound=Model)


def build(
    kind: type[M], tree: Mapping[str, Any], place: str, text: str | None = None, overridden: Iterable[str] = ()
) -> M:
    """`tree` as a validated, frozen `kind`.

    Args:
        place: the file that `tree` came from, for messages.
        text: that file's text; with it messages name the line.
        overridden: assignments laid over the file; a mistake in one is told as theirs.

    Raises:
        ConfigError: names file, line, key, what was found and the nearest known key.
    """
    try:
        return kind.model_validate(tree)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        key: Key = _without_tags(tuple(first["loc"]), tree)
        key = (*key, *cause.key) if isinstance(cause, Misplaced) else key
        if first["type"] == "union_tag_invalid":
            key = (*key, first["ctx"]["discriminator"].strip("'"))
        raise ConfigError(
            f"{_dotted(key)}: {_problem(first)}",
            place=place_of(key, place, text, overridden),
            remedy=_remedy(kind, tree, key, first),
        ) from None


def place_of(key: Key, place: str, text: str | None, overridden: Iterable[str]) -> str:
    """An override where one set the key, a part of it or a section around it; else the file and the line."""
    dotted = _dotted(key)
    for name in (assignment.partition("=")[0].strip() for assignment in overridden):
        if f"{dotted}.".startswith(f"{name}.") or name.startswith(f"{dotted}."):
            return f"--set {name}"
    line = line_of(text, key) if text else None
    return f"{place}:{line}" if line else place


def _without_tags(location: Key, tree: Any) -> Key:
    """Drop from a pydantic location what is the name of a union's member, not a key of the file."""
    kept: list[str | int] = []
    for place, part in enumerate(location):
        inside = isinstance(tree, dict) and part in tree
        if inside or (isinstance(tree, list) and isinstance(part, int) and part < len(tree)):
            tree = tree[part]
            kept.append(part)
        elif place == len(location) - 1 and isinstance(tree, dict):
            kept.append(part)  # what is missing
    return tuple(kept)


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key) or "(top level)"


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "union_tag_invalid":
        return f"there is no {error['ctx']['tag']!r}"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] == "value_error" and isinstance(error["input"], dict | Model):
        return message  # of a whole section: which part is meant says the message
    return f"{message}, found {_shortened(repr(error['input']))} ({type(error['input']).__name__})"


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _remedy(kind: type[Model], tree: Mapping[str, Any], key: Key, error: Any) -> str:
    if error["type"] == "missing":
        return f"add {_dotted(key)}"
    if error["type"] == "extra_forbidden":
        model = _model_at(kind, tuple(error["loc"])[:-1], tree)
        return nearest(str(key[-1]), keys_of(model) if model else [])
    context = error.get("ctx", {})
    if error["type"] == "union_tag_invalid":
        return nearest(str(context["tag"]), re.findall("'(.*?)'", context["expected_tags"]))
    if error["type"] == "literal_error":
        return nearest(str(error["input"]), re.findall("'(.*?)'", context["expected"]))
    cause = context.get("error")
    return nearest(str(key[-1]), cause.known) if isinstance(cause, Misplaced) and cause.known else "correct the value"


def nearest(name: str, known: Sequence[str]) -> str:
    """The remedy for a name that is none of `known`."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listing = ", ".join(known)
    return f"did you mean {near[0]!r}? (known here: {listing})" if near else f"known here: {listing}"


def keys_of(kind: type[Model]) -> list[str]:
    """The keys that `kind` knows, as written in YAML."""
    return [field.alias or name for name, field in kind.model_fields.items()]


def _model_at(kind: type[Model], location: Key, tree: Any) -> type[Model] | None:
    """The model at a pydantic location of `tree`; of a union, the member that its tag names."""
    found: list[type[Model]] = [kind]
    for part in location:
        is_key = isinstance(part, int) or (isinstance(tree, dict) and part in tree)
        tree = _below(tree, part) if is_key else tree
        fields = [model.model_fields[part].annotation for model in found if part in model.model_fields]
        if not is_key:
            found = [model for model in found if part in _tags(model)] or found
        elif fields and isinstance(part, str):
            found = _models_in(fields[0])
    return found[0] if found else None


def _below(tree: Any, part: str | int) -> Any:
    if isinstance(tree, dict):
        return tree.get(part)
    return tree[part] if isinstance(tree, list) and isinstance(part, int) and part < len(tree) else None


def _tags(model: type[Model]) -> tuple[Any, ...]:
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field else ()


def _models_in(annotation: Any) -> list[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _models_in(argument)]
