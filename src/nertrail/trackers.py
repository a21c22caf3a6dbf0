"""The trackers of one experiment: all over one run dir, switched by one mlflow block, or all off."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

from nertrail.tracking.boundary import quietly
from nertrail.tracking.link import deliver_left
from nertrail.tracking.mlflow_tracker import Run
from nertrail.tracking.receipt import Receipt
from nertrail.tracking.settings import MlflowConfig
from nertrail.tracking.tracker import Parent, Tracker

T = TypeVar("T", bound=Tracker)


class Trackers:
    """Makes each stage's tracker with the settings of the experiment.

    Args:
        config: the experiment's mlflow block; None records nothing.
        name: MLflow experiment where the block names none.
        parent: the run that stages' runs hang below.

    `experiment` is the MLflow experiment, None where nothing is recorded.
    """

    def __init__(self, config: MlflowConfig | None, name: str, run_dir: Path, parent: Parent = None) -> None:
        self._config, self._name, self._run_dir, self._parent = config, name, run_dir, parent
        self._made: dict[type[Tracker], Tracker] = {}
        self.experiment = (config.experiment_name or name) if config else None
        self.receipt = Receipt()  # of the last flush

    def of(self, kind: type[T]) -> T:
        """The tracker of a stage, with that stage's switches; made when it is first asked for."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        tracker: Any = self._made[kind]
        return cast(T, tracker)

    def below(self, run: Run) -> None:
        """Hang what is made from now on below `run`."""
        self._parent = run

    def flush(self) -> Receipt:
        """Wait for delivery, within the budget; where nothing is recorded now, of what earlier commands left."""
        if self._config is not None:
            made = next((tracker for tracker in self._made.values() if tracker.records), None)
            budget = self._config.delivery_budget_s
            self.receipt = made.flush(budget) if made else self._deliver_left(self._config, budget)
        return self.receipt

    def _deliver_left(self, config: MlflowConfig, budget: float) -> Receipt:
        return quietly(deliver_left, self._run_dir, config.tracking_uri, budget, config.linger_s) or Receipt()

    def close(self) -> None:
        for tracker in self._made.values():
            tracker.close()

    def _make(self, kind: type[T]) -> T:
        if self._config is None:
            return kind.off()
        return kind(
            self.experiment or self._name,
            tracking_uri=self._config.tracking_uri,
            run_dir=self._run_dir,
            switches=getattr(self._config.tracking, kind.stage, None),
            parent=self._parent,
            linger_s=self._config.linger_s,
        )
