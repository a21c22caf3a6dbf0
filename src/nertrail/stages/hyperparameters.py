"""What a trial and the final training start from, and what a search can vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ConfigError
from nertrail.numbers import BatchSize, Count, NotNegative, Positive, Share

if TYPE_CHECKING:
    from nertrail.ner.trainer import FitSettings

Metric = Literal["macro-f1-span", "micro-f1-span", "macro-f1", "loss"]
SHORTEST_WINDOW = 8  # pieces; the special ones leave room for no word in less


class Hyperparameters(Model):
    """What a trial and the final training start from; a search space or a selection overrides single values."""

    learning_rate: Positive = pydantic.Field(default=5e-4, le=1)
    batch_size: BatchSize = 8
    dropout: Share | None = None
    weight_decay: NotNegative = pydantic.Field(default=0.01, le=10)
    warmup: Share = 0.1
    label_smoothing: Share = 0.0
    max_grad_norm: Positive = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    batching: Literal["length", "shuffle", "bucket"] = "bucket"
    max_length: Annotated[Count, pydantic.Field(ge=SHORTEST_WINDOW)] | None = None

    def with_values(self, values: Mapping[str, Any]) -> Hyperparameters:
        """These with `values` in place of their own; an unknown name or a bad value is a ConfigError."""
        try:
            return Hyperparameters.model_validate({**self.model_dump(), **values})
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            known = ", ".join(Hyperparameters.model_fields)
            raise ConfigError(
                f"{name}: {first['msg']}, found {first['input']!r}",
                place="hyperparameters",
                remedy=f"known hyperparameters: {known}",
            ) from None

    def fit_settings(self, *, epochs: int, seed: int, metric: str, decoding: str, patience: int | None) -> FitSettings:
        from nertrail.ner.trainer import FitSettings

        values = self.model_dump(exclude={"max_length"})
        return FitSettings(**values, epochs=epochs, seed=seed, metric=metric, decoding=decoding, patience=patience)
