"""Facts read back from an ONNX file, and putting finished ones in their place. Imports onnx, never torch."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from nertrail.ner.checkpoint import read_digests, write_digests
from nertrail.ner.session import fingerprint

# What serves a model besides its weights: `OnnxRecognizer` reads these, other runtimes config.json.
COMPANIONS = ("tokenizer.json", "nertrail.json", "config.json")
_EDITABLE = ("nertrail.json", "config.json")  # settings that somebody may change


def weight_bytes(path: Path) -> int:
    """Bytes of weights: of an ONNX file and the external data it names, or of a checkpoint folder's safetensors."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.glob("*.safetensors"))
    # Counting the .onnx alone, a model of 90 MB may look like 1.
    return sum(file.stat().st_size for file in (path, *external_data(path)))


def external_data(path: Path) -> tuple[Path, ...]:
    """Files beside an ONNX model that hold tensors of it, sorted."""
    tensors = onnx.load(str(path), load_external_data=False).graph.initializer
    entries = (entry for tensor in tensors for entry in tensor.external_data)
    return tuple(sorted({path.parent / entry.value for entry in entries if entry.key == "location"}))


def opset_of(path: Path) -> int:
    """The default operator set the file declares, which need not be the one that was asked for."""
    imports = onnx.load(str(path), load_external_data=False).opset_import
    return next(int(entry.version) for entry in imports if entry.domain in ("", "ai.onnx"))


def describe(path: Path) -> str:
    """Opset, ir version, size, node and operator counts in one line."""
    model = onnx.load(str(path), load_external_data=False)
    counts = Counter(str(node.op_type) for node in model.graph.node).most_common()
    size = f"{weight_bytes(path) / 1e6:.2f} MB in {1 + len(external_data(path))} file(s)"
    head = f"{path.name}: opset {opset_of(path)}, ir {model.ir_version}, {size}, {len(model.graph.node)} nodes"
    return f"{head}: {', '.join(f'{name} {count}' for name, count in counts)}"


def fixed_axes(path: Path) -> tuple[str, ...]:
    """Inputs and outputs whose batch or length axis is a number: such a model rejects every other shape."""
    graph = onnx.load(str(path), load_external_data=False).graph
    return tuple(str(value.name) for value in (*graph.input, *graph.output) if not _is_dynamic(value))


@contextmanager
def draft_of(folder: Path, model: str, companions: Path) -> Iterator[Path]:
    """A draft folder whose files move to `folder` when the body is through, the file `model` last.

    Where the body fails, `folder` is as it was before. What serves the model is copied from the folder `companions`.
    """
    draft = folder.with_name(f".{folder.name}.draft-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        for name in COMPANIONS:
            if (companions / name).is_file():
                shutil.copyfile(companions / name, draft / name)
        seal(draft, folder)
        _publish(sorted(draft.iterdir(), key=lambda file: file.name == model), folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def seal(draft: Path, folder: Path) -> None:
    """Write into the draft's nertrail.json the digests of its files, and of the models that stay in `folder`."""
    if not (draft / "nertrail.json").is_file():
        return
    known = {name: digest for name, digest in read_digests(folder).items() if (folder / name).is_file()}
    sealed = [file for file in sorted(draft.iterdir()) if file.name not in _EDITABLE]
    write_digests(draft, known | {file.name: fingerprint(file) for file in sealed})


def _publish(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        file.replace(folder / file.name)


def _is_dynamic(value: Any) -> bool:
    axes = value.type.tensor_type.shape.dim
    return len(axes) >= 2 and all(axis.dim_param for axis in axes[:2])
