"""Removes the kept copies of artifacts that have arrived everywhere. Segments stay: they are small and hold all values.

blobs/.pruned.json        sha256 → the destinations, by their state folders' names, that hold it
blobs/.pruned/<sha256>    on the way out: still read from there until the last look found nobody that needs it
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nertrail.records import write_json
from nertrail.tracking import segments
from nertrail.tracking.blobs import LEAVING, LEFT, places_of, referenced
from nertrail.tracking.destination import state_folder
from nertrail.tracking.liveness import held
from nertrail.tracking.protocol import RUNNING
from nertrail.tracking.rows import journal_events, run_rows
from nertrail.tracking.sync import destinations, outlook


class Pruned(NamedTuple):
    """How many files went and how many bytes they had; `why` says why none went."""

    files: int
    size: int
    why: str = ""


def prune(run_dir: str | Path, marks: Mapping[str, int]) -> Pruned:
    """Remove every kept file of which all runs are ended and delivered. May be interrupted at any place.

    A program that begins to write meanwhile is noticed, and everything is put back.

    Args:
        marks: the ends of the journal's segments when it was seen that every destination holds what they tell.
    """
    path = Path(run_dir).absolute()
    folders = [state_folder(path, uri) for uri in destinations(path)]
    with contextlib.ExitStack() as locks:
        if not all([locks.enter_context(held(folder / "lock")) for folder in folders]):
            return Pruned(0, 0, "another process delivers this run dir")
        return _prune(path, folders, marks)


def _prune(run_dir: Path, folders: list[Path], marks: Mapping[str, int]) -> Pruned:
    blobs = run_dir / "journal" / "blobs"
    _put_back(blobs)
    if why := _reason_to_keep(run_dir, folders, marks):
        return Pruned(0, 0, why)
    going = [blobs / name for name in sorted(_referenced(run_dir)) if (blobs / name).is_file()]
    _note(blobs, going, folders)
    for blob in going:
        (blobs / LEAVING).mkdir(exist_ok=True)
        blob.rename(blobs / LEAVING / blob.name)
    if why := _reason_to_keep(run_dir, folders, marks):  # who begins now finds them gone, and keeps its own
        _put_back(blobs)
        return Pruned(0, 0, why)
    return _remove(blobs)


def _reason_to_keep(run_dir: Path, folders: list[Path], marks: Mapping[str, int]) -> str:
    journal = run_dir / "journal"
    if any(segments.writer_lives(writer) for writer in segments.writers(journal)):
        return "a program still writes here"
    if segments.ends(journal) != marks:
        return "more was written meanwhile"
    if not outlook(run_dir).complete:
        return "not all is delivered"
    if any(row.status == RUNNING or row.waiting for folder in folders for row in run_rows(run_dir, folder)):
        return "a run is still open"
    return ""


def _referenced(run_dir: Path) -> set[str]:
    """What the journal's events name; a file that none names may belong to one that is damaged."""
    described = (one for event, _, _ in journal_events(run_dir / "journal") for one in event.get("artifacts", ()))
    return {name for one in described for name in referenced(one)}


def _note(blobs: Path, going: list[Path], folders: list[Path]) -> None:
    known, names = places_of(blobs), [folder.name for folder in folders]
    if going:
        write_json(blobs / LEFT, known | {blob.name: names for blob in going})


def _put_back(blobs: Path) -> None:
    """What an interrupted one had on the way out."""
    for path in (blobs / LEAVING).glob("*"):
        path.rename(blobs / path.name)


def _remove(blobs: Path) -> Pruned:
    sizes = []
    for path in (blobs / LEAVING).glob("*"):
        sizes.append(path.stat().st_size)
        path.unlink()
    return Pruned(len(sizes), sum(sizes))
