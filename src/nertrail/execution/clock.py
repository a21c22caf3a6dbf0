"""How long a study was worked on, over all sessions: what passes between them does not count."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

PREFIX = "session_"


class Clock:
    """The time of one session, kept in the study so that the next session knows of it.

    A session that is killed loses what came after its last `tick`.

    Args:
        session, began: those of the parent's clock, where a worker process shares its session; `began` is in seconds
            of `time.monotonic`, which all processes of a machine share.
    """

    def __init__(self, study: optuna.Study, session: str | None = None, began: float | None = None) -> None:
        self._study = study
        self.session = session or uuid.uuid4().hex
        self.began = time.monotonic() if began is None else began

    def tick(self) -> None:
        """Note how long this session has lasted."""
        self._study.set_user_attr(PREFIX + self.session, round(time.monotonic() - self.began, 3))

    def earlier(self) -> float:
        """Seconds that other sessions took."""
        mine = PREFIX + self.session
        noted = self._study.user_attrs
        return float(sum(value for key, value in noted.items() if key.startswith(PREFIX) and key != mine))
