"""Uploads that fail while the server takes other calls: they wait in a queue of their own and hold nothing else up.

The store of artifacts may be away, or out of our reach, while the server's database is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath

from nertrail.tracking.protocol import Stuck, Unreachable
from nertrail.tracking.state import Progress, Upload

_TRIES = 5
_IN_A_ROW = 2  # each may take minutes to fail
_Key = tuple[str, str, str]


class Backlog:
    """The waiting uploads of one delivery. `send` raises `Stuck` where it is only this call that fails.

    Where nothing is uploaded at all, the store is away and all wait for it. One that fails again and again though
    others have arrived since is given up: `give_up` is told why.
    """

    def __init__(
        self, progress: Progress, send: Callable[[Upload], None], give_up: Callable[[Upload, str], None]
    ) -> None:
        self._progress, self._send, self._give_up = progress, send, give_up
        self._worked = 0
        self._worked_before: dict[_Key, int] = {}  # the first failure
        self._strikes: Counter[_Key] = Counter()
        self._error = ""

    def take(self, upload: Upload) -> None:
        """Send it, or have it wait behind those that wait already."""
        waiting = self._progress.uploads
        if (waiting or not self._is_done(upload)) and upload not in waiting:
            waiting.append(upload)

    def work(self, note: Callable[[], None], stop: Callable[[], bool]) -> None:
        """Try all that wait; `note` keeps what has become of them.

        Raises:
            Stuck: some are left, and are to be tried again soon: the store took others.
            Unreachable: some are left, and nothing was taken.
        """
        before, self._error = self._worked, ""
        while self._goes_on(note, stop):
            self._error = ""
        if self._progress.uploads and self._error:
            raise self._left(self._worked > before)

    def _goes_on(self, note: Callable[[], None], stop: Callable[[], bool]) -> bool:
        """Try each that is not behind another one; True if some are done with, behind which others may wait."""
        done = in_a_row = 0
        for upload in self._by_turns():
            if stop() or (in_a_row == _IN_A_ROW and not done):
                break
            if self._is_behind_another(upload):
                continue
            if self._is_done(upload):
                self._progress.uploads.remove(upload)
                done += 1
            else:
                in_a_row += 1
            note()
        return done > 0 and not stop()

    def _left(self, some_worked: bool) -> Unreachable:
        problem = f"uploads that wait: {len(self._progress.uploads)} ({self._error})"
        strikes = max(self._strikes.values(), default=0)
        return Stuck(problem, max(strikes, 1)) if some_worked or strikes else Unreachable(problem)

    def _by_turns(self) -> list[Upload]:
        """Those that failed least often come first, so that none keeps the others from their turn."""
        return sorted(self._progress.uploads, key=lambda upload: upload.failures)

    def _is_behind_another(self, upload: Upload) -> bool:
        """Whether an older one waits that goes to the same place: the last one written is to stay."""
        waiting = self._progress.uploads
        return any(_overlap(older, upload) for older in waiting[: waiting.index(upload)])

    def _is_done(self, upload: Upload) -> bool:
        """Whether nothing is left to do: it was sent, or it is given up."""
        key = _key(upload)
        try:
            self._send(upload)
        except Stuck as error:
            self._error = f"{upload.described['name']}: {error}"
            upload.failures += 1
            self._strikes[key] += self._worked > self._worked_before.setdefault(key, self._worked)
            if self._strikes[key] < _TRIES:
                return False
            self._give_up(upload, f"{error} ({upload.failures} times, while other uploads arrived)")
        else:
            self._worked += 1
        for known in (self._strikes, self._worked_before):
            known.pop(key, None)
        return True


def _key(upload: Upload) -> _Key:
    return upload.run, upload.place, upload.described["name"]


def _overlap(one: Upload, other: Upload) -> bool:
    """Whether both go to the same file, or one into the other's folder."""
    mine, theirs = PurePosixPath(one.described["name"]), PurePosixPath(other.described["name"])
    return one.run == other.run and (mine.is_relative_to(theirs) or theirs.is_relative_to(mine))
