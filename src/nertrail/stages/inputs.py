"""What every stage reads: the data, as each backbone sees it in windows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.errors import ConfigError, DataError
from nertrail.ner.digests import folder_digest
from nertrail.ner.readers import Dataset, Document, data_version
from nertrail.numbers import Count, CountOrZero, FileName
from nertrail.stages.data import DataConfig, read_data
from nertrail.stages.hyperparameters import SHORTEST_WINDOW
from nertrail.stages.splits import SplitPlan

if TYPE_CHECKING:
    import tokenizers

    from nertrail.ner.backbone import Backbone
    from nertrail.ner.labels import LabelSet
    from nertrail.ner.trainer import FitSettings, Fitted
    from nertrail.ner.windows import Encoded, WindowSettings

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Told of long work: what, how much is done, how much there is."""

UNREADABLE = 0.05
"""Share of unknown pieces above which a backbone can't read the script; emoji make below 0.01 in tweets."""


def quiet(_what: str, _done: int, _total: int) -> None:
    """The `Progress` that says nothing."""


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

    With "auto" the train texts' lengths decide on the window, and where they leave several open a sweep compares these.
    The overlap is then at most a quarter of the window.
    """

    max_length: Annotated[Count, pydantic.Field(ge=SHORTEST_WINDOW)] | Literal["auto"] = 128
    stride: CountOrZero = 32

    @pydantic.model_validator(mode="after")
    def _advances(self) -> WindowConfig:
        if self.max_length != "auto" and self.stride >= self.max_length - 2:
            raise ValueError(f"stride {self.stride} must be below max_length - 2 = {self.max_length - 2}")
        return self


@dataclass(frozen=True)
class Prepared:
    """One backbone's view of the data: read, tokenized and cut into windows once."""

    backbone: Backbone
    tokenizer: tokenizers.Tokenizer
    labels: LabelSet
    train: Encoded
    validation: Encoded
    test: Encoded | None

    @property
    def windows(self) -> WindowSettings:
        return self.train.settings

    def encode(self, documents: tuple[Document, ...]) -> Encoded:
        from nertrail.ner.windows import encode

        return encode(documents, self.tokenizer, self.labels, self.windows)

    def fit(self, settings: FitSettings, folder: Path, **options: Any) -> Fitted:
        """Train on these texts; see `nertrail.ner.trainer.fit`, which also says what the options are."""
        from nertrail.ner.trainer import fit

        return fit(self.backbone, self.labels, self.train, self.validation, self.tokenizer, settings, folder, **options)


@dataclass(frozen=True)
class Inputs:
    """The data of an experiment and how it is looked at; tokenized once per tokenizer and window.

    `windows` hold where nothing else is asked for. `compared` are the lengths of windows that the texts leave open,
    the one of `windows` first; empty where the length is set.
    """

    dataset: Dataset
    windows: WindowSettings
    decoding: str
    seed: int
    version: str
    source: str
    show_texts: bool = False
    plan: SplitPlan | None = None
    compared: tuple[int, ...] = ()
    _cache: dict[tuple[str, str | None, int], Prepared] = field(default_factory=dict, compare=False, repr=False)

    def prepare(self, config: BackboneConfig, max_length: int | None = None) -> Prepared:
        """The data as `config`'s tokenizer sees it; backbones of one source share the work.

        Args:
            max_length: pieces per window, None for the experiment's own.
        """
        windows = self.windows_of(max_length)
        key = (config.source, config.revision, windows.max_length)
        if key not in self._cache:
            self._cache[key] = self._encode(config, windows)
        return replace(self._cache[key], backbone=config.backbone())

    def windows_of(self, max_length: int | None) -> WindowSettings:
        """The windows, or some of another length with an overlap of at most a quarter of it."""
        if max_length is None or max_length == self.windows.max_length:
            return self.windows
        return replace(self.windows, max_length=max_length, stride=min(self.windows.stride, max_length // 4))

    def _encode(self, config: BackboneConfig, windows: WindowSettings) -> Prepared:
        from nertrail.ner.backbone import load_tokenizer
        from nertrail.ner.labels import LabelSet
        from nertrail.ner.windows import encode

        backbone = config.backbone()
        tokenizer, labels = load_tokenizer(backbone), LabelSet(self.dataset.types)
        splits = (self.dataset.train, self.dataset.validation, self.dataset.test)
        train, validation, test = (encode(split, tokenizer, labels, windows) if split else None for split in splits)
        if train is None or validation is None:
            raise DataError("has no training or no validation texts", place=self.source, remedy="give both splits")
        for split, encoded in (("training", train), ("validation", validation)):
            if not encoded.windows:
                remedy = "check the texts, or choose another backbone"
                raise DataError(f"no {split} text holds a word for {config.name}", place=self.source, remedy=remedy)
        prepared = Prepared(backbone, tokenizer, labels, train, validation, test)
        if windows == self.windows:
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
    dataset, plan = read_data(data, run_dir)
    own, compared = _windows(windows, dataset, backbones)
    return Inputs(
        dataset=dataset,
        windows=own,
        decoding=decoding,
        seed=seed,
        version=data_version(dataset.splits),
        source=str(data.path) if data.path else "synthetic résumés",
        show_texts=data.show_texts,
        plan=plan,
        compared=compared,
    )


def _windows(
    config: WindowConfig, dataset: Dataset, backbones: Sequence[BackboneConfig]
) -> tuple[WindowSettings, tuple[int, ...]]:
    """The windows that are set, or those that the most pieces of a backbone need, with the lengths that leaves open."""
    from nertrail.ner.windows import WindowSettings

    if config.max_length != "auto":
        return WindowSettings(config.max_length, config.stride, dataset.word_unit), ()
    if not backbones:
        remedy = "set it to a number, or run it with an experiment's backbones"
        raise ConfigError("auto needs a backbone to measure texts with", place="windows.max_length", remedy=remedy)
    lengths = max(_candidates(dataset, backbones))
    return WindowSettings(lengths[0], min(config.stride, lengths[0] // 4), dataset.word_unit), lengths


def _candidates(dataset: Dataset, backbones: Sequence[BackboneConfig]) -> list[tuple[int, ...]]:
    """Lengths of windows for each tokenizer, none beyond what every backbone has positions for."""
    from nertrail.ner.backbone import load_config, load_tokenizer, max_positions
    from nertrail.ner.lengths import candidates, pieces_of_texts

    texts = [document.text for document in dataset.train]
    made = {(config.source, config.revision): config.backbone() for config in backbones}
    room = min(max_positions(load_config(backbone)) for backbone in made.values())
    return [candidates(pieces_of_texts(texts, load_tokenizer(backbone)), room) for backbone in made.values()]


def _warn_of_unknown(prepared: Prepared, source: str) -> None:
    shares = {"train": prepared.train.unk_share, "validation": prepared.validation.unk_share}
    for split, share in shares.items():
        if share > UNREADABLE:
            log.warning(
                "%s: the backbone %s does not know %.0f %% of the pieces of %s ([UNK]): it can't read this script",
                source, prepared.backbone.source, 100 * share, split,
            )  # fmt: skip
