"""The kinds of numbers and names that settings hold: finite, bounded, and never a yes or no in a number's place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pydantic

LONGEST_NAME = 100  # of an entity type: it is part of metric names (MLflow takes 250 characters) and of pictures


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")  # noqa: TRY004 - pydantic takes a ValueError
    return value


def _of_this_world(path: Path) -> Path:
    """No file has such a name, on any system: told as the setting's mistake, not as the system's."""
    if "\0" in str(path):
        raise ValueError("has a null byte in it")
    if len(str(path)) > 4000 or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in path.parts):
        raise ValueError(f"is too long for a path: {len(str(path))} characters")
    return path


def _name(text: str) -> str:
    if problem := name_problem(text):
        raise ValueError(f"{text[:40]!r} {problem}")
    return text


def name_problem(name: str) -> str | None:
    """Why an entity type can't have this name, None if it can."""
    if not name.strip():
        return "is blank"
    if name == "O":
        return "stands for words outside of all entities"
    if not name.isprintable():  # line breaks, control characters, lone surrogates
        return "holds characters that can't be shown"
    return f"is longer than {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else None


_Int = Annotated[int, pydantic.BeforeValidator(_no_bool)]
_Float = Annotated[float, pydantic.BeforeValidator(_no_bool), pydantic.Field(allow_inf_nan=False)]

Seed = Annotated[_Int, pydantic.Field(ge=0, lt=2**32)]
"""What numpy and torch take."""
Count = Annotated[_Int, pydantic.Field(ge=1, le=100_000)]
"""Epochs, trials, iterations: at least one."""
CountOrZero = Annotated[_Int, pydantic.Field(ge=0, le=100_000)]
BatchSize = Annotated[_Int, pydantic.Field(ge=1, le=4096)]
Threads = Annotated[_Int, pydantic.Field(ge=1, le=512)]
"""Far more than any machine has cores; ten thousand end the process."""
Positive = Annotated[_Float, pydantic.Field(gt=0)]
NotNegative = Annotated[_Float, pydantic.Field(ge=0)]
Number = _Float
Whole = Annotated[_Int, pydantic.Field(ge=-(2**53), le=2**53)]
"""What survives JSON and a float."""
Share = Annotated[_Float, pydantic.Field(ge=0, lt=1)]
FileName = Annotated[str, pydantic.AfterValidator(lambda text: str(_of_this_world(Path(text))))]
Place = Annotated[Path, pydantic.AfterValidator(_of_this_world)]
TypeName = Annotated[str, pydantic.AfterValidator(_name)]
