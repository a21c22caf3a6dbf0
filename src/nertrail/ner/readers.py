"""Annotated files in, documents out: the public door of everything that reads data.

A format is one parser: a function that takes a `Source` and yields documents, listed in `PARSERS`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from nertrail.errors import DataError
from nertrail.ner import conll, huggingface, jsonspans
from nertrail.ner.documents import Dataset, Document, Span, data_version
from nertrail.ner.files import SPLITS, find
from nertrail.ner.jsonrecords import SPAN_KEYS
from nertrail.ner.quirks import HARMLESS, KEEP, Findings
from nertrail.ner.sources import DataSettings, Source, open_source
from nertrail.ner.splitting import deal
from nertrail.ner.survey import Documents, survey, survey_leaks, survey_types

__all__ = ["DataSettings", "Dataset", "Document", "Span", "data_version", "read_dataset", "read_documents"]

log = logging.getLogger(__name__)

PARSERS: dict[str, Callable[[Source], Iterator[Document]]] = {
    "conll": conll.parse,
    "jsonl": jsonspans.parse_lines,
    "json": jsonspans.parse_array,
    "huggingface": huggingface.parse,
}
CONLL_SUFFIXES = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")

Deal = Callable[[Sequence[Document]], Sequence[str]]
"""The split that each document of a pool goes to."""


def read_documents(
    path: Path, settings: DataSettings | None = None, findings: Findings | None = None
) -> list[Document]:
    """Read one file, or one dataset saved to disk.

    Args:
        settings: how to read it; its own `path` and split names play no part here.
        findings: filled with the quirks that were met in it.

    Raises:
        DataError: the file is missing, broken or holds no document; names file, line and remedy.
    """
    settings = settings or DataSettings(path)
    findings = Findings(settings.policies) if findings is None else findings
    source = open_source(path, settings, findings)
    documents = list(PARSERS[_format_of(source)](source))
    if not documents:
        raise DataError("the file holds no annotated text", place=str(path), remedy="check the file and data.format")
    bare = findings.places.get("records_without_annotation", ())
    if len(bare) == len(documents) and findings.policy("records_without_annotation") == KEEP:
        keys = ", ".join(SPAN_KEYS)
        raise DataError("no record is annotated", place=str(path), remedy=f"name the entities by one of {keys}")
    return documents


def parse_splits(
    files: Mapping[str, Path], settings: DataSettings, findings: Mapping[str, Findings], dealt: Deal | None = None
) -> dict[str, Documents]:
    """Read the splits that there are files of, and make of train those that `settings.split` asks for.

    Args:
        findings: by split, filled with what was met in each; for a file of which splits are made, that of train.
        dealt: decides which document of train goes to which split; None stratifies by entity type.

    Raises:
        DataError: a file can't be used.
    """
    read = {split: tuple(read_documents(file, settings, findings[split])) for split, file in files.items()}
    _check_label_map(settings, {label for found in findings.values() for label in found.labels})
    if "train" in read and _wanted(settings, tuple(read)):
        read |= _made(read["train"], settings, tuple(read), dealt or stratified(settings))
    read = {split: survey(read[split], findings[split], split) for split in SPLITS if split in read}
    read = survey_leaks(read, findings)
    for split, types in (survey_types(read, findings) if "train" in read else {}).items():
        log.warning("%s: type %s occurs in %s but not in train", settings.path, ", ".join(types), split)
    return read


def read_dataset(settings: DataSettings, dealt: Deal | None = None) -> Dataset:
    """Read the three splits of a folder; `dealt` as in `parse_splits`.

    Raises:
        DataError: a folder, file, line or label is not usable; names the place and the remedy.
    """
    findings = {split: Findings(settings.policies) for split in SPLITS}
    splits = parse_splits(find(settings), settings, findings, dealt)
    for split in findings:
        _report(settings.path, split, findings[split].counts)
    return Dataset(
        train=splits["train"],
        validation=splits["validation"],
        test=splits.get("test", ()),
        types=_types(splits, settings),
        counts={f"{split}.{quirk}": count for split in findings for quirk, count in findings[split].counts.items()},
        source=str(settings.path),
        word_unit="whitespace" if all(document.words is not None for document in splits["train"]) else "pretokenizer",
        declared=settings.types is not None,
    )


def stratified(settings: DataSettings) -> Deal:
    """Deals a pool to train and to the splits that there is no file of, each its share of every entity type."""
    split = settings.split
    assert split is not None
    shares = {name: split.share(name) for name in _wanted(settings, tuple(find(settings)))}
    shares = {"train": 1 - sum(shares.values()), **shares}

    def dealt(documents: Sequence[Document]) -> list[str]:
        return [list(shares)[part] for part in deal(documents, list(shares.values()), split.seed)]

    return dealt


def _wanted(settings: DataSettings, given: Sequence[str]) -> list[str]:
    """The splits that are to be made of train."""
    split = settings.split
    return [name for name in SPLITS[1:] if split is not None and name not in given and split.share(name) > 0]


def _made(pool: Documents, settings: DataSettings, given: Sequence[str], dealt: Deal) -> dict[str, Documents]:
    """Train and the splits that are made of it."""
    pairs = list(zip(pool, dealt(pool), strict=True))
    wanted = ("train", *_wanted(settings, given))
    made = {split: tuple(document for document, name in pairs if name == split) for split in wanted}
    for split, documents in made.items():
        if not documents:
            found = f"{len(pool)} texts leave none for {split}"
            raise DataError(found, place=str(settings.path), remedy="give more texts, or other shares with data.split")
    return made


def _check_label_map(settings: DataSettings, labels: Collection[str]) -> None:
    """Raise DataError for a label to be renamed or dropped that nothing is labelled with: a slip of the pen, mostly."""
    for name in settings.label_map:
        if name not in labels:
            near = get_close_matches(name, labels, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            remedy = f"{hint}labels there: {', '.join(sorted(labels))}; or take it out"
            raise DataError(f"data.label_map: no label is {name!r}", place=str(settings.path), remedy=remedy)


def _format_of(source: Source) -> str:
    """Return the format that is set, else that of the suffix; JSON suffixes are used for lines and arrays alike."""
    if huggingface.is_split(source.path):
        return "huggingface"
    if source.settings.format != "auto":
        return source.settings.format
    suffix = source.path.suffix.lower()
    if suffix in CONLL_SUFFIXES:
        return "conll"
    if suffix in JSON_SUFFIXES:
        return "json" if source.text.lstrip().startswith("[") else "jsonl"
    return _sniffed(source.text)


def _sniffed(text: str) -> str:
    """Guess by the first line: `{ O` and `[ O` are tokens, `{"text": ...` and `[{...` are JSON."""
    head = "".join(text[:200].split())
    return "jsonl" if head.startswith('{"') else "json" if head.startswith('[{"') else "conll"


def _types(splits: Mapping[str, Documents], settings: DataSettings) -> tuple[str, ...]:
    """Return the types that are set, else those of all splits."""
    if settings.types is not None:
        return tuple(sorted(settings.types))
    if not any(document.spans for document in splits["train"]):
        raise DataError("the train split holds no entity", place=str(settings.path), remedy="check data.train")
    return tuple(sorted({span.type for split in splits.values() for document in split for span in document.spans}))


def _report(path: Path, split: str, quirks: Mapping[str, int]) -> None:
    for level, harmless in ((logging.WARNING, False), (logging.INFO, True)):
        told = ", ".join(f"{name} {count}" for name, count in sorted(quirks.items()) if (name in HARMLESS) == harmless)
        if told:
            log.log(level, "%s, %s: %s (`nertrail data check` shows where)", path, split, told)
