"""Where annotated text comes from and how it is read: the section `data` of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic

from nertrail.config import Model
from nertrail.ner.quirks import QUIRKS
from nertrail.ner.readers import Dataset, DataSettings, read_dataset, stratified
from nertrail.ner.sources import SplitSettings
from nertrail.numbers import Count, FileName, Place, Seed, Share, TypeName, Whole
from nertrail.stages.splits import Dealer, SplitPlan


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


def read_data(data: DataConfig, run_dir: Path | None = None) -> tuple[Dataset, SplitPlan | None]:
    """The texts, and which of them went where if that was decided here.

    Args:
        run_dir: where splits that were made before are taken from.

    Raises:
        DataError: names file, line, what was found and the remedy.
    """
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
