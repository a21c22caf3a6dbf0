"""Says when to give a call up that fails though the server takes others: what stands behind it shall not wait."""

from __future__ import annotations

from collections import Counter

from nertrail.tracking.events import Event

_TRIES = 5


class Patience:
    """Counts how often one event failed in a row. Where one after another of a kind is given up, each gets fewer tries.

    A kind is one verb on one run, for instance the uploads of a run.
    """

    def __init__(self) -> None:
        self._event: Event | None = None
        self._tries = 0
        self._in_a_row: Counter[str] = Counter()
        self._given_up: list[Event] = []

    def failed(self, event: Event) -> int:
        """The event failed once more, for the how-manieth time."""
        self._tries = self._tries + 1 if event == self._event else 1
        self._event = event
        return self._tries

    def gives_up(self, event: Event, kind: str) -> bool:
        """Whether the event that failed last has had its tries."""
        if self._tries < max(_TRIES - self._in_a_row[kind], 1):
            return False
        self._in_a_row[kind] += 1
        self._given_up.append(event)
        return True

    def gave_up(self, event: Event) -> bool:
        """Whether it was given up already: a part of a record whose other parts are tried still."""
        return event in self._given_up

    def forget(self) -> None:
        """The server as a whole was away: that says nothing of the event."""
        self._event, self._tries = None, 0

    def worked(self, kind: str) -> None:
        """A call was answered."""
        self._in_a_row.pop(kind, None)

    def went_on(self) -> bool:
        """The records are done with; whether without giving up a part of them."""
        clean = not self._given_up
        self._given_up.clear()
        return clean
