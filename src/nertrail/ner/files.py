"""Which file of a folder is which split: as the settings name them, else by convention."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nertrail.errors import DataError
from nertrail.ner.huggingface import is_split
from nertrail.ner.sources import DataSettings

SPLITS = ("train", "validation", "test")
STEMS = {
    "train": ("train", "training"),
    "validation": ("dev", "devel", "validation", "valid", "val"),
    "test": ("test", "testing"),
}
SUFFIXES = {
    "conll": (".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv", ".txt"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "json": (".json",),
    "huggingface": (),
}


def find(settings: DataSettings) -> dict[str, Path]:
    """The file of every split; without those that `settings.split` may make of train.

    Raises:
        DataError: no such folder, no file for a split, or several.
    """
    path = settings.path
    if not path.exists():
        remedy = "set data.path to a folder with train, dev and test files, or to one file"
        raise DataError("there is no such file or folder", place=str(path), remedy=remedy)
    if path.is_file() or is_split(path):
        return {"train": _single(settings)}
    found = {split: _file_of(split, settings) for split in SPLITS}
    missing = [split for split, file in found.items() if file is None]
    if missing and ("train" in missing or settings.split is None):
        raise _missing(missing[0], settings)
    return {split: file for split, file in found.items() if file is not None}


def find_some(settings: DataSettings) -> dict[str, Path]:
    """As `find`, but a split may be missing; there is at least one."""
    path = settings.path
    if not path.is_dir() or is_split(path):
        return {"train": path} if path.exists() else find(settings)
    found = {split: _file_of(split, settings) for split in SPLITS}
    if not any(found.values()):
        raise _missing("train", settings)
    return {split: file for split, file in found.items() if file is not None}


def unread(settings: DataSettings, files: Mapping[str, Path]) -> list[str]:
    """Names of the first ten files beside those of the splits that may hold texts, too."""
    if not settings.path.is_dir() or is_split(settings.path):
        return []
    names = [file.name for file in sorted(settings.path.iterdir()) if file not in files.values()]
    return [name for name in names if not name.startswith((".", "README", "LICENSE"))][:10]


def _single(settings: DataSettings) -> Path:
    if settings.split is None:
        found = "is one file, not a folder with splits" if settings.path.is_file() else "is one dataset without splits"
        remedy = "let splits be made of it, for example data.split: {validation: 0.1, test: 0.1}, or give their folder"
        raise DataError(found, place=str(settings.path), remedy=remedy)
    return settings.path


def _file_of(split: str, settings: DataSettings) -> Path | None:
    named: str | None = getattr(settings, split)
    return settings.path / named if named is not None else _by_convention(split, settings)


def _by_convention(split: str, settings: DataSettings) -> Path | None:
    """The one file whose name is the split's, else the one whose name has it as a part; None if there is none.

    A file that the settings name for another split is not looked at.
    """
    taken = {name for name in (settings.train, settings.validation, settings.test) if name is not None}
    files = [
        file for file in sorted(settings.path.iterdir()) if file.name not in taken and _is_readable(file, settings)
    ]
    exact = [file for file in files if file.stem.lower() in STEMS[split]]
    found = exact or [file for file in files if set(_parts(file)) & set(STEMS[split])]
    if len(found) > 1:
        raise DataError(
            f"several files could be the {split} split: {_names(found)}",
            place=str(settings.path),
            remedy=f"set data.format, or name one with data.{split}",
        )
    return found[0] if found else None


def _is_readable(file: Path, settings: DataSettings) -> bool:
    if file.is_dir():
        return settings.format in ("auto", "huggingface") and is_split(file)
    formats = SUFFIXES if settings.format == "auto" else (settings.format,)
    return file.suffix.lower() in {suffix for name in formats for suffix in SUFFIXES[name]}


def _parts(file: Path) -> list[str]:
    """`emerging.dev.conll` has the parts emerging and dev."""
    return re.split(r"[^a-z0-9]+", file.stem.lower())


def _missing(split: str, settings: DataSettings) -> DataError:
    files = sorted(settings.path.iterdir())
    known = SUFFIXES["conll" if settings.format == "auto" else settings.format]
    there = [file.suffix for file in files if file.suffix and _is_readable(file, settings)]
    suffix = next(iter((*there, *known)), "")
    remedy = f"name it with data.{split}, or call it {STEMS[split][0]}{suffix}"
    if split == "train":
        remedy += ", or give one file as data.path and let data.split make its splits"
    else:
        remedy += ", or let it be made of train with data.split (a share of 0 goes without a test split)"
    kind = "" if settings.format == "auto" else f"{settings.format} "
    found = f"no {kind}file of the {split} split; the folder holds {_names(files[:10]) or 'nothing'}"
    return DataError(found, place=str(settings.path), remedy=remedy)


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)
