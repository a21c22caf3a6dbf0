"""What a training has left so far: one entry per epoch and the scores of the best. Plain data, kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nertrail.ner.scoring import EntityScore, Scores

METRICS = ("macro-f1", "macro-f1-span", "micro-f1-span", "loss")


@dataclass(frozen=True)
class Epoch:
    """One epoch: validation metrics under their public names, and how training stood.

    Attributes:
        number: counted from 1.
        train_loss: mean over the epoch's steps, label smoothing included.
        learning_rate: of the epoch's last step.
    """

    number: int
    metrics: dict[str, float]
    train_loss: float
    learning_rate: float

    def shown(self) -> dict[str, float]:
        """What a run shows of the epoch, as one step of its metrics."""
        scores = {f"eval_{name}": value for name, value in self.metrics.items()}
        return {**scores, "train_loss": self.train_loss, "learning_rate_now": self.learning_rate}


@dataclass
class History:
    """The epochs so far and the scores of the best one.

    Attributes:
        pieces: word pieces trained on in these epochs (padding aside), by all processes together.
        seconds: wall time of training in these epochs, evaluation aside.
    """

    metric: str
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_scores: Scores | None = None
    pieces: int = 0
    seconds: float = 0.0

    def add(self, epoch: Epoch, scores: Scores) -> bool:
        """Append an epoch; say whether it is the best so far (of equal ones the first is)."""
        better = self.best_epoch == 0 or self._value(epoch) > self._value(self.epochs[self.best_epoch - 1])
        self.epochs.append(epoch)
        if better:
            self.best_epoch, self.best_scores = epoch.number, scores
        return better

    def exhausted(self, patience: int | None) -> bool:
        """Whether `patience` epochs have passed since the best one."""
        return patience is not None and bool(self.epochs) and len(self.epochs) - self.best_epoch >= patience

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> History:
        scores = content["best_scores"]
        return cls(
            metric=content["metric"],
            epochs=[Epoch(**epoch) for epoch in content["epochs"]],
            best_epoch=content["best_epoch"],
            best_scores=_scores(scores) if scores else None,
            pieces=content["pieces"],
            seconds=content["seconds"],
        )

    def _value(self, epoch: Epoch) -> float:
        return -epoch.metrics["loss"] if self.metric == "loss" else epoch.metrics[self.metric]


def _scores(content: Mapping[str, Any]) -> Scores:
    """Scores from JSON, which knows neither named tuples nor tuples."""
    per_entity = {name: EntityScore(*values) for name, values in content["per_entity"].items()}
    return Scores(**{**content, "per_entity": per_entity, "absent_types": tuple(content["absent_types"])})
