"""The run that every other run of a run dir hangs below."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from nertrail.records import Artifact, RunRecord
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
        config: Mapping[str, Any] | Path | None = None,
        *,
        uid: str | None = None,
        parent: Parent = None,
    ) -> Run:
        """Open the pipeline run. `config`, a mapping or a YAML file, becomes the artifact config.yaml."""
        self.run = self._start(run_name, run_type="pipeline", tags={}, uid=uid, parent=parent)
        if config is not None:
            with tempfile.TemporaryDirectory() as folder:
                self._log(lambda: RunRecord(artifacts=(Artifact(_written(config, Path(folder)), "config.yaml"),)))
        return self.run


def _written(config: Mapping[str, Any] | Path, folder: Path) -> Path:
    """The config as a file. JSON is YAML, and needs no parser here."""
    if isinstance(config, Path):
        return config
    path = folder / "config.yaml"
    path.write_text(json.dumps(config, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
