"""ONNX models in fp16, for GPUs. On a CPU they are half as large and no faster than fp32 (measured)."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx

from nertrail.ner.onnx import TARGETS, Log, smoke_test
from nertrail.ner.onnx_files import describe, draft_of
from nertrail.ner.parity import InputSpec

_LOGGER = logging.getLogger(__name__)


def halve(fp32: Path, folder: Path, log: Log = _LOGGER.info) -> Path:
    """Write `model_fp16.onnx`: weights and arithmetic in fp16, logits still in fp32. It never ran on a GPU here.

    Args:
        fp32: a file of `export_fp32`; the files beside it are copied along.

    Raises:
        ConversionError: the file does not load, run and give numbers.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    target = TARGETS["onnx_fp16"]
    with draft_of(folder, target.file, fp32.parent) as draft:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of every weight that is too small for fp16
            model = convert_float_to_float16(onnx.load(str(fp32)), keep_io_types=True)
        onnx.save(model, str(draft / target.file))
        log(describe(draft / target.file))
        smoke_test(draft / target.file, InputSpec.read(fp32.parent), log)
    return folder / target.file
