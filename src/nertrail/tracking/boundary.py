"""The one place where an error is swallowed: between a stage and what records it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def quietly(action: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
    """The action's result, or None and one WARNING if it fails. Interrupts pass through."""
    try:
        return action(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  hours of training must not end because a number could not be noted
        _complain(type(error).__name__, text_of(error)[:300])
        return None


def text_of(value: object) -> str:
    """The value's text, the name of its type where it fails to give one. None has no text."""
    try:
        return "" if value is None else str(value)
    except Exception:  # noqa: BLE001  other people's __str__, also of the error that `quietly` is to tell
        return f"<{type(value).__name__}>"


@functools.lru_cache(maxsize=256)  # a full disk fails at every step of a training: the same words are said once
def _complain(kind: str, text: str) -> None:
    _log.warning("tracking failed, the stage goes on: %s: %s", kind, text)
