"""The calls that a delivery makes: whom to blame when one fails, and what is set aside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nertrail.records import RunRecord
from nertrail.tracking import blobs, events
from nertrail.tracking.disk import local_disk, scratch_folder
from nertrail.tracking.events import Event
from nertrail.tracking.patience import Patience
from nertrail.tracking.protocol import Destination, Rejected, Stuck, Unreachable
from nertrail.tracking.state import Progress, RunState, Upload, add_rejected, save_progress


class Calls:
    """The calls of one delivery. `Unreachable` means that the server is away, `Stuck` that it is one call that fails.

    `place` is where the record lies that the next calls are made for; `alone`: they are made for one record only, so
    that it is known which one fails.
    """

    def __init__(self, kept: Path, destination: Destination, folder: Path, progress: Progress) -> None:
        self.place, self.alone = "", True
        self._kept, self._destination, self._folder, self._progress = kept, destination, folder, progress
        self._patience = Patience()
        self._refused: list[dict[str, Any]] = []

    def begin(self) -> None:
        """A new pass: what was not acknowledged comes again."""
        self._refused.clear()

    def make(self, event: Event, verb: Callable[..., None], *args: Any) -> None:
        """Call a verb; what the server refuses, or fails at again and again, is set aside and the rest goes on."""
        kind = f"{event['run']} {verb.__name__}"
        if self._patience.gave_up(event):
            return
        try:
            verb(*args)
        except Rejected as error:
            self.refuse(str(error), event)
        except Unreachable as error:
            self._blame_server(error, event["run"])
            tries = self._patience.failed(event)
            if not self.alone or not self._patience.gives_up(event, kind):
                raise Stuck(str(error), tries) from error
            self.refuse(f"{error} ({tries} times, while the server took other calls)", event)
        else:
            self._patience.worked(kind)

    def upload(self, upload: Upload) -> None:
        """Upload it, unless it is refused, or is there though its file was pruned."""
        if blobs.were_pruned(self._kept, upload.described, self._folder.name):
            return
        try:
            with scratch_folder() as folder:
                with local_disk():
                    artifact = blobs.stage(self._kept, upload.described, folder)
                self._destination.log(upload.run, RunRecord(artifacts=(artifact,)), upload.at_ms)
        except Rejected as error:
            self.give_up(upload, str(error))
        except Unreachable as error:
            self._blame_server(error, upload.run)
            raise Stuck(str(error), 1) from error

    def give_up(self, upload: Upload, why: str) -> None:
        """Set an upload aside."""
        self.refuse(why, events.log_event(upload.run, RunRecord(), [upload.described], upload.at_ms), upload.place)

    def refuse(self, why: str, event: Event, place: str = "") -> None:
        """Set a record, or a part of it, aside."""
        place, of_round = place or self.place, self._progress.round
        self._refused.append({"at": time.time(), "place": place, "why": why, "event": event, "round": of_round})

    def search(self, uid: str) -> str | None:
        """The id of a run that this journal did not begin; None, too, where the server cannot look for it."""
        try:
            return self._destination.run_id(uid)
        except Unreachable as error:
            self._blame_server(error, uid)
            return None

    def acknowledge(self) -> None:
        """Keep what was set aside and how far delivery is."""
        if self._refused:
            add_rejected(self._folder, self._refused)
            self._refused.clear()
        save_progress(self._folder, self._progress)

    def went_on(self) -> bool:
        """The records are done with; whether without giving up a part of them."""
        return self._patience.went_on()

    def _blame_server(self, error: Unreachable, uid: str) -> None:
        """Raise the error if the server as a whole is away; return where it is only this call that fails."""
        if error.for_all or not self._destination.takes_writes(self._progress.runs.get(uid, RunState()).experiment):
            self._patience.forget()
            raise error
