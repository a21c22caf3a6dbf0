"""Everything about annotated text at a glance: what it holds, its quirks, and what a reading would do about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nertrail.ner.files import SPLITS, find_some, unread
from nertrail.ner.quirks import QUIRKS, Findings
from nertrail.ner.readers import parse_splits
from nertrail.ner.sources import DataSettings
from nertrail.ner.survey import Profile, profile


@dataclass(frozen=True)
class QuirkFound:
    """One quirk in one split: how often, where, and what its policy does."""

    name: str
    split: str
    policy: str
    effect: str
    places: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        files: the file of each split that there is one of.
        quirks: in the order of the catalogue, refused ones included.
        refused: names of the quirks that a reading would end at.
        notes: what else stands in a reading's way, in sentences.
    """

    folder: Path
    files: Mapping[str, str]
    profiles: Mapping[str, Profile]
    quirks: tuple[QuirkFound, ...]
    refused: tuple[str, ...]
    notes: tuple[str, ...]


def inspect(settings: DataSettings) -> Inspection:
    """Read whatever splits there are as a training would, but note what it would refuse instead of ending there.

    Raises:
        DataError: nothing can be read, or a line is no data at all; names the place.
    """
    files = find_some(settings)
    findings = {split: Findings(settings.policies, lenient=True) for split in SPLITS}
    splits = parse_splits(files, settings, findings)
    quirks = [
        QuirkFound(name, split, found.policy(name), quirk.effect(found.policy(name)), tuple(found.places[name]))
        for name, quirk in QUIRKS.items()
        for split, found in findings.items()
        if name in found.places
    ]
    return Inspection(
        folder=settings.path if settings.path.is_dir() else settings.path.parent,
        files={split: file.name for split, file in files.items()},
        profiles={split: profile(documents) for split, documents in splits.items()},
        quirks=tuple(quirks),
        refused=tuple(dict.fromkeys(name for found in findings.values() for name in found.refused)),
        notes=tuple(_notes(splits, findings, unread(settings, files))),
    )


def _notes(splits: Mapping[str, object], findings: Mapping[str, Findings], others: Sequence[str]) -> list[str]:
    missing = [split for split in SPLITS if split not in splits]
    notes = []
    if missing:
        remedy = "name it with data.{0}" if "train" in missing else "name it with data.{0}, or set data.split"
        there = f" (not read: {', '.join(others)})" if others else ""
        notes = [f"no {split} split: {remedy.format(split)}{there}" for split in missing]
    dropped = sum(found.dropped_labels for found in findings.values())
    return notes + ([f"{dropped} entities are dropped by data.label_map"] if dropped else [])
