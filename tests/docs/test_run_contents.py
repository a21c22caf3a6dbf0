"""docs/run-contents.md says what real runs show, no more and no less."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import recorded

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_run_contents", DOCS / "generate_run_contents.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def observed(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> object:
    folder = tmp_path_factory.mktemp("observed")
    memories = recorded.pipeline(folder, tiny_backbone), recorded.side_paths(folder, tiny_backbone)
    return generator.names_in(memories)


def test_every_name_is_explained_and_every_explained_name_is_shown(generator: ModuleType, observed: object) -> None:
    assert generator.differences(observed) == []


def test_the_page_is_the_generated_one(generator: ModuleType, observed: object) -> None:
    assert (DOCS / "run-contents.md").read_text(encoding="utf-8") == generator.page(observed)
