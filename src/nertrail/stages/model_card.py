"""README.md beside a converted model: what it is, what it scored, how it is used, what it was not tested on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nertrail

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint

_TEMPLATE = """# {backbone}, {target}

A named-entity recogniser: a fine-tuned {backbone}, converted to ONNX by nertrail {version}.
It runs on onnxruntime; torch is not needed.

```python
from nertrail import Predictor

Predictor.load("<this folder>").predict(["a text"])   # start, end, label, score per entity
```

| | |
|---|---|
{rows}

## Entity types

{types}

## How texts are read

Windows of {length} pieces that share {stride}; words are {words}; labels are decoded by {decoding}.
An entity's score is the mean probability of its words' labels. It is not calibrated.

{thresholds}

## Limits

The scores hold for texts like those it was judged on. int8 models may answer differently when texts are batched
otherwise; the scores were taken in the batches that `Predictor` makes. Only CPUs were tested.
"""


def write_card(
    folder: Path, checkpoint: Checkpoint, target: str, numbers: Mapping[str, Any], version: str | None
) -> Path:
    """Write the card. It names no path and shows no text of the data."""
    windows = checkpoint.windows
    text = _TEMPLATE.format(
        backbone=checkpoint.backbone_name,
        target=target,
        version=nertrail.__version__,
        rows="\n".join(f"| {name} | {value} |" for name, value in _rows(numbers, version)),
        types=", ".join(f"`{name}`" for name in checkpoint.labels.types),
        length=windows.max_length,
        stride=windows.stride,
        words="the backbone's own" if windows.words == "pretokenizer" else "what blanks separate",
        decoding=checkpoint.decoding,
        thresholds=_thresholds(numbers.get("thresholds") or {}),
    )
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path


def _rows(numbers: Mapping[str, Any], version: str | None) -> list[tuple[str, str]]:
    left = len(numbers.get("fp32_matmuls") or ())
    rows = [("size", f"{numbers['onnx_bytes'] / 1e6:.1f} MB, opset {numbers['opset']}")]
    rows += [("left in fp32 to keep F1", f"{left} matrix products")] if left else []
    rows.append(("micro F1 on validation", _validation(numbers)))
    if "test_f1" in numbers:
        interval = f"{numbers['test_f1_low']:.4f} to {numbers['test_f1_high']:.4f}"
        rows.append(("micro F1 on test", f"{numbers['test_f1']:.4f} (95 % {interval}, over texts)"))
    return [*rows, ("data version", version or "not known")]


def _validation(numbers: Mapping[str, Any]) -> str:
    if "f1" not in numbers:
        return "not compared: there were no validation texts with entities"
    drop = f"{numbers['f1_drop']:+.4f}, 95 % {numbers['f1_drop_low']:+.4f} to {numbers['f1_drop_high']:+.4f}"
    return f"{numbers['f1']:.4f} (lost against PyTorch: {drop}, paired over texts)"


def _thresholds(thresholds: Mapping[str, float]) -> str:
    if not thresholds:
        return "No type gained from a score threshold on the validation texts."
    shown = ", ".join(f"{name} {value:.3f}" for name, value in thresholds.items())
    return f"Thresholds that raised F1 on the validation texts, applied only when asked for: {shown}."
