"""Whether an ONNX file computes what the checkpoint computes, over padded batches of many shapes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nertrail.errors import ConversionError
from nertrail.ner.devices import CPU
from nertrail.ner.session import open_session

Shape = tuple[int, int]
Arrays = dict[str, npt.NDArray[np.int64]]
Logits = npt.NDArray[np.float32]
Run = Callable[[Arrays], Logits]

# Batch x pieces: nearly nothing, odd sizes, the batches of real use, and the most that BERT has positions for.
SHAPES: tuple[Shape, ...] = ((1, 3), (1, 8), (2, 16), (3, 17), (8, 64), (16, 128), (1, 512))


@dataclass(frozen=True)
class Parity:
    """Logits of an ONNX file against the checkpoint's in fp32, on random pieces, padding left out.

    Judge fp32 by `max_abs_diff`. int8 logits differ by more than 1 on random pieces while its entities stay: judge it
    by entity F1 on real text.

    Args:
        max_abs_diff: largest difference of two logits; nan where the file yields one.
        mean_abs_diff: mean over all logits.
        argmax_agreement: share of positions, 0 to 1, with the same best label.
        by_shape: `max_abs_diff` per "batch x pieces".
    """

    max_abs_diff: float
    mean_abs_diff: float
    argmax_agreement: float
    by_shape: Mapping[str, float]

    def passed(self) -> bool:
        """Whether all logits were numbers: the file computes. How close they are is for the reader to judge."""
        return math.isfinite(self.max_abs_diff)

    def __str__(self) -> str:
        shapes = ", ".join(f"{shape} {diff:.1e}" for shape, diff in self.by_shape.items())
        agreement = f"argmax agreement {self.argmax_agreement:.4f}"
        return f"max diff {self.max_abs_diff:.2e}, mean {self.mean_abs_diff:.2e}, {agreement}; max by shape: {shapes}"


@dataclass(frozen=True)
class InputSpec:
    """What a model takes, from its config.json: enough to make valid random batches.

    `positions` is the longest input in pieces; models that number positions from their padding id on have fewer than
    config.json says.
    """

    vocabulary: int
    positions: int
    pad_id: int
    token_types: bool

    @classmethod
    def read(cls, folder: Path) -> InputSpec:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        pad_id = config.get("pad_token_id") or 0
        offset = (
            pad_id + 1 if "roberta" in config.get("model_type", "") or config.get("model_type") == "camembert" else 0
        )
        positions = config.get("max_position_embeddings", 512) - offset
        return cls(config["vocab_size"], positions, pad_id, config.get("type_vocab_size", 0) > 1)

    def capped(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes with no more pieces than the model has positions, each once."""
        return tuple(dict.fromkeys((batch, min(length, self.positions)) for batch, length in shapes))

    def batch(self, shape: Shape, seed: int = 0) -> Arrays:
        """Random pieces [batch, length]; every row but the first is padded, each to a length of its own."""
        rng = np.random.default_rng([seed, *shape])
        lengths = np.concatenate(([shape[1]], rng.integers(1, max(2, shape[1]), shape[0] - 1)))
        mask = (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)
        # From the padding id's successor on: the padding id itself inside a text shifts the positions of some models.
        ids = rng.integers(min(self.pad_id + 1, self.vocabulary - 1), self.vocabulary, shape)
        arrays = {"input_ids": np.where(mask, ids, self.pad_id).astype(np.int64), "attention_mask": mask}
        return arrays | {"token_type_ids": np.zeros(shape, np.int64)} if self.token_types else arrays


def compare(reference: Run, candidate: Run, spec: InputSpec, shapes: Sequence[Shape] = SHAPES) -> Parity:
    """Run both on the same padded batches, one per shape."""
    diffs, same, by_shape = list[npt.NDArray[np.float32]](), list[npt.NDArray[np.bool_]](), dict[str, float]()
    for shape in spec.capped(shapes):
        arrays = spec.batch(shape)
        real = arrays["attention_mask"].astype(bool)
        expected, found = reference(arrays), candidate(arrays)
        if expected.shape != found.shape:
            raise ConversionError(f"logits of {shape[0]}x{shape[1]} have shape {found.shape}, not {expected.shape}")
        diffs.append(np.abs(expected - found)[real].ravel())
        same.append(expected.argmax(-1)[real] == found.argmax(-1)[real])
        by_shape[f"{shape[0]}x{shape[1]}"] = float(diffs[-1].max())
    all_diffs = np.concatenate(diffs)
    agreement = float(np.concatenate(same).mean())
    return Parity(float(all_diffs.max()), float(all_diffs.mean()), agreement, by_shape)


def torch_run(model: Any) -> Run:
    """The logits of a PyTorch model in eval mode."""
    import torch

    def run(arrays: Arrays) -> Logits:
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).logits
        return np.asarray(logits.float().numpy(), dtype=np.float32)

    return run


def onnx_run(path: Path, threads: int | None = None) -> Run:
    """The logits of an ONNX file. Raises ConversionError where onnxruntime can't load or run it."""
    try:
        session = open_session(path, [CPU], threads)
    except Exception as error:  # onnxruntime's errors share no base class
        raise ConversionError(f"{path.name} does not load: {error}") from error
    names = {value.name for value in session.get_inputs()}

    def run(arrays: Arrays) -> Logits:
        try:
            (logits,) = session.run(["logits"], {name: array for name, array in arrays.items() if name in names})
        except Exception as error:
            shape = "x".join(map(str, arrays["input_ids"].shape))
            raise ConversionError(f"{path.name} does not run on a batch of {shape}: {error}") from error
        return np.asarray(logits, dtype=np.float32)

    return run
