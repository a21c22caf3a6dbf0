"""Callbacks for other people's code: an Optuna study and a Hugging Face Trainer record like the stages do.

Each is imported when it is first asked for, so that neither library is needed for the other's callback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nertrail.tracking.callbacks.optuna import OptunaCallback
    from nertrail.tracking.callbacks.transformers import TransformersCallback

__all__ = ["OptunaCallback", "TransformersCallback"]


def __getattr__(name: str) -> Any:
    if name == "OptunaCallback":
        from nertrail.tracking.callbacks.optuna import OptunaCallback

        return OptunaCallback
    if name == "TransformersCallback":
        from nertrail.tracking.callbacks.transformers import TransformersCallback

        return TransformersCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
