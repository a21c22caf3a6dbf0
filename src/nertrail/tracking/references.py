"""Values that name runs: replaced by the runs' ids at the destination, held back while a run is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from nertrail.records import RunRecord, RunRef, Value
from nertrail.tracking.state import Parked, Progress

_SEARCH_AGAIN_SECONDS = 15.0


class References:
    """The held-back values of one delivery. `search` asks the destination for the id of a run that is not ours."""

    def __init__(self, progress: Progress, search: Callable[[str], str | None]) -> None:
        self._progress, self._search = progress, search
        self._next_search: dict[str, float] = {}

    def resolved(self, uid: str, kind: str, values: Mapping[str, Value], at_ms: int) -> dict[str, Value]:
        """The values with run ids for references; those whose run is not there yet are parked."""
        done: dict[str, Value] = {}
        for key, value in values.items():
            uids = _uids(value)
            ids = self._run_ids(uids) if uids else None
            self._supersede(uid, kind, key)
            if uids and ids is None:
                self._progress.parked.append(Parked(uid, kind, key, uids, at_ms))
            else:
                done[key] = ids if uids else value
        return done

    def found(self) -> Iterator[tuple[Parked, RunRecord]]:
        """The parked values whose runs are there now, each as a record; forgotten once the caller has sent it."""
        for entry in list(self._progress.parked):
            ids = self._run_ids(entry.uids)
            if ids is not None and entry.run in self._progress.runs:
                values: dict[str, Value] = {entry.key: ids}
                yield entry, RunRecord(params=values) if entry.kind == "params" else RunRecord(tags=values)
                self._progress.parked.remove(entry)

    def _supersede(self, uid: str, kind: str, key: str) -> None:
        """Forget a parked value: a later one has come."""
        parked = self._progress.parked
        self._progress.parked = [old for old in parked if (old.run, old.kind, old.key) != (uid, kind, key)]

    def _run_ids(self, uids: list[str]) -> str | None:
        """The runs' ids at the destination, comma-separated; None while one of them is not there."""
        ids = [self._run_id(uid) for uid in uids]
        return ",".join(found for found in ids if found) if all(ids) else None

    def _run_id(self, uid: str) -> str | None:
        known = self._progress.runs.get(uid)
        if known is not None:
            return known.run_id or None
        if time.monotonic() < self._next_search.get(uid, 0.0):
            return None
        found = self._search(uid)
        self._next_search[uid] = time.monotonic() + _SEARCH_AGAIN_SECONDS
        return found


def _uids(value: Value) -> list[str]:
    if isinstance(value, RunRef):
        return [value.uid]
    return [ref.uid for ref in value] if isinstance(value, tuple) else []
