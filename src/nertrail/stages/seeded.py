"""One training under one seed: fresh or continued, fitted, scored, and what its run shows of the settings."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nertrail.records import read_json, write_json
from nertrail.stages.continuation import Source, compare, continued_types, joined
from nertrail.stages.hyperparameters import Hyperparameters
from nertrail.stages.inputs import BackboneConfig, Inputs, Prepared, Progress
from nertrail.stages.scored import Scored
from nertrail.stages.seeds import SeedScores, compared
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.trainer import FitSettings, Fitted
    from nertrail.stages.training import TrainingConfig
    from nertrail.tracking.mlflow_tracker import Run


@dataclass(frozen=True)
class SeededTraining:
    """One training under one seed: what it is made of and where it goes."""

    config: TrainingConfig
    hyperparameters: Hyperparameters
    inputs: Inputs
    prepared: Prepared
    source: Source | None
    old: Inputs | None
    folder: Path
    seed: int

    @classmethod
    def of(
        cls,
        config: TrainingConfig,
        hyperparameters: Hyperparameters,
        inputs: Inputs,
        backbone: BackboneConfig,
        folder: Path,
        source: Source | None,
        old: Inputs | None,
    ) -> SeededTraining:
        """The training with its data prepared: the source's tokenizer and the joined texts, if there is a source."""
        if source is not None:
            strategy, allowed = config.data_strategy, config.allow_removed_types
            types = continued_types(source, inputs, old, strategy, allow_removed=allowed)
            inputs, backbone = joined(inputs, old, strategy, types), source.backbone()
        prepared = inputs.prepare(backbone, hyperparameters.max_length)
        return cls(config, hyperparameters, inputs, prepared, source, old, folder, inputs.seed)

    @property
    def kind(self) -> Literal["final", "continued"]:
        return "final" if self.source is None else "continued"

    @property
    def settings(self) -> FitSettings:
        """How it trains; texts that are appended keep their order."""
        made = self.hyperparameters.fit_settings(
            epochs=self.config.epochs,
            seed=self.seed,
            metric=self.config.metric,
            decoding=self.inputs.decoding,
            patience=self.config.patience,
        )
        ordered = self.source is not None and self.config.data_strategy == "append"
        return replace(made, batching="sequential") if ordered else made

    def others(self) -> list[SeededTraining]:
        """The same training under the further seeds."""
        seeds = range(self.seed + 1, self.seed + self.config.seeds)
        return [replace(self, seed=seed, folder=self.folder / "seeds" / str(seed)) for seed in seeds]

    def scored(self, uid: str, progress: Progress) -> SeedScores:
        """The scores of this seed; its checkpoint is not kept."""
        path = self.folder / "scores.json"
        if not path.is_file():
            run = MLflowTrainingTracker.off().start_training_run("", "")
            fitted = self.fit(run, progress, records=False)
            validation, test = self.score(fitted.checkpoint)
            write_json(path, compared(validation.scores.metrics(), test.scores.metrics() if test else {}))
            shutil.rmtree(self.folder / "fit")
        return SeedScores.of(self.seed, uid, read_json(path))

    def fit(self, run: Run, progress: Progress, *, records: bool) -> Fitted:
        """Train, or train on; each epoch is shown in `run`, which the checkpoint names if it is recorded."""
        name, folder = self.prepared.backbone.name, self.folder / "fit"
        return self.prepared.fit(
            self.settings,
            folder,
            on_epoch=lambda epoch: run.log_metrics(epoch.shown(), step=epoch.number),
            on_step=lambda done, total: progress(f"training {name}, seed {self.seed}", done, total),
            start=self.source.checkpoint if self.source else None,
            resume=(folder / "resume").is_dir(),
            keep_resume=True,
            run_uid=run.uid if records else None,
        )

    def score(self, checkpoint: Checkpoint) -> tuple[Scored, Scored | None]:
        """Validation and test split, by the checkpoint as it was reloaded, in fp32."""
        data = self.prepared
        return Scored.of(checkpoint, data.validation), Scored.of(checkpoint, data.test) if data.test else None

    def comparison(self, trained: Checkpoint) -> dict[str, float]:
        """Scores before and after on the new test split and, where the old data is named, on the old one."""
        if self.source is None:
            return {}
        splits = {"new_test": self.inputs.dataset.test, "old_test": self.old.dataset.test if self.old else ()}
        known = {name: documents for name, documents in splits.items() if documents}
        return compare(self.source, trained, known)

    def _continued(self) -> dict[str, Any]:
        """The params that only a continued training has."""
        if self.source is None:
            return {}
        strategy = {"source_checkpoint": self.source.name, "data_strategy": self.config.data_strategy}
        return {**strategy, "source_data_version": self.old.version} if self.old else strategy

    def params(self, fitted: Fitted) -> dict[str, Any]:
        """What the run shows of the settings."""
        inputs = self.inputs
        return {
            **self.hyperparameters.model_dump(),
            "batching": self.settings.batching,
            "precision": fitted.precision,
            "score_precision": "fp32",
            "dropout": _dropout(self.hyperparameters, fitted.checkpoint),
            "epochs": self.config.epochs,
            "backbone": self.prepared.backbone.name,
            "data_version": inputs.version,
            "dataset_path": inputs.source,
            "training_type": self.kind,
            **self._continued(),
            "random_seed": self.seed,
            "max_length": self.prepared.windows.max_length,
            "stride": self.prepared.windows.stride,
            "decoding": inputs.decoding,
        }


def _dropout(hyperparameters: Hyperparameters, checkpoint: Checkpoint) -> float | None:
    """The dropout that was trained with: the one asked for, else the backbone's own."""
    if hyperparameters.dropout is not None:
        return hyperparameters.dropout
    config = read_json(checkpoint.path / "config.json")
    own: float | None = config.get("hidden_dropout_prob", config.get("dropout"))
    return own
