"""`nertrail predict`: texts in, entities out, group by group."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from nertrail.cli.guard import guarded
from nertrail.errors import ConfigError, InputError, NertrailError
from nertrail.ner.devices import MOST_THREADS

if TYPE_CHECKING:
    from nertrail.ner.entities import Entity
    from nertrail.ner.texts import Text
    from nertrail.predictor import Predictor


@guarded
def predict(
    model: Annotated[
        str, typer.Argument(help="A model's folder, a run dir, runs:/ID of a conversion or models:/NAME@ALIAS.")
    ],
    file: Annotated[str, typer.Argument(help="A file of texts, or - for standard input.")],
    form: Annotated[str, typer.Option("--format", help="jsonl, prodigy or labelstudio.")] = "jsonl",
    kind: Annotated[
        str, typer.Option("--input", help="lines, jsonl, text (all is one text); auto: by FILE's suffix, else lines.")
    ] = "auto",
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Leave out entities below this score.")] = 0.0,
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="Leave out entities below their type's threshold, see the model card.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_THREADS, help="Threads of the model. Default: one per usable core.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
) -> None:
    """Find the entities of texts; writes them to standard output, in groups of up to 256 texts that are read first."""
    _check(form, kind)
    _check_streams(file)
    if threads == 1:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # read when the tokenizer is first used
    from nertrail.ner.exports import export
    from nertrail.ner.texts import read_texts
    from nertrail.predictor import Predictor

    with _opened(file) as stream, Predictor.load(model, threads=threads, device=device) as predictor:
        texts = read_texts(stream, "standard input" if file == "-" else file, kind)
        _write(export(_answers(predictor, texts, min_score, thresholds), form))


def _answers(
    predictor: Predictor, texts: Iterable[Text], min_score: float, use_thresholds: bool
) -> Iterator[tuple[Text, list[Entity]]]:
    """Each text with its entities; those that the predictor has read ahead wait here."""
    ahead = deque["Text"]()

    def read() -> Iterator[str]:
        for text in texts:
            ahead.append(text)
            yield text.text

    for found in predictor.stream(read(), min_score=min_score, use_thresholds=use_thresholds):
        yield ahead.popleft(), found


def _check(form: str, kind: str) -> None:
    from nertrail.ner.exports import FORMATS
    from nertrail.ner.texts import KINDS

    for option, value, known in (("--format", form, FORMATS), ("--input", kind, {"auto": None, **KINDS})):
        if value not in known:
            raise ConfigError(f"unknown {value!r}", place=option, remedy=f"use one of {', '.join(known)}")


def _check_streams(file: str) -> None:
    """A stream that the shell closed (`<&-`, `>&-`) is None in Python."""
    for name, stream in (("standard input", sys.stdin if file == "-" else ...), ("standard output", sys.stdout)):
        if stream is None:
            raise InputError("is closed", place=name, remedy="leave it open, or redirect it from or to a file")


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=file, remedy="check the path") from None
    with stream:
        yield stream


def _write(lines: Iterable[str]) -> None:
    """Print the lines as UTF-8, whatever the terminal's encoding; a lone surrogate becomes its JSON escape.

    Raises:
        NertrailError: they cannot be written, for example on a full disk.
    """
    try:
        for line in lines:
            if not _put(line.encode("utf-8", "backslashreplace") + b"\n"):
                return
    finally:
        _put(b"", flush=True)


def _put(content: bytes, flush: bool = False) -> bool:
    """Whether somebody still reads."""
    output = sys.stdout.buffer
    try:
        output.write(content)
        if flush:
            output.flush()
    except OSError as error:
        # what is buffered must not fail once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # whoever reads, such as head, has enough
            return False
        raise NertrailError(f"standard output: cannot be written: {error.strerror}\n  → make room for it") from None
    return True


COMMANDS = (predict,)
