"""Reading settings: a frozen base model, safe YAML, environment variables, overrides, "did you mean"."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml

from nertrail.errors import ConfigError

Key = tuple[str | int, ...]


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
MOST_VALUES = 100_000  # of a file; aliases of aliases make millions of a few lines


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `2e-5` is a float (YAML 1.1 wants `2.0e-5`) and a key stands only once."""


MERGE = "tag:yaml.org,2002:merge"
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == MERGE:  # `<<: *other`; what it brings may be said anew
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.MarkedYAMLError(problem="a key is no plain value", problem_mark=key_node.start_mark)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, with `${NAME:-default}` replaced in its strings.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML, not a mapping, or names an unset variable.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(
            "no such file", place=str(path), remedy="give the path of an experiment file, or the name of a preset"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", place=str(path), remedy="check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}", place=str(path), remedy="save it as UTF-8") from None


def parse_yaml(text: str, place: str) -> dict[str, Any]:
    """The mapping in a YAML text; `place` names it in messages."""
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"broken YAML: {error.problem}", place=f"{place}{line}", remedy="mend that line") from None
    except RecursionError:
        raise ConfigError("broken YAML: nested too deeply", place=place, remedy="mend the file") from None
    except (yaml.YAMLError, ValueError, AttributeError, KeyError) as error:  # 2024-13-01 looks like a date; !!bool foo
        raise ConfigError(f"broken YAML: {error}", place=place, remedy="mend the file") from None
    _check_size(tree, place)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"holds a {type(tree).__name__} where a mapping is wanted", place=place, remedy="write `key: value` lines"
        )
    expanded: dict[str, Any] = _expand(tree, place)
    return expanded


def _check_size(tree: Any, place: str) -> None:
    """Raise ConfigError for more values than any experiment has, those that aliases repeat counted each time."""
    rest, count = [tree], 0
    while rest:
        value, count = rest.pop(), count + 1
        if count > MOST_VALUES:
            remedy = "take out the aliases (&name, *name)"
            raise ConfigError(f"holds more than {MOST_VALUES} values", place=place, remedy=remedy)
        rest += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _expand(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, f"{place}: {key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, place) for item in value]
    return _VARIABLE.sub(lambda m: _variable(m, place), value) if isinstance(value, str) else value


def _variable(match: re.Match[str], place: str) -> str:
    name, default = match.groups()
    found = os.environ.get(name) or default
    if found is None:
        raise ConfigError(
            f"the environment variable {name} is not set",
            place=place,
            remedy=f"export {name}=..., or write ${{{name}:-default}}",
        )
    return found


def override(tree: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """`tree` with `a.b=value` assignments applied; values are read as YAML.

    Raises:
        ConfigError: an assignment is not of the form KEY=VALUE, or goes below a plain value.
    """
    result: dict[str, Any] = dict(tree)
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign or not path.strip():
            raise ConfigError(f"{assignment!r} is no assignment", place="--set", remedy="write KEY=VALUE")
        value = parse_yaml(f"value: {text}", f"--set {path}").get("value")
        result = _assign(result, path.strip().split("."), value, f"--set {path}")
    return result


def _assign(tree: Any, path: Sequence[str], value: Any, place: str) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(tree, list) and head.isdigit() and int(head) < len(tree):
        copy: Any = list(tree)
        copy[int(head)] = _assign(copy[int(head)], rest, value, place) if rest else value
        return copy
    if tree is None or isinstance(tree, dict):
        below = dict(tree or {})
        below[head] = _assign(below.get(head), rest, value, place) if rest else value
        return below
    if isinstance(tree, list):
        known = f"0 to {len(tree) - 1}" if tree else "none"
        raise ConfigError(f"the list has no item {head!r}", place=place, remedy=f"its items: {known}")
    raise ConfigError(f"{head!r} lies below a plain value", place=place, remedy="name a key of a section")


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


def line_of(text: str, key: Key) -> int | None:
    """The line (from 1) on which `key` stands in a YAML text, or that of its nearest known ancestor."""
    try:
        node: Any = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        return None
    line = None
    for part in key:
        step = _child(node, part)
        if step is None:
            break
        line, node = step
    return line


def _child(node: Any, part: str | int) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    return None
