"""Delivers a journal to a destination: in order, in batches, each event until it is acknowledged or refused."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from nertrail.records import RunRecord, Value
from nertrail.tracking import blobs, events, segments
from nertrail.tracking.events import Event
from nertrail.tracking.patience import Patience
from nertrail.tracking.protocol import KILLED, RUNNING, Destination, Point, Rejected, Stuck, Unreachable, record_points
from nertrail.tracking.references import References
from nertrail.tracking.state import Progress, RunState, add_rejected, save_progress

_SMALLEST_CHUNK_BYTES = 4_000


class _Mark(NamedTuple):
    """A place in a segment: the offset there, and how many records of the chunk lie before it."""

    offset: int
    records: int


@dataclass
class _Batch:
    """What one run gets in one call. `mark` is the place before its first event."""

    mark: _Mark
    params: dict[str, Value] = field(default_factory=dict)
    tags: dict[str, Value] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    at_ms: int = 0
    datasets: tuple[Any, ...] = ()

    def takes(self, params: Mapping[str, Value]) -> bool:
        """A param that comes twice with two values needs two calls, so that the second is seen to differ."""
        return all(self.params.get(key, value) == value for key, value in params.items())


class Delivery:
    """One pass after another over the journal. `Unreachable` ends a pass; the next repeats what is not acknowledged.

    Where the server takes other calls, less and less is tried at once, down to the one event that fails; it is set
    aside once `Patience` is over.
    """

    def __init__(self, journal: Path, destination: Destination, folder: Path, progress: Progress) -> None:
        self.journal, self.destination, self.folder, self.progress = journal, destination, folder, progress
        self.living: set[str] = set()
        self._batches: dict[str, _Batch] = {}
        self._refused: list[dict[str, Any]] = []
        self._references = References(progress, self._search)
        self._patience = Patience()
        self._alone = True  # the calls are made for one event only, so that it is known which one fails
        self._place = ""
        self._ends: dict[str, int] = {}  # what this pass delivers, by segment
        self._mark = _Mark(0, 0)
        self._limit = segments.CHUNK_BYTES
        destination.recall({uid: run.run_id for uid, run in progress.runs.items() if run.run_id})

    def drain(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Deliver all that is there now; what is written meanwhile waits for the next pass, in which more of it goes
        with one call.

        Raises:
            Unreachable: the server does not answer; what is acknowledged is noted.
            Stuck: it does, but not to one call, or to one batch of which less is to be tried.
        """
        self._batches.clear()
        self._refused.clear()
        writers = segments.writers(self.journal)
        # Looked up before reading: what a writer that is dead now has written is all there is of it.
        self.living = {writer.name for writer in writers if segments.writer_lives(writer)}
        self._ends = segments.ends(self.journal)
        while not stop() and any([self._chunk_of(writer) for writer in writers]):
            pass
        self._settle(writers, stop)

    def _settle(self, writers: list[Path], stop: Callable[[], bool]) -> None:
        """What is left when nothing moves any more: events without a run, held values, runs without a writer."""
        if stop():
            return
        if self._is_held_up():
            # Its run may have been started behind the end that was looked up for another writer.
            self._ends = segments.ends(self.journal)
            if any([self._chunk_of(writer) for writer in writers]) or any(
                self._chunk_of(writer, without_run=True) for writer in writers
            ):
                self.drain(stop)
                return
        self._alone = True
        try:
            self._unpark()
            self._close_orphans()
        except Unreachable:
            self._acknowledge()  # what was set aside before it
            raise
        self.progress.again, self.progress.passed = [], {}
        self._acknowledge()

    def _is_held_up(self) -> bool:
        return any(self.progress.offsets.get(name, 0) < end for name, end in self._ends.items())

    def _chunk_of(self, writer: Path, *, without_run: bool = False) -> bool:
        """Deliver the writer's next chunk; True if that got it further."""
        parts = segments.segments(writer)
        for segment in parts:
            name = f"{writer.name}/{segment.name}"
            offset = self.progress.offsets.get(name, 0)
            if offset >= self._ends.get(name, 0):
                continue
            complete = writer.name not in self.living or segment != parts[-1]
            chunk = segments.read(segment, offset, complete=complete, limit=self._limit)
            self._mark = _Mark(offset, 0)
            try:
                whole = self._deliver(writer.name, name, chunk, without_run)
            except Unreachable as error:
                # What is whole is acknowledged, and less is tried next: a server that answers one call in ten is
                # delivered to in the end, and an event that fails is found.
                smallest = 1 if isinstance(error, Stuck) else _SMALLEST_CHUNK_BYTES
                self._limit = min(self._limit, max((chunk.offset - offset) // 8, smallest))
                self._reach(name, min([self._mark, *(batch.mark for batch in self._batches.values())]))
                raise
            if self._patience.went_on():  # where one failed, the next may, too
                self._limit = min(self._limit * 2, segments.CHUNK_BYTES)
            self._reach(name, _Mark(chunk.offset, self._mark.records) if whole else self._mark)
            return self.progress.offsets[name] > offset
        return False

    def _reach(self, name: str, mark: _Mark) -> None:
        """Acknowledge the segment up to the mark."""
        self.progress.offsets[name] = mark.offset
        self.progress.delivered += mark.records
        self._acknowledge()

    def _deliver(self, writer: str, name: str, chunk: segments.Chunk, without_run: bool) -> bool:
        """Deliver a chunk; False if it holds an event whose run is yet to come, with the mark before that event."""
        self._alone = len(chunk.events) == 1
        for event, end in chunk.events:
            self._place = f"{name}:{end}"
            if not self._known(event) and not without_run:
                self._flush_all()
                return False
            if not self._is_there(event, name, end):
                self._deliver_one(writer, event)
            self._mark = _Mark(end, self._mark.records + (event["op"] != "header"))
        self._flush_all()
        if chunk.damage:
            self.progress.damage[name] = chunk.damage
            self.progress.lost += chunk.lost_lines
        return True

    def _deliver_one(self, writer: str, event: Event) -> None:
        if not self._known(event):
            self._refuse("its run was never started in this journal", event)
        elif event["op"] not in ("header", "start") and not self.progress.runs[event["run"]].run_id:
            self._refuse("the server refused its run", event)
        elif event["op"] != "header":
            self._note(writer, event)
            self._apply(event)

    def _is_there(self, event: Event, name: str, end: int) -> bool:
        """Whether an earlier round delivered the event, and nothing of its run is to be delivered again."""
        return end <= self.progress.passed.get(name, 0) and event.get("run") not in self.progress.again

    def _known(self, event: Event) -> bool:
        return event["op"] in ("header", "start") or event["run"] in self.progress.runs

    def _note(self, writer: str, event: Event) -> None:
        run = self.progress.runs.setdefault(event["run"], RunState())
        run.last_ms = max(run.last_ms, events.event_time(event))
        run.events += 1
        if writer not in run.writers:
            run.writers.append(writer)

    def _apply(self, event: Event) -> None:
        apply = {"start": self._start, "log": self._log, "metrics": self._metrics, "end": self._end}
        apply[event["op"]](event)

    def _start(self, event: Event) -> None:
        uid = event["run"]
        self._flush(uid)
        start = events.run_start(event)
        start = replace(start, tags=self._references.resolved(uid, "tags", start.tags, start.start_ms))
        run = self.progress.runs[uid]
        run.experiment = start.experiment
        self._try(event, self.destination.start, start)
        run.run_id = self._search(uid) or ""
        run.name, run.stage, run.status = start.name, str(start.tags.get("pipeline.stage", "")), RUNNING

    def _log(self, event: Event) -> None:
        uid, at_ms, record = event["run"], event["t"], events.log_record(event)
        params = self._references.resolved(uid, "params", record.params, at_ms)
        if not self._batch(uid).takes(params):
            self._flush(uid)
        batch = self._batch(uid)
        batch.params.update(params)
        batch.tags.update(self._references.resolved(uid, "tags", record.tags, at_ms))
        batch.points.extend(record_points(record, at_ms))
        batch.datasets += record.datasets
        batch.at_ms = at_ms
        for described in event.get("artifacts", ()):
            self._flush(uid)
            alone = events.log_event(uid, RunRecord(), [described], at_ms)
            self._try(alone, self._upload, uid, described, at_ms)

    def _metrics(self, event: Event) -> None:
        self._batch(event["run"]).points.extend(events.event_points(event))

    def _batch(self, uid: str) -> _Batch:
        """What is to be sent to the run; events since this mark are only sent with it."""
        return self._batches.setdefault(uid, _Batch(self._mark))

    def _end(self, event: Event) -> None:
        self._flush(event["run"])
        self._try(event, self.destination.end, event["run"], event["status"], event["t"])
        self.progress.runs[event["run"]].status = event["status"]

    def _upload(self, uid: str, described: Mapping[str, Any], at_ms: int) -> None:
        if blobs.were_pruned(self.journal / "blobs", described, self.folder.name):
            return
        with tempfile.TemporaryDirectory(prefix="nertrail-") as folder:
            artifact = blobs.stage(self.journal / "blobs", described, Path(folder))
            self.destination.log(uid, RunRecord(artifacts=(artifact,)), at_ms)

    def _flush(self, uid: str) -> None:
        """Send the run's batch, which counts as unsent until all of it is."""
        batch = self._batches.get(uid)
        if batch is None:
            return
        record = RunRecord(params=batch.params, tags=batch.tags, datasets=batch.datasets)
        if batch.params or batch.tags or batch.datasets:
            self._try(events.log_event(uid, record, (), batch.at_ms), self.destination.log, uid, record, batch.at_ms)
        if batch.points:
            points = batch.points
            self._try(events.metrics_event(uid, points), self.destination.log_metrics, uid, points)
        del self._batches[uid]

    def _flush_all(self) -> None:
        for uid in list(self._batches):
            self._flush(uid)

    def _try(self, event: Event, verb: Callable[..., None], *args: Any) -> None:
        """Call a verb; what the server refuses, or fails at again and again, is set aside and the rest goes on."""
        kind = f"{event['run']} {verb.__name__}"
        if self._patience.gave_up(event):
            return
        try:
            verb(*args)
        except Rejected as error:
            self._refuse(str(error), event)
        except Unreachable as error:
            self._blame_server(error, event["run"])
            tries = self._patience.failed(event)
            if not self._alone or not self._patience.gives_up(event, kind):
                raise Stuck(str(error), tries) from error
            self._refuse(f"{error} ({tries} times, while the server took other calls)", event)
        else:
            self._patience.worked(kind)

    def _blame_server(self, error: Unreachable, uid: str) -> None:
        """Raise the error if the server as a whole is away; return where it is only this call that fails."""
        if error.for_all or not self.destination.takes_writes(self.progress.runs.get(uid, RunState()).experiment):
            self._patience.forget()
            raise error

    def _refuse(self, why: str, event: Event) -> None:
        entry = {"at": time.time(), "place": self._place, "why": why, "event": event, "round": self.progress.round}
        self._refused.append(entry)

    def _acknowledge(self) -> None:
        if self._refused:
            add_rejected(self.folder, self._refused)
            self._refused.clear()
        save_progress(self.folder, self.progress)

    def _search(self, uid: str) -> str | None:
        """The id of a run that this journal did not begin; None, too, where the server cannot look for it."""
        try:
            return self.destination.run_id(uid)
        except Unreachable as error:
            self._blame_server(error, uid)
            return None

    def _unpark(self) -> None:
        self._place = "held back"
        for entry, record in self._references.found():
            event = events.log_event(entry.run, record, (), entry.at_ms)
            self._try(event, self.destination.log, entry.run, record, entry.at_ms)

    def _close_orphans(self) -> None:
        """Close the runs whose every writer is dead, with the time of their last event."""
        for uid, run in self.progress.runs.items():
            if run.status == RUNNING and run.run_id and self.living.isdisjoint(run.writers):
                self._place = "orphan"
                self._try(events.end_event(uid, KILLED, run.last_ms), self.destination.end, uid, KILLED, run.last_ms)
                run.status = KILLED
