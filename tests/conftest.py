"""Shared by all tests. Its folder is put on the import path, so that tests can `import tiny`."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from nertrail.ner.checkpoint import Checkpoint

pytest_plugins = ["tracking_fixtures"]  # a real MLflow server and real stores


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the two-layer backbone; read it, don't write to it."""
    return tiny.build_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Checkpoint:
    """The two-layer backbone, trained; read it, don't write to it."""
    return tiny.train(tmp_path_factory.mktemp("checkpoint"), tiny_backbone)


@pytest.fixture(scope="session")
def tiny_served(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Checkpoint) -> Path:
    """The folder of its int8 model; read it, don't write to it."""
    return tiny.serve(tmp_path_factory.mktemp("served"), tiny_checkpoint)
