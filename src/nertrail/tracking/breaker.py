"""Says when to try a server again: the circuit breaker of delivery."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
_LONGEST_PAUSE_SECONDS = 60.0
_LONGEST_WISH_SECONDS = 3600.0  # a server that wants more is asked again all the same


class Breaker:
    """Closed while the server answers; one failure opens it; after a pause it is half-open, for one probe.

    The pause doubles with every probe that fails, up to a minute, and is never shorter than the server wishes. A
    server that took something before it failed is there: the next pause is the first again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def state(self) -> str:
        """CLOSED, OPEN or HALF_OPEN."""
        if not self._failures:
            return CLOSED
        return OPEN if self._clock() < self._until else HALF_OPEN

    def is_open(self) -> bool:
        """Whether it is too early to try again."""
        return self.state == OPEN

    def failed(self, retry_after: float | None = None, *, progress: bool = False) -> None:
        """The server was not there, or went away after some `progress`; it may wish to be left alone for a while."""
        self._failures = 1 if progress else self._failures + 1
        pause = min(2.0 ** (self._failures - 1), _LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2)
        self._until = self._clock() + max(pause, min(retry_after or 0.0, _LONGEST_WISH_SECONDS))

    def worked(self) -> None:
        """The server was there."""
        self._failures, self._until = 0, 0.0
