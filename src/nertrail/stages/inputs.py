"""What every stage reads: the data, the backbones, the windows and the hyperparameters they share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ConfigError, DataError
from nertrail.ner.digests import folder_digest
from nertrail.ner.quirks import QUIRKS
from nertrail.ner.readers import Dataset, DataSettings, Document, data_version, read_dataset, stratified
from nertrail.ner.sources import SplitSettings
from nertrail.numbers import (
    BatchSize,
    Count,
    CountOrZero,
    FileName,
    NotNegative,
    Place,
    Positive,
    Seed,
    Share,
    TypeName,
    Whole,
)  # fmt: skip
from nertrail.stages.splits import Dealer, SplitPlan

if TYPE_CHECKING:
    import tokenizers

    from nertrail.ner.backbone import Backbone
    from nertrail.ner.labels import LabelSet
    from nertrail.ner.trainer import FitSettings
    from nertrail.ner.windows import Encoded, WindowSettings

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Told of long work: what, how much is done, how much there is."""

UNREADABLE = 0.05
"""Share of unknown pieces above which a backbone can't read the script; emoji make below 0.01 in tweets."""

Metric = Literal["macro-f1-span", "micro-f1-span", "macro-f1", "loss"]


def quiet(_what: str, _done: int, _total: int) -> None:
    """The `Progress` that says nothing."""


class SyntheticConfig(Model):
    """How many synthetic résumés each split holds, and their seed."""

    train: Count = 110
    validation: Count = 80
    test: Count = 80
    seed: Seed = 7


class SplitConfig(Model):
    """Shares of the train texts that a missing split gets; a test share of 0 goes without a test split."""

    validation: Share = pydantic.Field(default=0.1, gt=0)
    test: Share = 0.1
    seed: Seed = 42

    @pydantic.model_validator(mode="after")
    def _leaves_train(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} and test {self.test} leave nothing for train")
        return self


# One key per known quirk, so that a wrong name or value is told like that of any other setting.
_POLICIES: dict[str, Any] = {quirk.name: (Literal[quirk.policies], quirk.default) for quirk in QUIRKS.values()}
PoliciesConfig: Any = pydantic.create_model(
    "PoliciesConfig", __base__=Model, __doc__="What is done about each quirk of the data.", **_POLICIES
)


class DataConfig(Model):
    """Where annotated text comes from: a folder with one file per split, one file, or the generator of résumés."""

    path: Place | None = None
    synthetic: SyntheticConfig | None = None
    format: Literal["auto", "conll", "jsonl", "json", "huggingface"] = "auto"
    train: FileName | None = None
    validation: FileName | None = None
    test: FileName | None = None
    token_column: Whole | None = None
    tag_column: Whole | None = None
    ends: Literal["exclusive", "inclusive"] = "exclusive"
    source_field: str = "source"
    label_map: Mapping[str, TypeName | None] = {}
    types: tuple[TypeName, ...] | None = pydantic.Field(default=None, min_length=1)
    policies: PoliciesConfig = PoliciesConfig()
    split: SplitConfig | None = None
    show_texts: bool = False

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("name exactly one of data.path and data.synthetic")
        return self

    def settings(self) -> DataSettings:
        """These as the readers take them."""
        assert self.path is not None
        values = self.model_dump(exclude={"synthetic", "show_texts", "split"})
        return DataSettings(**values, split=SplitSettings(**self.split.model_dump()) if self.split else None)


class BackboneConfig(Model):
    """A pretrained encoder, or the first layers of one."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    source: FileName = pydantic.Field(min_length=1)
    num_hidden_layers: Count | None = None
    revision: str | None = None

    def backbone(self) -> Backbone:
        from nertrail.ner.backbone import Backbone

        return Backbone(self.name, self.source, self.num_hidden_layers, self.revision)

    def digest(self) -> str | None:
        """16 hex digits over the files of a local folder; None for an id of the hub, whose revision is what counts."""
        from nertrail.ner.backbone import resolve

        folder = resolve(self.source)
        return folder_digest(folder) if isinstance(folder, Path) else None


class WindowConfig(Model):
    """How texts longer than the model are cut: pieces per window, pieces of overlap.

    With "auto" the train texts' lengths decide on the window, and the overlap is at most a quarter of it.
    """

    max_length: Annotated[Count, pydantic.Field(ge=8)] | Literal["auto"] = 128
    stride: CountOrZero = 32

    @pydantic.model_validator(mode="after")
    def _advances(self) -> WindowConfig:
        if self.max_length != "auto" and self.stride >= self.max_length - 2:
            raise ValueError(f"stride {self.stride} must be below max_length - 2 = {self.max_length - 2}")
        return self


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
    plan: SplitPlan | None = None
    _cache: dict[tuple[str, str | None], Prepared] = field(default_factory=dict, compare=False, repr=False)

    def prepare(self, config: BackboneConfig) -> Prepared:
        """The data as `config`'s tokenizer sees it; backbones of one source share the work."""
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
        for split, encoded in (("training", train), ("validation", validation)):
            if not encoded.windows:
                remedy = "check the texts, or choose another backbone"
                raise DataError(f"no {split} text holds a word for {config.name}", place=self.source, remedy=remedy)
        prepared = Prepared(backbone, tokenizer, labels, train, validation, test)
        _warn_of_unknown(prepared, self.source)
        return prepared

    def data_metrics(self, prepared: Prepared) -> dict[str, float]:
        """The data's quirks, what a backbone can't read of it, and gold that no prediction can hit, by split."""
        metrics = {f"quirk_{name.replace('.', '_', 1)}": float(count) for name, count in self.dataset.counts.items()}
        for split in ("train", "validation", "test"):
            encoded: Encoded | None = getattr(prepared, split)
            if encoded is not None:
                metrics[f"{split}_unk_share"] = encoded.unk_share
                metrics[f"{split}_words_without_piece"] = float(encoded.silent_words)
                metrics[f"{split}_spans_not_learnable"] = float(encoded.missed_spans)
        return metrics

    def keep_splits(self, run_dir: Path) -> None:
        """Write into a run dir which text is in which split, where the splits were made and not given."""
        if self.plan is not None:
            self.plan.write(run_dir)


def read_inputs(
    data: DataConfig,
    windows: WindowConfig,
    decoding: str,
    seed: int,
    *,
    backbones: Sequence[BackboneConfig] = (),
    run_dir: Path | None = None,
) -> Inputs:
    """Read the data once.

    Args:
        backbones: whose tokenizers decide on the windows where `windows.max_length` is "auto".
        run_dir: where splits that were made before are taken from.

    Raises:
        DataError: names file, line, what was found and the remedy.
    """
    dataset, plan = _dataset(data, run_dir)
    return Inputs(
        dataset=dataset,
        windows=_windows(windows, dataset, backbones),
        decoding=decoding,
        seed=seed,
        version=data_version(dataset.splits),
        source=str(data.path) if data.path else "synthetic résumés",
        show_texts=data.show_texts,
        plan=plan,
    )


def _dataset(data: DataConfig, run_dir: Path | None) -> tuple[Dataset, SplitPlan | None]:
    if data.synthetic:
        return _synthetic(data.synthetic), None
    settings = data.settings()
    if settings.split is None:
        return read_dataset(settings), None
    dealer = Dealer(settings.split, stratified(settings), run_dir)
    return read_dataset(settings, dealer), dealer.plan


def _synthetic(config: SyntheticConfig) -> Dataset:
    from nertrail.ner.resumes import make_dataset

    return make_dataset(config.train, config.validation, config.test, seed=config.seed)


def _windows(config: WindowConfig, dataset: Dataset, backbones: Sequence[BackboneConfig]) -> WindowSettings:
    """The windows that are set, or those that the longest-tokenizing backbone needs."""
    from nertrail.ner.windows import WindowSettings, fitting_length

    if config.max_length != "auto":
        return WindowSettings(config.max_length, config.stride, dataset.word_unit)
    if not backbones:
        remedy = "set it to a number, or run it with an experiment's backbones"
        raise ConfigError("auto needs a backbone to measure texts with", place="windows.max_length", remedy=remedy)
    from nertrail.ner.backbone import load_config, load_tokenizer, max_positions

    texts = [document.text for document in dataset.train]
    made = [backbone.backbone() for backbone in backbones]
    room = min(max_positions(load_config(backbone)) for backbone in made)
    length = min(max(fitting_length(texts, load_tokenizer(backbone)) for backbone in made), room)
    return WindowSettings(length, min(config.stride, length // 4), dataset.word_unit)


def _warn_of_unknown(prepared: Prepared, source: str) -> None:
    shares = {"train": prepared.train.unk_share, "validation": prepared.validation.unk_share}
    for split, share in shares.items():
        if share > UNREADABLE:
            log.warning(
                "%s: the backbone %s does not know %.0f %% of the pieces of %s ([UNK]): it can't read this script",
                source, prepared.backbone.source, 100 * share, split,
            )  # fmt: skip
