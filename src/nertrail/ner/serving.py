"""Entities of raw text from a folder with an ONNX model. Needs onnxruntime and tokenizers, neither torch nor mlflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from nertrail.errors import ConfigError, DataError, ModelError
from nertrail.ner.checkpoint import CONFIG, MANIFEST, TOKENIZER, is_score, read_manifest
from nertrail.ner.devices import CPU, providers, suited
from nertrail.ner.documents import Document
from nertrail.ner.entities import Entity, kept, label
from nertrail.ner.predictor import BATCH_PIECES, OnnxRecognizer

# Where a model lies in a folder that holds more: an MLflow model, the run dir of a pipeline.
_BELOW = ("", "artifacts/model", *(f"artifacts/conversion/onnx_{name}" for name in ("int8", "fp32", "fp16")))
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class FolderPredictor:
    """A served model, loaded once and asked often. Calls from several threads take turns inside onnxruntime only.

    Args:
        folder: a converted model's folder, an MLflow model that holds one, or the run dir of a pipeline.
        file: the ONNX file; None: the one that suits the device.
        threads: threads of the model, at most 512; None: OMP_NUM_THREADS or as many as there are usable cores.
        device: "cpu", "cuda" or "auto". CUDA is untested.

    Raises:
        ModelError: a file is missing, broken, or of another model; the message names it.
        ConfigError: no such device, or no such number of threads.
    """

    def __init__(
        self, folder: Path, *, file: str | None = None, threads: int | None = None, device: str = "cpu"
    ) -> None:
        self.folder = model_folder(folder)
        self._recognizer = OnnxRecognizer(self.folder, file or _file(self.folder, device), threads, device)
        self.labels: tuple[str, ...] = self._recognizer.labels.types
        self.thresholds: Mapping[str, float] = read_manifest(self.folder).thresholds

    def predict(
        self, texts: Iterable[str], *, min_score: float = 0.0, use_thresholds: bool = False
    ) -> list[list[Entity]]:
        """Entities of each text, left to right, with offsets in characters of that text.

        Args:
            texts: of any length; longer ones than the model's window are read in overlapping windows.
            min_score: leave out entities below this score, 0 to 1.
            use_thresholds: leave out entities below their type's own threshold, chosen on validation texts.

        Raises:
            DataError: a text is no string, or `texts` is one instead of several.
            ConfigError: `min_score` is no number from 0 to 1.
            ModelError: the predictor is closed.
        """
        return list(self.stream(texts, min_score=min_score, use_thresholds=use_thresholds))

    def stream(
        self, texts: Iterable[str], *, min_score: float = 0.0, use_thresholds: bool = False
    ) -> Iterator[list[Entity]]:
        """As `predict`, one answer after another: texts are read as they are needed, a bounded number ahead.

        Where a text is no string, or reading one fails, those before it are answered first.
        """
        self._recognizer.check_open()
        _check_texts(texts)
        _check_score(min_score)
        thresholds = self.thresholds if use_thresholds else {}
        documents = (Document(str(number), readable(text), ()) for number, text in enumerate(texts))
        return (kept(found, min_score, thresholds) for _, found in label(self._recognizer, documents, BATCH_PIECES))

    def close(self) -> None:
        """Free the model; once it is closed, nothing more."""
        self._recognizer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def readable(text: object) -> str:
    """The text with a replacement character for each lone surrogate, which no tokenizer reads; offsets stay.

    Raises:
        DataError: it is no text.
    """
    if not isinstance(text, str):
        raise DataError(f"found {type(text).__name__} where a text is wanted", remedy="give strings")
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _check_texts(texts: object) -> None:
    """A string is an iterable of strings, too: its letters."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        found = f"found {type(texts).__name__} where several texts are wanted"
        raise DataError(found, place="texts", remedy="give a list of strings; of one text: [text]")


def _check_score(value: object) -> None:
    if not is_score(value):
        found = f"found {value!r} where a score is wanted"
        raise ConfigError(found, place="min_score", remedy="give a number from 0 to 1")


def model_folder(folder: Path) -> Path:
    """The folder itself or the one below it that holds a model.

    Raises:
        ModelError: there is none, and what the folder seems to be.
    """
    try:
        return _found(folder)
    except OSError as error:  # no name of a file, no permission
        raise ModelError(f"cannot be read: {error.strerror}", place=str(folder), remedy="check the path") from None


def _found(folder: Path) -> Path:
    if not folder.is_dir():
        found = "is a file, not a folder" if folder.exists() else "no such folder"
        remedy = "give the folder that `nertrail convert` printed, or the run dir of `nertrail run`"
        raise ModelError(found, place=str(folder), remedy=remedy)
    for below in _BELOW:
        if (folder / below / MANIFEST).is_file():
            _need(folder / below, CONFIG, TOKENIZER)
            return folder / below
    remedy = "give the folder of a model that nertrail converted"
    raise ModelError(f"holds no {MANIFEST}: not a model of nertrail", place=str(folder), remedy=remedy)


def _need(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            remedy = "copy the whole folder of the converted model"
            raise ModelError("no such file", place=str(folder / name), remedy=remedy)


def _file(folder: Path, device: str) -> str:
    """The ONNX file that suits the device; which device there is, only onnxruntime knows."""
    chosen = [CPU]
    if device != "cpu":
        import onnxruntime

        chosen = providers(device, onnxruntime.get_available_providers())
    found = suited({path.name for path in folder.glob("*.onnx")}, chosen)
    if found is None:
        remedy = "convert it first: nertrail convert DIR" if any(folder.glob("*.safetensors")) else "convert it again"
        raise ModelError("holds no ONNX model", place=str(folder), remedy=remedy)
    return found
