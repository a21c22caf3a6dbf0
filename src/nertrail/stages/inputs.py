"""What every stage reads: the data, the backbones, the windows and the hyperparameters they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ConfigError, DataError
from nertrail.ner.readers import Dataset, DataSettings, Document, data_version, read_dataset

if TYPE_CHECKING:
    import tokenizers

    from nertrail.ner.backbone import Backbone
    from nertrail.ner.labels import LabelSet
    from nertrail.ner.trainer import FitSettings
    from nertrail.ner.windows import Encoded, WindowSettings

Progress = Callable[[str, int, int], None]
"""Told of long work: what, how much is done, how much there is."""

Metric = Literal["macro-f1-span", "micro-f1-span", "macro-f1", "loss"]


def quiet(_what: str, _done: int, _total: int) -> None:
    """The `Progress` that says nothing."""


class SyntheticConfig(Model):
    """How many synthetic résumés each split holds, and their seed."""

    train: pydantic.PositiveInt = 110
    validation: pydantic.PositiveInt = 80
    test: pydantic.PositiveInt = 80
    seed: int = 7


class DataConfig(Model):
    """Where annotated text comes from: a folder with one file per split, or the generator of résumés."""

    path: Path | None = None
    synthetic: SyntheticConfig | None = None
    format: Literal["auto", "conll", "jsonl", "json"] = "auto"
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    token_column: int = 0
    tag_column: int | None = None
    label_map: Mapping[str, str | None] = {}
    types: tuple[str, ...] | None = None
    show_texts: bool = False

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("name exactly one of data.path and data.synthetic")
        return self


class BackboneConfig(Model):
    """A pretrained encoder, or the first layers of one."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    source: str
    num_hidden_layers: pydantic.PositiveInt | None = None
    revision: str | None = None

    def backbone(self) -> Backbone:
        from nertrail.ner.backbone import Backbone

        return Backbone(self.name, self.source, self.num_hidden_layers, self.revision)


class WindowConfig(Model):
    """How texts longer than the model are cut: pieces per window, pieces of overlap."""

    max_length: int = pydantic.Field(default=128, ge=8)
    stride: int = pydantic.Field(default=32, ge=0)

    @pydantic.model_validator(mode="after")
    def _advances(self) -> WindowConfig:
        if self.stride >= self.max_length - 2:
            raise ValueError(f"stride {self.stride} must be below max_length - 2 = {self.max_length - 2}")
        return self


class Hyperparameters(Model):
    """What a trial and the final training start from; a search space or a selection overrides single values."""

    learning_rate: pydantic.PositiveFloat = 5e-4
    batch_size: pydantic.PositiveInt = 8
    dropout: float | None = pydantic.Field(default=None, ge=0, lt=1)
    weight_decay: pydantic.NonNegativeFloat = 0.01
    warmup: float = pydantic.Field(default=0.1, ge=0, lt=1)
    label_smoothing: float = pydantic.Field(default=0.0, ge=0, lt=1)
    max_grad_norm: pydantic.PositiveFloat = 1.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    batching: Literal["length", "shuffle", "bucket"] = "length"

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

        return FitSettings(
            **self.model_dump(), epochs=epochs, seed=seed, metric=metric, decoding=decoding, patience=patience
        )


@dataclass(frozen=True)
class Prepared:
    """One backbone's view of the data: read, tokenized and cut into windows once."""

    backbone: Backbone
    tokenizer: tokenizers.Tokenizer
    labels: LabelSet
    train: Encoded
    validation: Encoded
    test: Encoded | None

    def encode(self, documents: tuple[Document, ...]) -> Encoded:
        from nertrail.ner.windows import encode

        return encode(documents, self.tokenizer, self.labels, self.train.settings)


@dataclass(frozen=True)
class Inputs:
    """The data of an experiment and how it is looked at; tokenized once per tokenizer."""

    dataset: Dataset
    windows: WindowSettings
    decoding: str
    seed: int
    version: str
    source: str
    show_texts: bool = False
    _cache: dict[tuple[str, str | None], Prepared] = field(default_factory=dict, compare=False, repr=False)

    def prepare(self, config: BackboneConfig) -> Prepared:
        """The data as `config`'s tokenizer sees it; backbones of one source share the work."""
        from dataclasses import replace

        key = (config.source, config.revision)
        if key not in self._cache:
            self._cache[key] = self._encode(config)
        return replace(self._cache[key], backbone=config.backbone())

    def _encode(self, config: BackboneConfig) -> Prepared:
        from nertrail.ner.backbone import load_tokenizer
        from nertrail.ner.labels import LabelSet
        from nertrail.ner.windows import encode

        backbone = config.backbone()
        tokenizer, labels = load_tokenizer(backbone), LabelSet(self.dataset.types)
        splits = (self.dataset.train, self.dataset.validation, self.dataset.test)
        train, validation, test = (
            encode(split, tokenizer, labels, self.windows) if split else None for split in splits
        )
        if train is None or validation is None:
            raise DataError("has no training or no validation texts", place=self.source, remedy="give both splits")
        return Prepared(backbone, tokenizer, labels, train, validation, test)


def read_inputs(data: DataConfig, windows: WindowConfig, decoding: str, seed: int) -> Inputs:
    """Read the data once.

    Raises:
        DataError: names file, line, what was found and the remedy.
    """
    from nertrail.ner.windows import WindowSettings

    dataset = _synthetic(data.synthetic) if data.synthetic else read_dataset(_settings(data))
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return Inputs(
        dataset=dataset,
        windows=WindowSettings(windows.max_length, windows.stride, dataset.word_unit),
        decoding=decoding,
        seed=seed,
        version=data_version(splits),
        source=str(data.path) if data.path else "synthetic résumés",
        show_texts=data.show_texts,
    )


def _synthetic(config: SyntheticConfig) -> Dataset:
    from nertrail.ner.resumes import make_dataset

    return make_dataset(config.train, config.validation, config.test, seed=config.seed)


def _settings(data: DataConfig) -> DataSettings:
    assert data.path is not None
    values = data.model_dump(exclude={"synthetic", "show_texts"})
    return DataSettings(**values)
