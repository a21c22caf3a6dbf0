"""Training runs, final or continued."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, SupportsFloat

from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking import names
from nertrail.tracking.boundary import quietly, text_of
from nertrail.tracking.run import Run
from nertrail.tracking.settings import Switches, TrainingSwitches
from nertrail.tracking.tracker import Parent, Tracker


class MLflowTrainingTracker(Tracker):
    """Records a training."""

    stage = "training"
    switches_type: ClassVar[type[Switches]] = TrainingSwitches

    def start_training_run(
        self,
        run_name: str,
        backbone: str,
        training_type: str = "final",
        *,
        source_training_run: Run | RunRef | str | None = None,
        uid: str | None = None,
        parent: Parent = None,
    ) -> Run:
        """Open a training run. `run_name` may hold `{backbone}` and `{run_id}`."""
        tags = {"training_type": training_type, **(quietly(names.source_run, source_training_run) or {})}
        params = {"backbone": backbone, "training_type": training_type}
        self.run = self._start(
            run_name, run_type="training", tags=tags, params=params, uid=uid, parent=parent, backbone=backbone
        )
        return self.run

    def start_seed_run(self, training: Run | RunRef | str, seed: int, *, uid: str | None = None) -> Run:
        """Open the run of one seed below its training."""
        name, tags, params = f"seed_{text_of(seed)}", {"seed": seed}, {"random_seed": seed}
        return self._start(name, run_type="seed", tags=tags, params=params, uid=uid, parent=training)

    def log_training_parameters(
        self,
        config: Any,
        data_config: Any = None,
        source_checkpoint: str | Path | None = None,
        data_strategy: str | None = None,
        random_seed: int | None = None,
    ) -> None:
        """Record the params of the contract that the configs, mappings or settings objects, hold or that are given."""
        given = {
            "source_checkpoint": text_of(source_checkpoint) or None,
            "data_strategy": data_strategy,
            "random_seed": random_seed,
        }
        self._log(lambda: RunRecord(params=names.training_params(config, data_config, **given)))

    def log_training_metrics(
        self,
        metrics: Mapping[str, SupportsFloat],
        per_entity_metrics: Mapping[str, Any] | None = None,
        step: int | None = None,
    ) -> None:
        """Record metrics at a step where one is given, otherwise those of the best checkpoint, with the types'."""
        run = self.run
        if step is not None and run is not None:
            run.log_metrics(metrics, step=step)
        else:
            self._log(lambda: RunRecord(metrics=metrics))  # type: ignore[arg-type]  # the run makes numbers of them
        if per_entity_metrics is not None:
            self._log(lambda: RunRecord(metrics=names.entity_metrics(per_entity_metrics)))

    def log_training_artifacts(
        self, checkpoint_dir: str | Path | None = None, metrics_json_path: str | Path | None = None
    ) -> None:
        """Record the checkpoint as checkpoint/ and the metrics file as metrics.json."""
        named = (("checkpoint", checkpoint_dir), ("metrics.json", metrics_json_path))
        self._log(
            lambda: RunRecord(artifacts=tuple(Artifact(Path(path), name) for name, path in named if path is not None))
        )
