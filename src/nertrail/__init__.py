"""nertrail: annotated text in, a small, fast, verified entity recogniser out, and a trail of every number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nertrail.predictor import Predictor

__all__ = ["Predictor", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`nertrail.Predictor`, imported when it is first asked for: `import nertrail` alone stays light."""
    if name != "Predictor":
        raise AttributeError(f"module 'nertrail' has no attribute {name!r}")
    from nertrail.predictor import Predictor

    return Predictor
