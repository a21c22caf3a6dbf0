"""Commands about annotated text: `data check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nertrail.cli.guard import BAD_INPUT, fail, guarded
from nertrail.cli.options import Sets
from nertrail.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nertrail.ner.inspection import Inspection
    from nertrail.ner.sources import DataSettings

Row = tuple[str, ...]


@guarded
def check(
    path: Annotated[str, typer.Argument(help="A file, a folder with splits, or an experiment file.")],
    sets: Sets = None,
    places: Annotated[int, typer.Option(help="How many places of each quirk to show.", min=0)] = 3,
) -> None:
    """Show what annotated text holds, every quirk with its places, and what the policies do; exit code 2 if refused."""
    from nertrail.ner.inspection import inspect
    from nertrail.typenames import check_types

    settings = _settings(path, sets or [])
    inspection = inspect(settings)
    _print(inspection, places)
    check_types(sorted(_types(inspection)), str(settings.path))
    if inspection.refused:
        names = ", ".join(inspection.refused)
        remedy = "mend the data, or choose what is done about it with data.policies (docs/data.md)"
        fail(f"{path}: refused because of {names}\n  → {remedy}", BAD_INPUT)


def _settings(path: str, sets: list[str]) -> DataSettings:
    """The data section of an experiment, or that of a bare path; a key below `data` may leave the `data.` out."""
    from nertrail.config import build
    from nertrail.experiment import load_data
    from nertrail.stages.data import DataConfig
    from nertrail.yamlfile import override

    sets = [text if text.startswith("data.") else f"data.{text}" for text in sets]
    if Path(path).suffix in (".yaml", ".yml"):
        return load_data(Path(path), sets).settings()
    tree = override({"data": {"path": path}}, sets)
    return build(DataConfig, tree["data"], path, None, [text.removeprefix("data.") for text in sets]).settings()


def _print(inspection: Inspection, places: int) -> None:
    for note in inspection.notes:
        print(note)
    print_table(
        ("split", "file", "texts", "without entities", "words", "median", "longest", "entities"),
        [_profile_row(inspection, split) for split in inspection.profiles],
    )
    print_table(("type", *inspection.profiles), list(_type_rows(inspection)))
    print_table(("quirk", "split", "count", "policy", "what is done", "where"), list(_quirk_rows(inspection, places)))


def _profile_row(inspection: Inspection, split: str) -> Row:
    profile = inspection.profiles[split]
    numbers = (
        profile.texts,
        profile.texts_without_entities,
        profile.words,
        profile.words_median,
        profile.words_longest,
        profile.entities,
    )
    return (split, inspection.files.get(split, "made of train"), *map(str, numbers))


def _type_rows(inspection: Inspection) -> Iterator[Row]:
    for name in sorted(_types(inspection)):
        yield (name, *(str(profile.types.get(name, 0)) for profile in inspection.profiles.values()))


def _types(inspection: Inspection) -> set[str]:
    return {name for profile in inspection.profiles.values() for name in profile.types}


def _quirk_rows(inspection: Inspection, places: int) -> Iterator[Row]:
    for found in inspection.quirks:
        shown = [place.removeprefix(f"{inspection.folder}/") for place in found.places[:places]]
        more = len(found.places) - len(shown)
        where = ", ".join(shown) + (f" and {more} more" if more and shown else "")
        yield (found.name, found.split, str(found.count), found.policy, found.effect, where)


COMMANDS = (check,)
