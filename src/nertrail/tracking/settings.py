"""What `mlflow.yaml` says, and which artifacts each stage's switches let through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pydantic

from nertrail.config import Model
from nertrail.errors import ConfigError
from nertrail.numbers import NotNegative


class Switches(Model):
    """Base of a stage's switches. `enabled: false` leaves the stage without a run."""

    enabled: bool = True

    def keeps(self, artifact: str) -> bool:
        """Whether the artifact of this name is recorded."""
        return bool(artifact)

    @classmethod
    def parse(cls, value: Switches | Mapping[str, Any] | None) -> Self:
        """The switches as given, as a mapping, or the defaults.

        Raises:
            ConfigError: an unknown switch, or one that is neither true nor false.
        """
        try:
            return cls.model_validate({} if value is None else value)
        except pydantic.ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"]) or cls.__name__
            known = ", ".join(cls.model_fields)
            raise ConfigError(error.errors()[0]["msg"], place=f"switches.{place}", remedy=f"known: {known}") from error


class PipelineSwitches(Switches):
    """The pipeline run cannot be switched off by itself: everything hangs below it."""


class BenchmarkSwitches(Switches):
    """`log_artifacts`: benchmark.json and latency.png."""

    log_artifacts: bool = True

    def keeps(self, artifact: str) -> bool:
        """All or nothing, but for the traceback of a failure."""
        return self.log_artifacts or artifact == "traceback.txt"


class TrainingSwitches(Switches):
    """`log_checkpoint`: the folder checkpoint/; `log_metrics_json`: metrics.json."""

    log_checkpoint: bool = True
    log_metrics_json: bool = True

    def keeps(self, artifact: str) -> bool:
        """By the name of the artifact."""
        if artifact.split("/")[0] == "checkpoint":
            return self.log_checkpoint
        return self.log_metrics_json or artifact != "metrics.json"


class ConversionSwitches(Switches):
    """`log_onnx_model`: the ONNX file and its external data; `log_conversion_log`: conversion_log.txt;
    `register_model`: a version of the experiment's model, with the ONNX file in it.
    """

    log_onnx_model: bool = True
    log_conversion_log: bool = True
    register_model: bool = True

    def keeps(self, artifact: str) -> bool:
        """By the name of the artifact."""
        if ".onnx" in artifact:
            return self.log_onnx_model
        if artifact == "model":
            return self.register_model
        return self.log_conversion_log or artifact != "conversion_log.txt"


class SweepSwitches(Switches):
    """`log_trials`: a run per trial and fold; `log_best_checkpoint`: the folder best_trial_checkpoint/."""

    log_trials: bool = True
    log_best_checkpoint: bool = True

    def keeps(self, artifact: str) -> bool:
        """By the name of the artifact."""
        return self.log_best_checkpoint or artifact.split("/")[0] != "best_trial_checkpoint"


class SelectionSwitches(Switches):
    """Selection has no artifacts that are worth a switch."""


class TrackingSwitches(Model):
    """The block `tracking:` of mlflow.yaml."""

    benchmark: BenchmarkSwitches = BenchmarkSwitches()
    training: TrainingSwitches = TrainingSwitches()
    conversion: ConversionSwitches = ConversionSwitches()
    sweep: SweepSwitches = SweepSwitches()
    selection: SelectionSwitches = SelectionSwitches()


class MlflowConfig(Model):
    """The file mlflow.yaml; its defaults are those of the shipped file."""

    tracking_uri: str | None = None
    experiment_name: str | None = pydantic.Field(default=None, pattern=r"\S")
    delivery_budget_s: NotNegative = 10
    linger_s: NotNegative = 30
    tracking: TrackingSwitches = TrackingSwitches()
