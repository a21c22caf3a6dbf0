"""Entities of raw text, from a torch checkpoint or an ONNX file, by one code path. Using ONNX loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from nertrail.errors import ModelError
from nertrail.ner.checkpoint import TOKENIZER, Checkpoint, read_config, read_digests, read_manifest
from nertrail.ner.devices import providers, thread_count
from nertrail.ner.documents import Document, Span
from nertrail.ner.labels import Floats, LabelSet
from nertrail.ner.session import fingerprint, open_session
from nertrail.ner.windows import Encoded, Window, WindowSettings, encode, pad_batch, predictions

# With more pieces the activations leave a core's cache: int8 MiniLM-L6 took 0.86 of the CPU time with 512 or with 256
# instead of 1024, 0.91 with 128, 1.20 with 2048 (256 WNUT-17 sentences, one thread of a busy core, four rounds).
BATCH_PIECES = 512

Forward = Callable[[Sequence[Window]], list[Floats]]


class Recognizer(Protocol):
    """Something that has read a model and can label windows."""

    labels: LabelSet
    windows: WindowSettings
    decoding: str
    tokenizer: Tokenizer

    def logits(self, windows: Sequence[Window]) -> list[Floats]:
        """Logits of one padded batch: [len(window.first), labels] per window."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class _FromCheckpoint:
    """What a recogniser knows from its folder."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.labels, self.windows, self.decoding = checkpoint.labels, checkpoint.windows, checkpoint.decoding
        self.tokenizer = checkpoint.tokenizer()
        self.pad_id = checkpoint.pad_id


class TorchRecognizer(_FromCheckpoint):
    """A checkpoint run by torch.

    Args:
        precision: "fp32" or "bf16" (autocast).
        threads: torch's threads, a setting of the whole process; None leaves it.
    """

    def __init__(self, checkpoint: Checkpoint, precision: str = "fp32", threads: int | None = None) -> None:
        import torch

        from nertrail.ner.model import model_of, window_logits

        super().__init__(checkpoint)
        if threads is not None:
            torch.set_num_threads(thread_count(threads))
        self._autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
        self._model, self._forward = model_of(checkpoint), window_logits

    def logits(self, windows: Sequence[Window]) -> list[Floats]:
        with self._autocast:
            return self._forward(self._model, windows, self.pad_id)

    def close(self) -> None:
        self._model = None


class OnnxRecognizer(_FromCheckpoint):
    """An ONNX file run by onnxruntime, with the settings that lie beside it.

    Args:
        threads: of this model's session; None: OMP_NUM_THREADS or as many as there are usable cores.
        device: "cpu", "cuda" or "auto" (CUDA where this onnxruntime has it).

    Raises:
        ModelError: no such file, onnxruntime cannot load it, or what lies beside it (labels, tokenizer) is another's.
        ConfigError: no such device, or no such number of threads.
    """

    def __init__(
        self, folder: Path, file: str = "model_int8.onnx", threads: int | None = None, device: str = "cpu"
    ) -> None:
        super().__init__(read_manifest(folder))
        self._session = _session(folder / file, threads, device)
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._path = folder / file
        _check_outputs(self._session, len(self.labels), self._path)
        _check_vocabulary(self.tokenizer, read_config(folder), folder)
        _check_digests(folder, file)

    def logits(self, windows: Sequence[Window]) -> list[Floats]:
        self.check_open()
        ids, mask = pad_batch(windows, self.pad_id)
        batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        try:
            (logits,) = self._session.run(["logits"], {name: batch[name] for name in batch if name in self._inputs})
        except Exception as error:  # its errors have no base of their own
            remedy = "keep model, tokenizer and settings of one conversion together"
            found = f"onnxruntime cannot run it on {ids.shape[0]} window(s) of {ids.shape[1]} pieces: {error}"
            raise ModelError(found, place=str(self._path), remedy=remedy) from error
        return [rows[list(window.first)] for rows, window in zip(logits, windows, strict=True)]

    def check_open(self) -> None:
        """Raise ModelError where it is closed."""
        if self._session is None:
            raise ModelError("is closed", place=str(self._path), remedy="load the model again")

    def close(self) -> None:
        self._session = None


def run(recognizer: Recognizer, encoded: Encoded, batch_pieces: int = BATCH_PIECES) -> list[Floats]:
    """Logits of all windows in their order, computed in batches of windows of like length."""
    return in_batches(recognizer.logits, encoded, batch_pieces)


def in_batches(forward: Forward, encoded: Encoded, batch_pieces: int = BATCH_PIECES) -> list[Floats]:
    """As `run`, of any function from one batch of windows to their logits."""
    logits: dict[int, Floats] = {}
    for batch in batches([len(window.input_ids) for window in encoded.windows], batch_pieces):
        found = forward([encoded.windows[index] for index in batch])
        logits.update(zip(batch, found, strict=True))
    return [logits[index] for index in range(len(encoded.windows))]


def batches(lengths: Sequence[int], batch_pieces: int) -> Iterator[list[int]]:
    """Indices in batches, the longest first, each at most `batch_pieces` with its padding, and never empty."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_pieces:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def entities(recognizer: Recognizer, texts: Sequence[str], batch_pieces: int = BATCH_PIECES) -> list[list[Span]]:
    """Entities of each text, from left to right, with offsets in characters of that text."""
    documents = [Document(str(number), text, ()) for number, text in enumerate(texts)]
    encoded = encode(documents, recognizer.tokenizer, recognizer.labels, recognizer.windows)
    spans, _ = predictions(encoded, run(recognizer, encoded, batch_pieces), recognizer.decoding)
    return [sorted(found) for found in spans]


def _session(path: Path, threads: int | None, device: str) -> Any:
    import onnxruntime

    if not path.is_file():
        raise ModelError("no such file", place=str(path), remedy="convert the checkpoint to ONNX first")
    chosen, threads = providers(device, onnxruntime.get_available_providers()), thread_count(threads)
    try:
        return open_session(path, chosen, threads)
    except Exception as error:  # its errors have no base of their own
        raise ModelError(f"onnxruntime cannot load it: {error}", place=str(path), remedy="convert it again") from error


def _check_outputs(session: Any, labels: int, path: Path) -> None:
    """A model of other labels would run, and name every entity wrongly."""
    shapes = {node.name: node.shape for node in session.get_outputs()}
    if "logits" not in shapes:
        found = f"its outputs are {', '.join(shapes)}, none of them logits"
        raise ModelError(found, place=str(path), remedy="convert the checkpoint with nertrail")
    width = shapes["logits"][-1]
    if isinstance(width, int) and width != labels:
        found = f"it yields {width} labels, the settings beside it name {labels}"
        raise ModelError(found, place=str(path), remedy="keep model and nertrail.json of one conversion together")


def _check_vocabulary(tokenizer: Tokenizer, config: Mapping[str, Any], folder: Path) -> None:
    """Pieces that the model has no row for end in an error, and only once a text has one."""
    pieces, rows = tokenizer.get_vocab_size(), config.get("vocab_size")
    if isinstance(rows, int) and pieces > rows:
        found = f"knows {pieces} pieces, the model {rows}: it is another model's"
        raise ModelError(found, place=str(folder / TOKENIZER), remedy="copy the whole folder of the converted model")


def _check_digests(folder: Path, model: str) -> None:
    """What is of another training may fit in shape, and label nonsense: the model, weights beside it, the tokenizer."""
    for name, digest in read_digests(folder).items():
        if name.endswith(".onnx") and name != model:  # another form of the model, which is not used
            continue
        if (folder / name).is_file() and fingerprint(folder / name) != digest:
            found = "is not the file that nertrail.json beside it was written for: its digest is another"
            remedy = "copy the whole folder of one conversion, or convert the model again"
            raise ModelError(found, place=str(folder / name), remedy=remedy)
