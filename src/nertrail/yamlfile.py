"""Settings as files have them: safe YAML, environment variables, overrides, and the line of a key."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nertrail.errors import ConfigError

Key = tuple[str | int, ...]
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
