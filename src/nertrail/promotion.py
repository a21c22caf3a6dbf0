"""Which version of a registered model is in production: the challenger becomes the champion, or is told why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nertrail.errors import ModelError, PromotionError
from nertrail.tracking.registry import CHALLENGER, CHAMPION, Version, find_version, scores_of, set_champion


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
        force: promote it whatever speaks against it.

    Raises:
        ModelError: there is no such model or version, or the server does not answer.
        PromotionError: it has not passed the gate, or its test F1 is below the champion's on the same texts, by more
            than the 95 % interval of their difference.
    """
    version = find_version(name, wanted, tracking_uri)
    if version is None:
        remedy = "name a version by its number, or an alias that the model has"
        raise ModelError("no such version or alias", place=f"models:/{name}@{wanted}", remedy=remedy)
    before = find_version(name, CHAMPION, tracking_uri)
    if before is not None and before.number == version.number:
        return Promotion(version, before, "it was before, so nothing is changed")
    objection, comparison = _gate(version), "there was no champion to compare it with"
    if before is not None:
        worse, comparison = judge(scores_of(before, tracking_uri), scores_of(version, tracking_uri))
        objection = objection or (comparison if worse else None)
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


def _gate(version: Version) -> str | None:
    found = version.tags.get("gate", "unknown")
    return None if found == "passed" else f"it has not passed the gate of its conversion (gate: {found})"
