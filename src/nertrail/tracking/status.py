"""How a run ended."""

from __future__ import annotations

from nertrail.tracking.boundary import text_of
from nertrail.tracking.protocol import FAILED, FINISHED, KILLED

_FINAL = (FINISHED, FAILED, KILLED)
_ALSO = {"COMPLETE": FINISHED, "COMPLETED": FINISHED, "SUCCEEDED": FINISHED, "CANCELED": KILLED, "CANCELLED": KILLED}


def known_status(said: object) -> str | None:
    """FINISHED, FAILED or KILLED, of these words or of what schedulers say for them, in any case; else None."""
    word = text_of(said).strip().upper()
    return word if word in _FINAL else _ALSO.get(word)


def final_status(said: object) -> str:
    """The status that a server takes. A word that nobody knows is FAILED: a run that ended must not stay RUNNING, and
    that all went well was not said.
    """
    return known_status(said) or FAILED


def is_final(status: str) -> bool:
    """Whether a server takes it for the end of a run."""
    return status in _FINAL
