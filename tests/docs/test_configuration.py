"""docs/configuration.md has a row for every setting, and no other, with the default that the code has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from docs import settings

KNOWN = {**settings.known(), **settings.dimensions()}
ROWS = settings.documented()


def test_every_setting_has_one_row_and_every_row_a_setting() -> None:
    assert Counter(key for key, _ in ROWS) == Counter(list(KNOWN))


@pytest.mark.parametrize(("key", "default"), ROWS, ids=[key for key, _ in ROWS])
def test_the_default_is_that_of_the_code(key: str, default: Any) -> None:
    assert (KNOWN[key], type(KNOWN[key]) is bool) == (default, type(default) is bool)


def test_the_walk_knows_sections_lists_and_optional_blocks() -> None:
    assert {"seed", "data.split", "data.split.seed", "backbones.name", "mlflow.tracking.sweep.enabled"} <= set(KNOWN)
    assert KNOWN["backbones.source"] == settings.REQUIRED
    assert "training.source_data" in KNOWN and "training.source_data.path" not in KNOWN
