"""Annotated files in, documents out: the public door of everything that reads data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nertrail.ner.documents import Dataset, Document, Span, data_version

__all__ = ["DataSettings", "Dataset", "Document", "Span", "data_version", "read_dataset", "read_documents"]


@dataclass(frozen=True)
class DataSettings:
    path: Path
    format: str = "auto"
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    token_column: int = 0
    tag_column: int | None = None
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    types: tuple[str, ...] | None = None


def read_documents(path: Path, settings: DataSettings | None = None) -> list[Document]:
    raise NotImplementedError


def read_dataset(settings: DataSettings) -> Dataset:
    raise NotImplementedError
