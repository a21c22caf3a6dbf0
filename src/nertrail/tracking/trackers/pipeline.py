"""The run that every other run of a run dir hangs below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from nertrail.records import Artifact, RunRecord
from nertrail.tracking.files import write_document
from nertrail.tracking.run import Run
from nertrail.tracking.settings import PipelineSwitches, Switches
from nertrail.tracking.tracker import Parent, Tracker


class MLflowPipelineTracker(Tracker):
    """Records a pipeline run."""

    stage = "pipeline"
    switches_type: ClassVar[type[Switches]] = PipelineSwitches

    def start_pipeline_run(
        self,
        run_name: str,
        config: Mapping[str, Any] | str | Path | None = None,
        *,
        uid: str | None = None,
        parent: Parent = None,
    ) -> Run:
        """Open the pipeline run. `config`, a mapping or a YAML file, becomes the artifact config.yaml."""
        self.run = self._start(run_name, run_type="pipeline", tags={}, uid=uid, parent=parent)
        if config is not None:
            self._log_with_files(lambda folder: RunRecord(artifacts=(Artifact(_file(config, folder), "config.yaml"),)))
        return self.run


def _file(config: Mapping[str, Any] | str | Path, folder: Path) -> Path:
    """The config as a file. JSON is YAML, and needs no parser here."""
    if isinstance(config, (str, Path)):
        return Path(config)
    return write_document(folder / "config.yaml", config)
