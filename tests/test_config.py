"""Settings as text: what YAML, variables and overrides become, and what a mistake is told as."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest

from nertrail.config import Model, build, keys_of
from nertrail.errors import ConfigError
from nertrail.yamlfile import line_of, override, parse_yaml, read_yaml


class Choice(Model):
    type: Literal["choice"]
    values: tuple[int, ...]


class Span(Model):
    type: Literal["span"]
    low: float
    high: float
    step: float | None = None


Dimension = Annotated[Choice | Span, pydantic.Field(discriminator="type")]


class Inner(Model):
    rate: float = 0.1
    size: int = 4
    space: Mapping[str, Dimension] = {}

    @pydantic.model_validator(mode="after")
    def _small(self) -> Inner:
        if self.size > self.rate * 1000:
            raise ValueError(f"size {self.size} is too much for rate {self.rate}")
        return self


class Item(Model):
    name: str
    layers: int | None = None


class Outer(Model):
    inner: Inner | None = None
    items: tuple[Item, ...] = ()
    alias: int = pydantic.Field(default=0, alias="as")


TEXT = """\
inner:
  rate: 0.5
  space:
    lr: {type: span, low: 1, high: 2}
items:
  - name: a
  - name: b
"""


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


def error_of(tree: Mapping[str, Any], text: str | None = None, overridden: tuple[str, ...] = ()) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        build(Outer, tree, "file.yaml", text, overridden)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("-1E3", -1000.0),
        ("1.5e+2", 150.0),
        (".5e1", 5.0),
        ("3", 3),
        ("'2e-5'", "2e-5"),
        ("e5", "e5"),
        ("1e5x", "1e5x"),
        ("null", None),
        ("[1, 2e1]", [1, 20.0]),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}", "f")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "f:3", "the key 'a' stands twice"),
        ("x:\n  a: 1\n  a: 2", "f:3", "the key 'a' stands twice"),
        ("a: [1", "f:1", "broken YAML"),
        ("a: {{ path }}", "f:1", "is no plain value"),
        ("a: 2024-13-01", "f", "broken YAML"),
        ("a: \0", "f", "broken YAML"),
        ("a: !!timestamp foo", "f", "broken YAML"),
        ("a: !!bool foo", "f", "broken YAML"),
        ("a: " + "[" * 20_000, "f", "nested too deeply"),
        ("{a: " * 3_000, "f", "nested too deeply"),
        ("a: &a [*a]", "f:1", "recursive"),
        (BOMB, "f", "more than 100000 values"),
        ("- 1", "f", "holds a list where a mapping is wanted"),
        ("text", "f", "holds a str where a mapping is wanted"),
    ],
)
def test_broken_yaml(text: str, place: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_yaml(text, "f")
    assert caught.value.place == place
    assert caught.value.remedy


def test_merge_keys() -> None:
    text = "base: &base {x: 1, y: 2}\nmade: {<<: *base, y: 3}"
    assert parse_yaml(text, "f")["made"] == {"x": 1, "y": 3}


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert parse_yaml("# nothing\n", "f") == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file"), (b"a: \xff", "is not UTF-8 at byte 3"), ("folder", "cannot be read")],
)
def test_unreadable_files(tmp_path: Path, content: Any, problem: str) -> None:
    path = tmp_path / "x.yaml"
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        read_yaml(path)
    assert caught.value.place == str(path)


@pytest.mark.parametrize(
    ("text", "environment", "value"),
    [
        ("${A_B}/c", {"A_B": "x"}, "x/c"),
        ("${A_B:-d}/c", {}, "d/c"),
        ("${A_B:-d}/c", {"A_B": "x"}, "x/c"),
        ("${A_B:-}", {}, ""),
        ("${A_B:-d}", {"A_B": ""}, "d"),
        ("$A_B", {"A_B": "x"}, "$A_B"),
    ],
)
def test_variables(monkeypatch: pytest.MonkeyPatch, text: str, environment: dict[str, str], value: str) -> None:
    monkeypatch.delenv("A_B", raising=False)
    for name, content in environment.items():
        monkeypatch.setenv(name, content)
    assert parse_yaml(f"a: ['{text}']\nb: {{c: '{text}'}}", "f") == {"a": [value], "b": {"c": value}}


def test_an_unset_variable_names_its_key() -> None:
    with pytest.raises(ConfigError, match="NERTRAIL_NOWHERE is not set") as caught:
        parse_yaml("a:\n  b: ${NERTRAIL_NOWHERE}", "f")
    assert caught.value.place == "f: a: b"
    assert "${NERTRAIL_NOWHERE:-default}" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("inner.rate=2e-5", ("inner", "rate"), 2e-5),
        ("new.deep.key=[1, 2]", ("new", "deep", "key"), [1, 2]),
        ("inner={rate: 1}", ("inner",), {"rate": 1}),
        ("items.1.name=c", ("items", 1, "name"), "c"),
        ("items.0={name: z}", ("items", 0), {"name": "z"}),
        ("inner.rate=", ("inner", "rate"), None),
        ("inner.uri=http://host:5000/a=b", ("inner", "uri"), "http://host:5000/a=b"),
    ],
)
def test_override(assignment: str, path: tuple[str | int, ...], value: Any) -> None:
    tree = parse_yaml(TEXT, "f")
    found: Any = override(tree, [assignment])
    for part in path:
        found = found[part]
    assert found == value
    assert tree == parse_yaml(TEXT, "f"), "the given tree is left as it is"


def test_of_two_overrides_the_later_wins() -> None:
    assert override({"a": 1}, ["a=2", "a=3"]) == {"a": 3}


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("inner.rate", "is no assignment"),
        ("=3", "is no assignment"),
        ("inner.rate.low=1", "'low' lies below a plain value"),
        ("items.5.name=x", "the list has no item '5'"),
        ("items.first=x", "the list has no item 'first'"),
        ("inner.rate=[1", "broken YAML"),
    ],
)
def test_override_that_cannot_be(assignment: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        override(parse_yaml(TEXT, "f"), [assignment])
    assert str(caught.value.place).startswith("--set")


@pytest.mark.parametrize(
    ("tree", "problem", "remedy"),
    [
        ({"innr": {}}, "innr: unknown key", "did you mean 'inner'?"),
        ({"inner": {"rte": 1}}, "inner.rte: unknown key", "did you mean 'rate'? (known here: rate, size, space)"),
        ({"inner": {"zzz": 1}}, "inner.zzz: unknown key", "known here: rate, size, space"),
        ({"items": [{"name": "a"}, {"name": "b", "layer": 1}]}, "items.1.layer: unknown key", "did you mean 'layers'?"),
        (
            {"inner": {"space": {"lr": {"type": "span", "low": 1, "high": 2, "stp": 3}}}},
            "inner.space.lr.stp: unknown key",
            "did you mean 'step'? (known here: type, low, high, step)",
        ),
        (
            {"inner": {"space": {"span": {"type": "choice", "values": [1], "vals": 3}}}},
            "inner.space.span.vals: unknown key",
            "did you mean 'values'? (known here: type, values)",
        ),
        (
            {"inner": {"space": {"lr": {"type": "span", "low": 1}}}},
            "inner.space.lr.high: is missing",
            "add inner.space",
        ),
        ({"items": [{}]}, "items.0.name: is missing", "add items.0.name"),
        ({"inner": {"rate": "fast"}}, "inner.rate: should be a valid number", "correct the value"),
        ({"inner": {"size": [1]}}, "found [1] (list)", "correct the value"),
        (
            {"inner": {"space": {"lr": {"type": "spam"}}}},
            "inner.space.lr.type: there is no 'spam'",
            "did you mean 'span'?",
        ),
        ({"inner": {"space": {"lr": {}}}}, "inner.space.lr", "correct the value"),
        ({"inner": {"size": 400}}, "inner: size 400 is too much", "correct the value"),
        ({1: 2}, "1: Keys should be strings", "correct the value"),
    ],
)
def test_mistakes(tree: Mapping[str, Any], problem: str, remedy: str) -> None:
    error = error_of(tree)
    assert problem in error.problem
    assert remedy in str(error.remedy)
    assert error.place == "file.yaml"


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ({"inner": {"rate": "x"}}, 2),
        ({"inner": {"space": {"lr": {"type": "span", "low": "x", "high": 2}}}}, 4),
        ({"items": [{"name": "a"}, {"name": 3}]}, 7),
        ({"items": [{"name": "a"}, {"name": "b", "layers": "x"}]}, 7),
    ],
)
def test_the_line_is_told(extra: Mapping[str, Any], line: int) -> None:
    assert error_of({**parse_yaml(TEXT, "f"), **extra}, TEXT).place == f"file.yaml:{line}"


@pytest.mark.parametrize(
    ("assignment", "place"),
    [
        ("inner.rate=x", "--set inner.rate"),
        ("inner={rate: x}", "--set inner"),
        ("items.1.nam=x", "--set items.1.nam"),
        ("inner.size=501", "--set inner.size"),
    ],
)
def test_a_mistake_in_an_override_is_told_as_its_own(assignment: str, place: str) -> None:
    tree = override(parse_yaml(TEXT, "f"), [assignment])
    assert error_of(tree, TEXT, ("items.0.layers=1", assignment)).place == place


def test_a_mistake_in_the_file_is_not_blamed_on_an_override() -> None:
    tree = override({"inner": {"rate": "x"}}, ["inner.size=3"])
    assert error_of(tree, TEXT, ("inner.size=3",)).place == "file.yaml:2"


def test_settings_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        build(Outer, {}, "f").inner = None


def test_keys_are_told_as_written() -> None:
    assert keys_of(Outer) == ["inner", "items", "as"]


@pytest.mark.parametrize(("key", "line"), [(("items", 1, "name"), 7), (("inner", "nothing"), 1), (("nothing",), None)])
def test_line_of(key: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(TEXT, key) == line
