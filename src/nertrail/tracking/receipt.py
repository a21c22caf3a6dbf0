"""What became of the records of a run dir."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Receipt:
    """Counts of events. `why` says what keeps the pending ones, `command` what delivers them later."""

    written: int = 0
    delivered: int = 0
    pending: int = 0
    dropped: int = 0
    why: str = ""
    command: str = ""

    @property
    def complete(self) -> bool:
        """Whether all that was written is delivered."""
        return self.pending == 0 and self.dropped == 0

    def to_json(self) -> dict[str, Any]:
        """As written to tracking.json."""
        return asdict(self)
