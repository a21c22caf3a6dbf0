"""Shared by all tests. Its folder is put on the import path, so that tests can `import tiny`."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny

pytest_plugins = ["tracking_fixtures"]  # a real MLflow server and real stores


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the two-layer backbone; read it, don't write to it."""
    return tiny.build_backbone(tmp_path_factory.mktemp("backbone"))
