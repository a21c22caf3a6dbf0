"""Delivers a journal to a destination: in order, in batches, each event until it is acknowledged or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from nertrail.records import RunRecord, Value
from nertrail.tracking import events, segments
from nertrail.tracking.backlog import Backlog
from nertrail.tracking.calls import Calls
from nertrail.tracking.events import Event
from nertrail.tracking.protocol import KILLED, RUNNING, Destination, Point, Stuck, Unreachable, record_points
from nertrail.tracking.references import References
from nertrail.tracking.state import Progress, RunState, Upload
from nertrail.tracking.status import final_status, is_final

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
        self._calls = Calls(journal / "blobs", destination, folder, progress)
        self._references = References(progress, self._calls.search)
        self._backlog = Backlog(progress, self._calls.upload, self._calls.give_up)
        self._ends: dict[str, int] = {}  # what this pass delivers, by segment
        self._mark = _Mark(0, 0)
        self._limit = segments.CHUNK_BYTES
        destination.recall({uid: run.run_id for uid, run in progress.runs.items() if run.run_id})

    def drain(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Deliver all that is there now; what is written meanwhile waits for the next pass, in which more of it goes
        with one call.

        Raises:
            Unreachable: the server does not answer; what is acknowledged is noted.
            Stuck: it does, but not to one call, or to one batch of which less is to be tried. An upload that fails
                so is tried last, when all else is delivered.
        """
        self._batches.clear()
        self._calls.begin()
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
        self._calls.alone = True
        try:
            self._unpark()
            self._close_orphans()
        except Unreachable:
            self._calls.acknowledge()  # what was set aside before it
            raise
        self.progress.again, self.progress.passed = [], {}
        self._calls.acknowledge()
        self._backlog.work(self._calls.acknowledge, stop)

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
            if self._calls.went_on():  # where one failed, the next may, too
                self._limit = min(self._limit * 2, segments.CHUNK_BYTES)
            self._reach(name, _Mark(chunk.offset, self._mark.records) if whole else self._mark)
            return self.progress.offsets[name] > offset
        return False

    def _reach(self, name: str, mark: _Mark) -> None:
        """Acknowledge the segment up to the mark."""
        self.progress.offsets[name] = mark.offset
        self.progress.delivered += mark.records
        self._calls.acknowledge()

    def _deliver(self, writer: str, name: str, chunk: segments.Chunk, without_run: bool) -> bool:
        """Deliver a chunk; False if it holds an event whose run is yet to come, with the mark before that event."""
        self._calls.alone = len(chunk.events) == 1
        for event, end in chunk.events:
            self._calls.place = f"{name}:{end}"
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
            self._calls.refuse("its run was never started in this journal", event)
        elif event["op"] not in ("header", "start") and not self.progress.runs[event["run"]].run_id:
            self._calls.refuse("the server refused its run", event)
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
        self._calls.make(event, self.destination.start, start)
        run.run_id = self._calls.search(uid) or ""
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
            self._backlog.take(Upload(uid, described, at_ms, self._calls.place))

    def _metrics(self, event: Event) -> None:
        self._batch(event["run"]).points.extend(events.event_points(event))

    def _batch(self, uid: str) -> _Batch:
        """What is to be sent to the run; events since this mark are only sent with it."""
        return self._batches.setdefault(uid, _Batch(self._mark))

    def _end(self, event: Event) -> None:
        status = final_status(event["status"])  # journals of earlier releases hold whatever word they were told
        self._flush(event["run"])
        self._calls.make(event, self.destination.end, event["run"], status, event["t"])
        self.progress.runs[event["run"]].status = status

    def _flush(self, uid: str) -> None:
        """Send the run's batch, which counts as unsent until all of it is."""
        batch = self._batches.get(uid)
        if batch is None:
            return
        record = RunRecord(params=batch.params, tags=batch.tags, datasets=batch.datasets)
        if batch.params or batch.tags or batch.datasets:
            self._calls.make(
                events.log_event(uid, record, (), batch.at_ms), self.destination.log, uid, record, batch.at_ms
            )
        if batch.points:
            points = batch.points
            self._calls.make(events.metrics_event(uid, points), self.destination.log_metrics, uid, points)
        del self._batches[uid]

    def _flush_all(self) -> None:
        for uid in list(self._batches):
            self._flush(uid)

    def _unpark(self) -> None:
        self._calls.place = "held back"
        for entry, record in self._references.found():
            event = events.log_event(entry.run, record, (), entry.at_ms)
            self._calls.make(event, self.destination.log, entry.run, record, entry.at_ms)

    def _close_orphans(self) -> None:
        """Close the runs whose every writer is dead, with the time of their last event.

        Also those that an earlier release ended with a word that the server refused.
        """
        for uid, run in self.progress.runs.items():
            if not is_final(run.status) and run.run_id and self.living.isdisjoint(run.writers):
                status = KILLED if run.status == RUNNING else final_status(run.status)
                self._calls.place = "orphan"
                self._calls.make(
                    events.end_event(uid, status, run.last_ms), self.destination.end, uid, status, run.last_ms
                )
                run.status = status
