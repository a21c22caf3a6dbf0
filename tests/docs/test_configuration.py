"""docs/configuration.md knows every key of the experiment file and of mlflow.yaml, and their plain defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from nertrail.config import Model
from nertrail.experiment import Experiment

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \|", re.MULTILINE)
PLAIN = (str, int, float, bool, type(None))


def models(annotation: Any) -> Iterator[type[Model]]:
    """Every settings model inside an annotation, and those inside it."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for argument in get_args(annotation):
        yield from models(argument)


MODELS = sorted(set(models(Experiment)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_every_key_is_documented(kind: type[Model]) -> None:
    missing = [name for name in kind.model_fields if f"`{name}`" not in PAGE]
    assert missing == []


def test_no_key_is_invented() -> None:
    known = {name for kind in MODELS for name in kind.model_fields}
    types = {"choice", "uniform", "loguniform", "int"}
    variables = re.compile("[A-Z_]+")
    rows = {name for name, _ in ROW.findall(PAGE) if not variables.fullmatch(name)}
    assert rows - known - types == set()


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_plain_defaults_are_those_of_the_code(kind: type[Model]) -> None:
    documented: dict[str, list[Any]] = {}
    for name, text in ROW.findall(PAGE):
        documented.setdefault(name, []).append(_value(text))
    for name, field in kind.model_fields.items():
        if name in documented and not field.is_required() and isinstance(field.default, PLAIN):
            assert field.default in documented[name], name


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return yaml.safe_load(text)
