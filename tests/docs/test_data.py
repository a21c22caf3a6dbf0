"""The samples of docs/data.md are read as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nertrail.ner.inspection import inspect
from nertrail.ner.quirks import QUIRKS
from nertrail.stages.data import DataConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```(jsonl|conll)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("suffix", "text"), SAMPLES, ids=[f"{i}-{kind}" for i, (kind, _) in enumerate(SAMPLES)])
def test_a_sample_is_read_without_a_quirk_but_texts_without_entities(suffix: str, text: str, tmp_path: Path) -> None:
    (tmp_path / f"train.{suffix}").write_text(text, encoding="utf-8")
    found = inspect(DataConfig(path=tmp_path).settings())
    assert {quirk.name for quirk in found.quirks} <= {"texts_without_entities"}
    assert found.profiles["train"].types["PER"] >= 1 and found.profiles["train"].types["LOC"] == 1


def test_the_sample_of_a_made_split_is_a_setting() -> None:
    assert "split: {validation: 0.1, test: 0.1}" in PAGE
    assert DataConfig(path=Path("letters.jsonl"), split={"validation": 0.1, "test": 0.1}).split is not None


def test_the_quirks_of_the_shown_check_exist() -> None:
    shown = re.findall(r"^  (\w+) +(?:train|validation|test) +\d+ ", PAGE, re.MULTILINE)
    assert shown and set(shown) <= set(QUIRKS)
