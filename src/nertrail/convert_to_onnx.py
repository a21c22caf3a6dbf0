"""`python -m nertrail.convert_to_onnx CHECKPOINT --target onnx_int8`: one conversion, from a script or a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nertrail.errors import InputError, NertrailError

if TYPE_CHECKING:
    from nertrail.tracking.mlflow_tracker import MLflowConversionTracker


def main(
    argv: Sequence[str] | None = None,
    *,
    tracker: MLflowConversionTracker | None = None,
    source_training_run: str | None = None,
) -> int:
    """Convert a checkpoint and print where the model lies.

    Args:
        tracker: records the conversion; None records nothing.
        source_training_run: uid of the run that trained the checkpoint.

    Returns:
        0 done, 1 the target could not be made or failed its check, 2 bad input.
    """
    options = _parser().parse_args(argv)
    try:
        print(_convert(options, tracker, source_training_run))
    except NertrailError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


def _convert(options: argparse.Namespace, tracker: MLflowConversionTracker | None, source: str | None) -> Path | None:
    from nertrail.rundir import check_writable
    from nertrail.stages.conversion import ConversionConfig, convert_model
    from nertrail.standalone import check_target

    out = options.out or options.checkpoint.parent / "onnx"
    check_writable(out, "--out")
    config = ConversionConfig(opset=options.opset)
    result = convert_model(
        config, options.checkpoint, check_target(options.target), out, source_training_run=source, tracker=tracker
    )
    return result.model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nertrail.convert_to_onnx", description="Convert a checkpoint to ONNX."
    )
    parser.add_argument("checkpoint", type=Path, help="the folder of a checkpoint")
    parser.add_argument("--target", default="onnx_int8", help="onnx_fp32, onnx_fp16 or onnx_int8 (default)")
    parser.add_argument("--out", type=Path, help="where the model goes (default: onnx/ beside the checkpoint)")
    parser.add_argument("--opset", type=int, default=17, help="opset of the ONNX file (default 17)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
