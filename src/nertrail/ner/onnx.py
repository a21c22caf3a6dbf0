"""Making ONNX models of a checkpoint: fp32 by torch's exporters, int8 by onnxruntime's dynamic quantization.

Whatever is written is loaded and run before it takes its place: a quantizer may report success on a file that no
session loads, an exporter may freeze the shape of its example.
"""

from __future__ import annotations

import logging
import platform
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from nertrail.errors import ConversionError
from nertrail.ner import hardware
from nertrail.ner.model import Checkpoint, model_of
from nertrail.ner.onnx_files import describe, draft_of, fixed_axes, opset_of, weight_bytes
from nertrail.ner.parity import SHAPES, InputSpec, Parity, Shape, compare, onnx_run, torch_run

__all__ = [
    "SHAPES", "TARGETS", "Log", "OnnxTarget", "Parity", "Quantization", "export_fp32", "narrowing_matmuls",
    "opset_of", "parity", "quantize_int8", "smoke_test", "weight_bytes",
]  # fmt: skip

Log = Callable[[str], None]
_LOGGER = logging.getLogger(__name__)

# Measured for six-layer models: 1e-5. What misses this is another computation, not another rounding.
_MAX_EXPORT_DIFF = 1e-3
EXPORTERS = {"auto": ("torchscript", "dynamo"), "torchscript": ("torchscript",), "dynamo": ("dynamo",)}
_SMOKE_SHAPES: tuple[Shape, ...] = ((1, 3), (3, 17), (1, 512))
_DYNAMO_MIN_OPSET = 18
# What exporters were seen to raise on a model they don't support, and a broken or frozen file of theirs.
_EXPORTER_ERRORS = (ConversionError, RuntimeError, TypeError, ValueError, LookupError, AttributeError, ImportError)


@dataclass(frozen=True)
class OnnxTarget:
    """A kind of ONNX model: the contract's name, the file's name and how its weights are held."""

    name: str
    file: str
    quantization: str


TARGETS = {
    "onnx_fp32": OnnxTarget("onnx_fp32", "model_fp32.onnx", "none"),
    "onnx_fp16": OnnxTarget("onnx_fp16", "model_fp16.onnx", "fp16"),
    "onnx_int8": OnnxTarget("onnx_int8", "model_int8.onnx", "int8"),
}


@dataclass(frozen=True)
class Quantization:
    """How weights become int8.

    Attributes:
        per_channel: a scale per output instead of one per tensor; halves the error of the logits (measured).
        embeddings: embeddings too; without them a small model hardly shrinks.
    """

    per_channel: bool = True
    embeddings: bool = True


def export_fp32(
    checkpoint: Checkpoint, folder: Path, opset: int = 17, log: Log = _LOGGER.info, exporter: str = "auto"
) -> Path:
    """Write `model_fp32.onnx` of a checkpoint, with the files that serve it, into `folder`.

    Attention is traced in its eager form, which later fusion and quantization recognise.

    Args:
        exporter: "torchscript" (smaller graphs, 10 to 18 % faster in int8), "dynamo" (opset 18 or later), or "auto":
            the first, and where it fails the second.

    Returns:
        The file's path. Axes of batch and length are dynamic, the output is `logits` [batch, pieces, labels].

    Raises:
        ConversionError: neither exporter makes a file that loads, runs and agrees with the checkpoint.
    """
    target = TARGETS["onnx_fp32"]
    _log_versions(log)
    model, spec = model_of(checkpoint, attention="eager"), InputSpec.read(checkpoint.path)
    with draft_of(folder, target.file, checkpoint.path) as draft:
        _export(model, spec, draft / target.file, opset, log, EXPORTERS[exporter])
    return folder / target.file


def quantize_int8(
    fp32: Path,
    folder: Path,
    log: Log = _LOGGER.info,
    exclude: Collection[str] = (),
    settings: Quantization | None = None,
) -> Path:
    """Write `model_int8.onnx`: weights in int8 as `settings` say, activations quantized as they come.

    Args:
        fp32: a file of `export_fp32`; the files beside it are copied along.
        folder: where to write; may be the folder of `fp32`.
        exclude: names of nodes to leave in fp32, such as some of `narrowing_matmuls`.

    Raises:
        ConversionError: `exclude` names a node that does not exist, or the file does not load, run and give numbers.
    """
    target = TARGETS["onnx_int8"]
    with draft_of(folder, target.file, fp32.parent) as draft, _timed(log, "quantize_dynamic"):
        _quantize(fp32, draft / target.file, exclude, log, settings or Quantization())
        smoke_test(draft / target.file, InputSpec.read(fp32.parent), log)
    return folder / target.file


def parity(
    checkpoint: Checkpoint, onnx_file: Path, shapes: Sequence[Shape] = SHAPES, log: Log = _LOGGER.info
) -> Parity:
    """Compare an ONNX file with its checkpoint in fp32 over padded shapes, capped to the model's positions."""
    reference = torch_run(model_of(checkpoint, attention="eager"))
    with _timed(log, f"parity of {onnx_file.name}"):
        found = compare(reference, onnx_run(onnx_file), InputSpec.read(checkpoint.path), shapes)
    log(f"parity of {onnx_file.name}: {found}")
    return found


def smoke_test(onnx_file: Path, spec: InputSpec | None = None, log: Log = _LOGGER.info) -> None:
    """Load the file and run it on a tiny, an odd padded and the longest batch.

    Args:
        spec: what the model takes; None: from the config.json beside it.

    Raises:
        ConversionError: it does not load or run, or yields something other than finite numbers.
    """
    run, spec = onnx_run(onnx_file), spec or InputSpec.read(onnx_file.parent)
    for shape in spec.capped(_SMOKE_SHAPES):
        logits = run(spec.batch(shape))
        if logits.shape[:2] != shape or not np.isfinite(logits).all():
            raise ConversionError(f"{onnx_file.name}: a batch of {shape} gave {logits.shape} logits, not all finite")
    log(f"smoke test of {onnx_file.name}: loaded and run on {len(spec.capped(_SMOKE_SHAPES))} padded shapes")


def narrowing_matmuls(fp32: Path) -> tuple[str, ...]:
    """Names of the products that bring each layer's widened vector back to the hidden size, first layer first.

    They cost int8 most of its lost F1 (their inputs have the outliers): first candidates for `exclude`. Known by the
    shape of their weight, [more, hidden], so that it holds for every architecture.
    """
    model = onnx.load(str(fp32), load_external_data=False)
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    products = [(node.name, sizes.get(node.input[1], ())) for node in model.graph.node if node.op_type == "MatMul"]
    products = [(name, size) for name, size in products if len(size) == 2]
    hidden = max((size[1] for _, size in products if size[0] == size[1]), default=0)
    return tuple(name for name, size in products if size[1] == hidden < size[0])


def _export(model: Any, spec: InputSpec, file: Path, opset: int, log: Log, exporters: Sequence[str]) -> None:
    """Try the exporters in turn; what each did or why it failed is in the log."""
    failures = []
    for exporter in exporters:
        chosen = max(opset, _DYNAMO_MIN_OPSET) if exporter == "dynamo" else opset
        try:
            _attempt(model, spec, file, exporter, chosen, log)
        except _EXPORTER_ERRORS as error:
            failures.append(f"{exporter} exporter, opset {chosen}: {type(error).__name__}: {error}")
            log(f"FAILED {failures[-1]}")
            for stale in file.parent.iterdir():
                stale.unlink()
        else:
            return
    raise ConversionError("no exporter made a working file\n" + "\n".join(failures))


def _attempt(model: Any, spec: InputSpec, file: Path, exporter: str, opset: int, log: Log) -> None:
    what = f"{exporter} exporter, attention eager, opset {opset} asked for"
    with _timed(log, what), _collected_warnings(log):
        _call_exporter(model, spec, file, exporter, opset)
    log(describe(file))
    onnx.checker.check_model(str(file))
    if frozen := fixed_axes(file):
        raise ConversionError(f"batch or length of {', '.join(frozen)} is frozen to the example's")
    found = compare(torch_run(model), onnx_run(file), spec, _SMOKE_SHAPES)
    log(f"{file.name} against the checkpoint: {found}")
    if not found.max_abs_diff <= _MAX_EXPORT_DIFF:  # nan fails too
        raise ConversionError(f"logits differ from the checkpoint's by {found.max_abs_diff:.2e} (> {_MAX_EXPORT_DIFF})")


def _call_exporter(model: Any, spec: InputSpec, file: Path, exporter: str, opset: int) -> None:
    import torch

    # Two rows, one of them padded: of a batch of one an exporter may drop the axis, of no padding the mask.
    arrays = spec.batch((2, min(16, spec.positions)))
    axes = {0: "batch", 1: "pieces"}
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": dict.fromkeys((*arrays, "logits"), axes)}
    if exporter == "dynamo":
        shapes = tuple(dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC) for _ in arrays)
        options = {"dynamo": True, "dynamic_shapes": shapes, "external_data": False, "verbose": False}
    torch.onnx.export(
        _logits_only(model),
        tuple(torch.from_numpy(array) for array in arrays.values()),
        str(file),
        input_names=list(arrays),
        output_names=["logits"],
        opset_version=opset,
        **options,
    )


def _logits_only(model: Any) -> Any:
    """The model as a function of tensors in a fixed order: exporters know neither keywords nor output classes."""
    import torch

    class LogitsOnly(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits

    return LogitsOnly().eval()


def _quantize(fp32: Path, int8: Path, exclude: Collection[str], log: Log, settings: Quantization) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    # As a value, not a path: of a path it writes its inferred shapes into a file beside the source.
    model = onnx.load(str(fp32))
    if unknown := sorted(set(exclude) - {node.name for node in model.graph.node}):
        raise ConversionError(f"no node of {fp32.name} is named {', '.join(unknown)}")
    with _no_advice():
        quantize_dynamic(
            model,
            str(int8),
            op_types_to_quantize=[kind for kind in IntegerOpsRegistry if settings.embeddings or kind != "Gather"],
            weight_type=QuantType.QInt8,
            per_channel=settings.per_channel,
            nodes_to_exclude=sorted(exclude),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    scales = "per channel" if settings.per_channel else "per tensor"
    kept = [*([] if settings.embeddings else ["embeddings"]), *sorted(exclude)]
    log(f"int8 weights {scales}, activations dynamic; left in fp32: {', '.join(kept) or 'none by name'}")
    log(describe(int8))
    log(f"{weight_bytes(fp32) / weight_bytes(int8):.2f} times smaller than {fp32.name}")


@contextmanager
def _no_advice() -> Iterator[None]:
    """Hold back the quantizer's advice to pre-process (not needed here), which it gives on the root logger."""
    root, block = logging.getLogger(), logging.Filter("no record has this name")
    handler = logging.NullHandler()  # without any handler the root logger would be configured for good
    root.addFilter(block)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeFilter(block)
        root.removeHandler(handler)


@contextmanager
def _collected_warnings(log: Log) -> Iterator[None]:
    """Move the exporter's warnings, its deprecation among them, into the log, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(warning.message).strip().split("\n")[0] for warning in caught):
        log(f"exporter warned: {text}")


@contextmanager
def _timed(log: Log, what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    log(f"{what}: {time.perf_counter() - wall:.2f} s wall, {time.process_time() - cpu:.2f} s CPU")


def _log_versions(log: Log) -> None:
    packages = ("torch", "transformers", "onnx", "onnxruntime")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    log(f"versions: python {platform.python_version()}, {versions}")
    machine = hardware.hardware()
    log(f"machine: {machine['cpu']}, {machine['cores']} core(s), {machine['isa']}")
