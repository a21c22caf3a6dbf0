"""A worker's part of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nertrail.execution.clock import Clock
from nertrail.execution.workers import Share, run_share
from nertrail.stages.hyperparameters import Hyperparameters
from nertrail.stages.inputs import BackboneConfig, Inputs, quiet
from nertrail.stages.search import open_study
from nertrail.stages.trials import Trials
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker
from nertrail.tracking.settings import Switches

if TYPE_CHECKING:
    from nertrail.stages.sweep import SweepConfig


@dataclass(frozen=True)
class Work:
    """What a worker process is given: plain data, with the texts as they were read and tokenized once."""

    config: SweepConfig
    hyperparameters: Hyperparameters
    inputs: Inputs
    backbone: BackboneConfig
    folder: Path
    keep: int
    study_name: str
    experiment: str | None
    switches: Switches

    def __call__(self, share: Share) -> None:
        """The worker's trials, in a journal of its own below the sweep run that the environment names."""
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // self.config.workers))
        study = open_study(self.config, self.folder, self.study_name, self.inputs.seed, share.worker)
        tracker = self._tracker()
        shared = (self.config, self.hyperparameters, self.inputs, self.backbone, self.folder)
        clock = Clock(study, share.session, share.began)
        try:
            run_share(study, Trials(*shared, self.keep, tracker, quiet, clock).run, share)
        finally:
            tracker.close()

    def _tracker(self) -> MLflowSweepTracker:
        if self.experiment is None:
            return MLflowSweepTracker.off()
        return MLflowSweepTracker(self.experiment, switches=self.switches)
