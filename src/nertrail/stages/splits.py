"""Splits that were made of one file: written into the run dir, taken from there again, refused if the data changed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nertrail.config import Model
from nertrail.errors import DataError
from nertrail.ner.documents import Document, content_hash
from nertrail.ner.readers import Deal
from nertrail.ner.sources import SplitSettings
from nertrail.records import read_json, write_json

FILE = "splits.json"


class SplitPlan(Model):
    """Which document went to which split.

    `digest` names the documents that were dealt, in their order; `members` are their own hashes by split. Texts are
    not in it.
    """

    digest: str
    seed: int
    shares: Mapping[str, float]
    types: Mapping[str, Mapping[str, int]]
    members: Mapping[str, tuple[str, ...]]

    def write(self, run_dir: Path) -> Path:
        """Write the plan into a run dir."""
        return write_json(run_dir / FILE, self.model_dump(mode="json"))


class Dealer:
    """Deals documents as a run dir's plan says, or anew where there is none; `plan` is what was dealt, if anything.

    Args:
        fresh: how splits are made anew.
    """

    def __init__(self, settings: SplitSettings, fresh: Deal, run_dir: Path | None) -> None:
        self._settings, self._fresh = settings, fresh
        self._path = run_dir / FILE if run_dir is not None else None
        self.plan: SplitPlan | None = None

    def __call__(self, documents: Sequence[Document]) -> Sequence[str]:
        """The split of each document.

        Raises:
            DataError: the run dir's plan is of other data or other settings.
        """
        hashes = [content_hash(document) for document in documents]
        known = self._known()
        if known is not None:
            self._check(known, hashes)
        splits = self._fresh(documents) if known is None else _assigned(known, hashes)
        self.plan = _plan(documents, hashes, splits, self._settings)
        return splits

    def _known(self) -> SplitPlan | None:
        if self._path is None or not self._path.is_file():
            return None
        try:
            return SplitPlan.model_validate(read_json(self._path))
        except ValueError as error:
            remedy = "restore the file, or choose another run dir with --run-dir"
            raise DataError(f"is no record of splits: {error}", place=str(self._path), remedy=remedy) from None

    def _check(self, known: SplitPlan, hashes: Sequence[str]) -> None:
        shares, digest = _shares(self._settings), _digest(hashes)
        if known.digest != digest:
            found = f"its splits were made of other data (digest {known.digest}, now {digest})"
        elif (known.seed, dict(known.shares)) != (self._settings.seed, shares):
            found = (
                f"its splits were made with seed {known.seed} and shares {dict(known.shares)}, not as data.split says"
            )
        else:
            return
        remedy = "choose another run dir with --run-dir; in this one texts would change sides between train and test"
        raise DataError(found, place=str(self._path), remedy=remedy)


def _plan(
    documents: Sequence[Document], hashes: Sequence[str], splits: Sequence[str], settings: SplitSettings
) -> SplitPlan:
    members: dict[str, list[str]] = {split: [] for split in dict.fromkeys(splits)}
    types: dict[str, Counter[str]] = {split: Counter() for split in members}
    for document, hash_, split in zip(documents, hashes, splits, strict=True):
        members[split].append(hash_)
        types[split].update(span.type for span in document.spans)
    values: dict[str, Any] = {"members": members, "types": {split: dict(counts) for split, counts in types.items()}}
    return SplitPlan(digest=_digest(hashes), seed=settings.seed, shares=_shares(settings), **values)


def _assigned(plan: SplitPlan, hashes: Sequence[str]) -> list[str]:
    split_of = {hash_: split for split, members in plan.members.items() for hash_ in members}
    return [split_of[hash_] for hash_ in hashes]


def _shares(settings: SplitSettings) -> dict[str, float]:
    return {"validation": settings.validation, "test": settings.test}


def _digest(hashes: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode("ascii")).hexdigest()[:16]
