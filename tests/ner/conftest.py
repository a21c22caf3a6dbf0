"""Shared by the tests of the readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from nertrail.ner.quirks import Findings
from nertrail.ner.readers import DataSettings, read_documents
from reading import Read


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_(content: str | bytes, name: str = "train.conll", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        settings = DataSettings(tmp_path, **options)
        findings = Findings(settings.policies)
        return read_documents(path, settings, findings), findings.counts

    return read_
