"""Every error that nertrail raises on purpose.

    NertrailError
    ├── InputError             what the user gave cannot be used; exit code 2, no traceback
    │   ├── ConfigError        an experiment file or a --set override
    │   ├── DataError          annotated text
    │   └── ModelError         a backbone or a checkpoint folder
    ├── StageError             a stage ran and failed; exit code 1
    │   ├── TrialError         a trial has no usable objective
    │   ├── ConversionError    an ONNX target could not be made or failed its check
    │   └── PromotionError     a registered model is not good enough to be the champion
    └── TrackingError          inside `tracking` only; never reaches a stage

An InputError's message names the place, the value found there and the remedy.
"""

from __future__ import annotations


class NertrailError(Exception):
    """Base of all errors raised on purpose."""


class InputError(NertrailError):
    """What the user gave cannot be used.

    Args:
        problem: what was found, with its value.
        place: file, file:line, key or option where it was found.
        remedy: what to do about it.
    """

    def __init__(self, problem: str, *, place: str | None = None, remedy: str | None = None) -> None:
        self.problem, self.place, self.remedy = problem, place, remedy
        super().__init__(self._text())

    def _text(self) -> str:
        head = f"{self.place}: {self.problem}" if self.place else self.problem
        return f"{head}\n  → {self.remedy}" if self.remedy else head

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, self.place, self.remedy))


def _rebuild(kind: type[InputError], problem: str, place: str | None, remedy: str | None) -> InputError:
    """Keep the keyword arguments when an error crosses a process border."""
    return kind(problem, place=place, remedy=remedy)


class ConfigError(InputError):
    """An experiment file or an override is wrong."""


class DataError(InputError):
    """Annotated text is wrong."""


class ModelError(InputError):
    """A backbone or a checkpoint folder is wrong."""


class StageError(NertrailError):
    """A stage ran and failed."""


class TrialError(StageError):
    """A trial has no usable objective."""


class ConversionError(StageError):
    """An ONNX target could not be made or failed its check."""


class PromotionError(StageError):
    """A registered model is not good enough to be the champion."""


class TrackingError(NertrailError):
    """Something in tracking failed; never reaches a stage."""
