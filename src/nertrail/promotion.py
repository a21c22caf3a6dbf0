"""Which version of a registered model is in production: the challenger becomes the champion, or is told why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nertrail.errors import ModelError, PromotionError
from nertrail.ner.serving import FolderPredictor
from nertrail.tracking.registry import CHALLENGER, CHAMPION, Version, find_version, model_of, set_champion


@dataclass(frozen=True)
class Promotion:
    """What was done: `comparison` says how the new champion did against the one before."""

    champion: Version
    before: Version | None
    comparison: str


def promote(name: str, wanted: str = CHALLENGER, *, force: bool = False, tracking_uri: str | None = None) -> Promotion:
    """Give a version the alias `champion`.

    Args:
        name: the registered model.
        wanted: the version's number, or an alias.
        force: promote it whatever speaks against it, as long as it can be served.

    Raises:
        ModelError: there is no such model or version, its files can't be served, or the server does not answer.
        PromotionError: it has not passed the gate, its test F1 is below the champion's on the same texts, by more
            than the 95 % interval of their difference, or the scores of one of the two can't be read.
    """
    version = find_version(name, wanted, tracking_uri)
    if version is None:
        remedy = "name a version by its number, or an alias that the model has"
        raise ModelError("no such version or alias", place=f"models:/{name}@{wanted}", remedy=remedy)
    before = find_version(name, CHAMPION, tracking_uri)
    if before is not None and before.number == version.number:
        return Promotion(version, before, "it was before, so nothing is changed")
    folder = _served(version, tracking_uri)
    objection, comparison = None, "there was no champion to compare it with"
    if before is not None:
        objection, comparison = _compared(before, folder, tracking_uri)
    objection = _gate(version) or objection
    if objection and not force:
        raise PromotionError(f"version {version.number} of {name}: {objection}; --force promotes it all the same")
    set_champion(version, tracking_uri)
    return Promotion(version, before, comparison)


def judge(champion: Mapping[str, Any] | None, challenger: Mapping[str, Any] | None) -> tuple[bool, str]:
    """Whether the challenger is worse on the same test texts, beyond chance, and the numbers that say so.

    Args:
        champion: its scores.json, with counts per test text; None where it has none.
        challenger: the same.
    """
    if champion is None or challenger is None:
        return False, "not compared: one of the two was never scored on test texts"
    ours, theirs = (scores["counts"]["texts"] for scores in (champion, challenger))
    same_data = champion["data_version"] == challenger["data_version"] is not None
    if not same_data or [row[1] for row in ours] != [row[1] for row in theirs]:
        return False, "not compared: the two were scored on other data"
    import numpy as np

    from nertrail.ner.bootstrap import difference_interval, micro_f1

    before, after = (np.array(rows, dtype=np.int64).reshape(-1, 3) for rows in (ours, theirs))
    low, high = difference_interval(after, before)
    numbers = f"test F1 {micro_f1(after):.4f}, the champion's {micro_f1(before):.4f}"
    return high < 0, f"{numbers} (difference 95 % {low:+.4f} to {high:+.4f}, on the same texts)"


def read_scores(folder: Path) -> dict[str, Any] | None:
    """The scores.json of a served model; None where it has none.

    Raises:
        ModelError: it is broken, or holds no counts per text.
    """
    path = folder / "scores.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content["counts"]["texts"]
        if not all(len(row) == 3 and all(type(count) is int for count in row) for row in rows):
            raise ValueError("counts, texts: a row that is not of three counts")  # noqa: TRY301 - told as the others are
        return {**content, "data_version": content["data_version"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "convert the model again, and promote that version"
        raise ModelError(f"not a model's scores: {error!r}", place=str(path), remedy=remedy) from error


def _served(version: Version, tracking_uri: str | None) -> Path:
    """The folder of a version that can be served: nothing forces a model that can't into production."""
    fetched = model_of(version, tracking_uri)
    fetched.load(lambda folder: FolderPredictor(folder, threads=1)).close()
    return fetched.path


def _compared(before: Version, folder: Path, tracking_uri: str | None) -> tuple[str | None, str]:
    """What the champion's scores say against the model in the folder, and how the two compare."""
    whose = f"the champion's scores (version {before.number})"
    try:
        theirs = read_scores(model_of(before, tracking_uri).path)
        whose = "its own scores"
        worse, comparison = judge(theirs, read_scores(folder))
    except ModelError as error:
        problem = " ".join(error.problem.split())  # MLflow's go over several lines
        trouble = f"not compared: {whose} can't be read: {error.place}: {problem}"
        return trouble, trouble
    return comparison if worse else None, comparison


def _gate(version: Version) -> str | None:
    found = version.tags.get("gate", "unknown")
    return None if found == "passed" else f"it has not passed the gate of its conversion (gate: {found})"
