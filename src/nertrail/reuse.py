"""Doing a step once: its result is kept, and taken again while nothing that it was made of has changed."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from nertrail import summary
from nertrail.ledger import Entry, Ledger, forced, parsed
from nertrail.records import RunRecord, RunRef
from nertrail.rundir import placed
from nertrail.stages.inputs import Inputs
from nertrail.summary import StageLine
from nertrail.trackers import Trackers
from nertrail.tracking.mlflow_tracker import MLflowPipelineTracker
from nertrail.tracking.protocol import SUPERSEDED_TAG

log = logging.getLogger(__name__)
R = TypeVar("R")
Announce = Callable[[str], None]


class Reuse:
    """The steps of one run dir: what they left, and what became of each in this process (`lines`, `seconds`).

    Args:
        force: stages or single steps that are done again all the same.
        announce: told what starts, continues or is reused.
    """

    def __init__(
        self, run_dir: Path, inputs: Inputs, trackers: Trackers, force: Collection[str], announce: Announce
    ) -> None:
        self.run_dir, self.inputs, self.trackers = placed(run_dir), inputs, trackers
        self.force, self.announce = force, announce
        self.ledger = Ledger(run_dir, trackers.experiment)
        self.lines: list[StageLine] = []
        self.seconds: dict[str, float] = {}

    def retire(self, planned: Collection[str], pipeline: str) -> None:
        """Tag the runs of sweeps and conversions that are not `planned` as superseded by the run `pipeline`."""
        for entry in self.ledger.entries():
            unplanned = entry.step.startswith(("sweep-", "conversion-")) and entry.step not in planned
            if unplanned and entry.state != "retired":
                self._supersede(entry.uids.values(), pipeline)
                self.ledger.retire(entry)

    def _step(
        self,
        step: str,
        kind: Any,
        mark: str,
        work: Callable[[Entry], R],
        *,
        identity: str = "",
        folder: Path | None = None,
        runs: Sequence[str] = ("",),
        note: str = "",
    ) -> R:
        """The step's result: taken from the ledger where nothing changed, else made by `work`."""
        known = self.ledger.entry(step)
        if known and self.ledger.is_done(step, mark) and not forced(step, self.force):
            result: R = parsed(known, kind)
            self.announce(f"{step}: unchanged, reused")
            self._note(step, "reused", known.seconds, result)
            return result
        entry = self.ledger.begin(step, mark, identity, runs)
        self.inputs.keep_splits(self.run_dir)
        replaced = self._make_room(known, entry, folder, forced(step, self.force))
        note = f"{note}, in place of the one before" if replaced else note
        self.announce(f"{step}: {'continues' if known == entry else 'starts'}{note}")
        began = time.monotonic()
        try:
            result = work(entry)
        except Exception:
            self.ledger.fail(entry, time.monotonic() - began)
            raise
        seconds = time.monotonic() - began
        self.ledger.finish(entry, pydantic.TypeAdapter(kind).dump_python(result, mode="json"), seconds)
        self.announce(f"{step}: done in {seconds:.1f} s, {summary.main_number(result)}")
        self._note(step, "done", seconds, result)
        self.trackers.flush()
        return result

    def _make_room(self, known: Entry | None, entry: Entry, folder: Path | None, force: bool) -> bool:
        """A step that does not go on leaves nothing of its former self, but for a study that is extended.

        Returns whether finished work was given up.
        """
        if known is None or known == entry:
            return False
        for name, uid in known.uids.items():
            self._supersede([uid], entry.uids.get(name) or next(iter(entry.uids.values())))
        extended = known.identity == entry.identity and known.state != "failed" and not force
        if folder is not None and not extended:
            shutil.rmtree(folder, ignore_errors=True)
        return known.state == "done" and folder is not None and not extended

    def _supersede(self, old: Iterable[str], new: str) -> None:
        pipeline = self.trackers.of(MLflowPipelineTracker)
        for uid in old:
            pipeline.existing_run(uid).log(RunRecord(tags={"superseded_by": RunRef(new), SUPERSEDED_TAG: new}))

    def _note(self, step: str, status: str, seconds: float, result: Any) -> None:
        self.lines.append(StageLine(step, status, seconds, summary.main_number(result)))
        stage = step.split("-", 1)[0]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
