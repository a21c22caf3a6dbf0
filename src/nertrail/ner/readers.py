"""Annotated files in, documents out: the public door of everything that reads data.

A format is one parser: a function that takes a `Source` and yields documents, listed in `PARSERS`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nertrail.errors import DataError
from nertrail.ner import conll, jsonspans
from nertrail.ner.documents import Dataset, Document, Span, data_version
from nertrail.ner.sources import DataSettings, Source, open_source

__all__ = ["DataSettings", "Dataset", "Document", "Span", "data_version", "read_dataset", "read_documents"]

log = logging.getLogger(__name__)

PARSERS: dict[str, Callable[[Source], Iterator[Document]]] = {
    "conll": conll.parse,
    "jsonl": jsonspans.parse_lines,
    "json": jsonspans.parse_array,
}
SUFFIXES = {
    "conll": (".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv", ".txt"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "json": (".json",),
}
# Seen in most files and without any effect on what is learned.
HARMLESS = frozenset(
    {
        "blank_line_with_whitespace",
        "byte_order_mark",
        "carriage_returns",
        "comment_lines",
        "document_starts",
        "records_without_annotation",
    }
)
STEMS = {"train": ("train",), "validation": ("dev", "devel", "validation", "valid", "val"), "test": ("test",)}


def read_documents(
    path: Path, settings: DataSettings | None = None, counts: Counter[str] | None = None
) -> list[Document]:
    """Read one file.

    Args:
        path: the file.
        settings: how to read it; its own `path` and split names play no part here.
        counts: filled with the quirks that were met, under their bare names.

    Raises:
        DataError: the file is missing, broken or holds no document; names file, line and remedy.
    """
    quirks = Counter[str]()
    source = open_source(path, settings or DataSettings(path), quirks)
    documents = list(PARSERS[_format_of(source)](source))
    if not documents:
        raise DataError("the file holds no annotated text", place=str(path), remedy="check the file and data.format")
    if quirks["records_without_annotation"] == len(documents):
        keys = ", ".join(jsonspans.SPAN_KEYS)
        raise DataError("no record is annotated", place=str(path), remedy=f"name the entities by one of {keys}")
    _report(path, +quirks)
    if counts is not None:
        counts.update(+quirks)
    return documents


def read_dataset(settings: DataSettings) -> Dataset:
    """Read the three splits of a folder.

    Raises:
        DataError: a folder, file, line or label is not usable; names the place and the remedy.
    """
    files = {split: _file_of(split, settings) for split in STEMS}
    counts, splits = Counter[str](), {}
    for split, file in files.items():
        quirks = Counter[str]()
        splits[split] = tuple(read_documents(file, settings, quirks))
        counts.update({f"{split}.{quirk}": count for quirk, count in quirks.items()})
    types = _types(splits, settings, counts)
    counts.update(_shared_texts(splits))
    tokenized = all(document.words is not None for document in splits["train"])
    return Dataset(
        **splits,
        types=types,
        counts=dict(+counts),
        source=str(settings.path),
        word_unit="whitespace" if tokenized else "pretokenizer",
    )


def _format_of(source: Source) -> str:
    """Return the format that is set, else that of the suffix; JSON suffixes are used for lines and arrays alike."""
    if source.settings.format != "auto":
        return source.settings.format
    suffix = source.path.suffix.lower()
    if suffix not in (*SUFFIXES["jsonl"], *SUFFIXES["conll"]) or suffix == ".txt":
        return _sniffed(source.text)
    if suffix in SUFFIXES["conll"]:
        return "conll"
    return "json" if source.text.lstrip().startswith("[") else "jsonl"


def _sniffed(text: str) -> str:
    """Guess by the first line: `{ O` and `[ O` are tokens, `{"text": ...` and `[{...` are JSON."""
    head = "".join(text[:200].split())
    return "jsonl" if head.startswith('{"') else "json" if head.startswith('[{"') else "conll"


def _file_of(split: str, settings: DataSettings) -> Path:
    if not settings.path.is_dir():
        found = "is a file, not a folder" if settings.path.exists() else "there is no such folder"
        remedy = "set data.path to a folder with train, dev and test files"
        raise DataError(found, place=str(settings.path), remedy=remedy)
    named: str | None = getattr(settings, split)
    if named is not None:
        return settings.path / named
    return _file_by_convention(split, settings)


def _file_by_convention(split: str, settings: DataSettings) -> Path:
    formats = PARSERS if settings.format == "auto" else (settings.format,)
    suffixes = {suffix for name in formats for suffix in SUFFIXES[name]}
    files = sorted(settings.path.iterdir())
    found = [file for file in files if file.stem.lower() in STEMS[split] and file.suffix.lower() in suffixes]
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found or files[:10])
    if found:
        raise DataError(
            f"several files could be the {split} split: {names}",
            place=str(settings.path),
            remedy=f"set data.format, or name one with data.{split}",
        )
    raise DataError(
        f"no file of the {split} split; the folder holds {names or 'nothing'}",
        place=str(settings.path),
        remedy=f"name it with data.{split}, or call it {STEMS[split][0]}{SUFFIXES[next(iter(formats))][0]}",
    )


def _types(splits: Mapping[str, Sequence[Document]], settings: DataSettings, counts: Counter[str]) -> tuple[str, ...]:
    """Return the types that are set, else those of all splits; what train never shows can't be learned and is told."""
    if settings.types is not None:
        return tuple(sorted(settings.types))
    found = {
        split: Counter(span.type for document in documents for span in document.spans)
        for split, documents in splits.items()
    }
    if not found["train"]:
        raise DataError("the train split holds no entity", place=str(settings.path), remedy="check data.train")
    for split, types in found.items():
        for type_ in sorted(types.keys() - found["train"].keys()):
            log.warning("%s: type %s occurs in %s but not in train", settings.path, type_, split)
            counts[f"{split}.type_not_in_train.{type_}"] = types[type_]
    return tuple(sorted(set().union(*found.values())))


def _shared_texts(splits: Mapping[str, Sequence[Document]]) -> Counter[str]:
    """Count texts that a later split shares with an earlier one, and repeats inside a split."""
    counts, seen = Counter[str](), dict[str, set[str]]()
    for split, documents in splits.items():
        texts = {document.text for document in documents}
        counts[f"{split}.repeated_texts"] = len(documents) - len(texts)
        for earlier, known in seen.items():
            counts[f"{split}.texts_also_in_{earlier}"] = len(texts & known)
        seen[split] = texts
    return counts


def _report(path: Path, quirks: Counter[str]) -> None:
    told = ", ".join(f"{name} {count}" for name, count in sorted(quirks.items()))
    if quirks:
        log.log(logging.INFO if quirks.keys() <= HARMLESS else logging.WARNING, "%s: %s", path, told)
