"""Selection runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from nertrail.records import Artifact, RunRecord
from nertrail.tracking import names
from nertrail.tracking.files import write_document
from nertrail.tracking.run import Run
from nertrail.tracking.settings import SelectionSwitches, Switches
from nertrail.tracking.tracker import Parent, Tracker


class Recordable(Protocol):
    """A result that says itself what its run shows."""

    def record(self) -> RunRecord: ...


class MLflowSelectionTracker(Tracker):
    """Records a selection."""

    stage = "selection"
    switches_type: ClassVar[type[Switches]] = SelectionSwitches

    def start_selection_run(self, run_name: str, *, uid: str | None = None, parent: Parent = None) -> Run:
        """Open a selection run."""
        self.run = self._start(run_name, run_type="selection", tags={}, uid=uid, parent=parent)
        return self.run

    def log_selection(self, selection: Recordable | Mapping[str, Any]) -> None:
        """Record a selection: a result with `record()`, or the document of a selection.json."""
        self._log_with_files(lambda folder: _record(selection, folder))


def _record(selection: Recordable | Mapping[str, Any], folder: Path) -> RunRecord:
    if not isinstance(selection, Mapping):
        return selection.record()
    path = write_document(folder / "selection.json", selection)
    return names.selection_record(selection) | RunRecord(artifacts=(Artifact(path, "selection.json"),))
