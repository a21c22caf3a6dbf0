"""Carries a run dir's journal to one destination: now if the server is there, else after a pause that grows."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from nertrail.tracking.breaker import Breaker
from nertrail.tracking.delivery import Delivery
from nertrail.tracking.liveness import renew
from nertrail.tracking.protocol import Destination, Stuck, Unreachable
from nertrail.tracking.redaction import redact
from nertrail.tracking.state import Health, load_health, load_progress, save_health

_log = logging.getLogger(__name__)


class Uploader:
    """Delivers one run dir to one destination. Whoever makes one holds the destination's lock."""

    def __init__(self, run_dir: Path, folder: Path, destination: Destination) -> None:
        self.run_dir, self.folder = run_dir, folder
        self._breaker = Breaker()
        self._outage = load_health(folder).outage
        self._healthy = True
        self.retrying = False  # one call failed and is tried again soon; the server takes others
        self._delivery = Delivery(run_dir / "journal", destination, folder, load_progress(folder))

    @property
    def watched(self) -> bool:
        """Whether some writer lived at the last look."""
        return bool(self._delivery.living)

    def step(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Deliver what is there, unless it is too early to try again. True if all of it is delivered."""
        if self._breaker.is_open():
            return False
        delivered = self._delivery.progress.delivered
        self.retrying = False
        try:
            self._delivery.drain(stop)
        except Stuck as error:
            self._try_again(error)
            return False
        except Unreachable as error:
            self._fail(error, progress=self._delivery.progress.delivered > delivered)
            return False
        self._breaker.worked()
        self._healthy = True
        self.say("delivering")
        return True

    def say(self, state: str, error: str = "") -> None:
        """Publish how it is, for the writers' WARNING and for `nertrail status`."""
        renew(self.folder / "lock")
        save_health(self.folder, Health(state, redact(error), self._outage, os.getpid()))

    def _try_again(self, error: Stuck) -> None:
        """The server is there, so nobody need be warned; what fails is known, or given up, after a few short pauses."""
        self.retrying = True
        self._breaker.failed(progress=error.tries == 1)
        _log.warning("one call fails: %s", redact(str(error)))
        self.say("delivering", str(error))

    def _fail(self, error: Unreachable, *, progress: bool) -> None:
        """The first failure after a success is an outage; those after it belong to the same."""
        self._breaker.failed(error.retry_after, progress=progress)
        self._outage += self._healthy
        self._healthy = False
        _log.warning("cannot deliver: %s", redact(str(error)))
        self.say("waiting", str(error))
