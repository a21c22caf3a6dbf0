"""One try at one ONNX target: made, gated against PyTorch, and completed with what serves it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nertrail.errors import ConversionError
from nertrail.records import write_json
from nertrail.stages.conversion_log import ConversionLog
from nertrail.stages.model_card import write_card
from nertrail.stages.place import Place

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.documents import Document
    from nertrail.ner.judging import Judged
    from nertrail.ner.predictor import Recognizer
    from nertrail.ner.windows import Encoded
    from nertrail.stages.conversion import ConversionConfig, Target
    from nertrail.stages.inputs import Inputs

_LOGGER = logging.getLogger(__name__)
FILES: Mapping[Target, str] = {
    "onnx_fp32": "model_fp32.onnx",
    "onnx_fp16": "model_fp16.onnx",
    "onnx_int8": "model_int8.onnx",
}
_FEW_ENTITIES = 100  # of fewer, one that is lost is more than the 1 % that the gate allows
_WORDS = ("Anna", "met", "Boris", "in", "Oslo", ".")
_SAMPLE_TEXTS = 200  # enough to rank products by the error they cause


@dataclass(frozen=True)
class Texts:
    """Annotated texts that a converted model is judged by; `version` is that of the data they are of."""

    validation: Encoded | None = None
    test: Encoded | None = None
    version: str | None = None

    @classmethod
    def of(cls, inputs: Inputs, checkpoint: Path) -> Texts:
        """Validation and test texts as the checkpoint's own tokenizer and labels see them, in its windows."""
        from nertrail.stages.scored import encoded_for

        splits = (inputs.dataset.validation, inputs.dataset.test)
        validation, test = (encoded_for(checkpoint, split) if split else None for split in splits)
        return cls(validation, test, inputs.version)


class Attempt:
    """What was made and measured until it ended, well or not. `numbers` are fields of a ConversionResult."""

    def __init__(
        self, config: ConversionConfig, checkpoint: Checkpoint, target: Target, folder: Path, texts: Texts
    ) -> None:
        self.config, self.checkpoint, self.target, self.texts = config, checkpoint, target, texts
        self.place = Place(folder, target, FILES[target])
        self.log = ConversionLog(folder / f"{target}.log.txt")
        self.numbers: dict[str, Any] = {}
        self._began = time.perf_counter()
        self._reference: Judged | None = None
        self._found: Judged | None = None

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def _folder(self) -> Path:
        return self.place.draft

    @property
    def _model(self) -> Path:
        return self._folder / FILES[self.target]

    def run(self) -> Exception | None:
        """Make the model, run it, compare it, and only then put it in its place. Returns what it failed with."""
        try:
            self.place.begin()
            self._make()
            self._serve()
            self._complete()
            self.place.publish()
        except Exception as failure:  # noqa: BLE001 - told in the run's numbers first, then raised by convert_model
            self.log.traceback()
            self.log(f"FAILED: {failure}")
            return failure
        finally:
            self.place.discard()
        self.log("passed")
        return None

    def _make(self) -> None:
        from nertrail.ner.onnx import export_fp32

        config, log = self.config, self.log
        if self.target == "onnx_fp32":
            export_fp32(self.checkpoint, self._folder, config.opset, log, config.exporter)
            self._measure()
            self._need_close_logits()
            self._need_f1(self._shortfall())
            return
        fp32 = export_fp32(self.checkpoint, self.place.scratch, config.opset, log, config.exporter)
        self._halve(fp32) if self.target == "onnx_fp16" else self._quantize(fp32)

    def _serve(self) -> None:
        """Load and run it as whoever predicts will, on a text of more than one window: what lies beside it counts."""
        from nertrail.ner.documents import Document
        from nertrail.ner.judging import judge

        words = " ".join([*_WORDS] * (self.checkpoint.windows.max_length // len(_WORDS) + 1))
        judge(self._recognizer(), [Document("serves", words, ())])
        self.log("serves: a text of more than one window was answered from the folder alone")

    def _halve(self, fp32: Path) -> None:
        from nertrail.ner.half import halve

        halve(fp32, self._folder, self.log)
        self._measure()
        self._need_f1(self._shortfall())

    def _quantize(self, fp32: Path) -> None:
        """int8 with nothing, then with more and more products left in fp32, until F1 is kept."""
        from nertrail.ner.onnx import quantize_int8

        shortfall = None
        for exclude in self._exclusions(fp32):
            quantize_int8(fp32, self._folder, self.log, exclude, self.config.quantization())
            self.numbers["fp32_matmuls"] = tuple(exclude)
            if (shortfall := self._shortfall()) is None:
                break
            self.log(f"gate: {shortfall}")
        self._measure()
        self._need_f1(shortfall)

    def _exclusions(self, fp32: Path) -> Iterator[Sequence[str]]:
        """Which products to leave in fp32, fewest first; they are ranked only if the first try was not enough."""
        from nertrail.ner.onnx import narrowing_matmuls
        from nertrail.ner.sensitivity import rank_by_error

        yield ()
        candidates = narrowing_matmuls(fp32)
        kept = self._reference is None or self._reference.f1 > 0  # of nothing, no product in fp32 saves more
        most = min(self.config.fp32_matmuls, len(candidates)) if kept else 0
        if most:
            self.log(f"ranking {len(candidates)} products by the logit error that their rounding adds")
            ranked = rank_by_error(fp32, candidates, self._sample(), self.log, self.config.quantization())
            for count in _doubled(most):
                yield ranked[:count]

    def _sample(self) -> Encoded:
        from nertrail.ner.windows import encode

        return encode(
            self._validation()[:_SAMPLE_TEXTS],
            self.checkpoint.tokenizer(),
            self.checkpoint.labels,
            self.checkpoint.windows,
        )

    def _measure(self) -> None:
        from nertrail.ner.onnx import opset_of, parity, weight_bytes

        found = parity(self.checkpoint, self._model, log=self.log)
        self.numbers.update(
            opset=opset_of(self._model),
            onnx_bytes=weight_bytes(self._model),
            max_abs_diff=found.max_abs_diff,
            argmax_agreement=found.argmax_agreement,
            smoke_test_passed=math.isfinite(found.max_abs_diff),
        )

    def _need_close_logits(self) -> None:
        diff, allowed = self.numbers["max_abs_diff"], self.config.max_abs_diff
        if not math.isfinite(diff):
            raise ConversionError("the smoke test gave logits that are not finite")
        if diff > allowed:
            raise ConversionError(f"logits differ from PyTorch by {diff:.3g}, more than max_abs_diff {allowed}")

    def _need_f1(self, shortfall: str | None) -> None:
        if shortfall is not None:
            left = len(self.numbers.get("fp32_matmuls", ()))
            tried = f", even with {left} products left in fp32" if left else ""
            raise ConversionError(f"{shortfall}{tried}")

    def _shortfall(self) -> str | None:
        """Why the model does not keep enough entity F1 on validation; None if it does, or if there is none to keep."""
        from nertrail.ner.judging import compare, judge

        reference = self._judged_reference()
        if reference is None:
            return None
        documents = self._validation()
        self._found = judge(self._recognizer(), documents)
        found = compare(reference, self._found)
        self.log(f"on {len(documents)} validation texts: {found}")
        self.numbers.update(
            f1=found.after,
            f1_drop=found.before - found.after,
            f1_drop_low=found.drop.low,
            f1_drop_high=found.drop.high,
            changed_texts=found.changed,
        )
        if not self.config.min_f1_share:
            self.numbers["gate"] = "switched off"
            return None
        if not found.before:
            return (
                "PyTorch itself finds none of the validation entities (micro-f1-span 0), so there is nothing that a "
                "converted model could be proven to keep: train the model further"
            )
        if found.after >= self.config.min_f1_share * found.before:
            self.numbers["gate"] = "passed"
            return None
        wanted = f"{self.config.min_f1_share * 100:g} % of PyTorch's {found.before:.4f}"
        return f"micro-f1-span {found.after:.4f} is below {wanted}"

    def _judged_reference(self) -> Judged | None:
        """What PyTorch finds in the validation texts, judged once; None where they hold nothing to be found."""
        from nertrail.ner.judging import judge
        from nertrail.ner.predictor import TorchRecognizer

        documents = self._validation()
        if not any(document.spans for document in documents):
            kind = "validation texts without any entity" if documents else "no validation texts at hand"
            self.log(f"{kind}: entity F1 was not compared")
            return None
        if self._reference is None:
            self._reference = judge(TorchRecognizer(self.checkpoint), documents)
            entities = sum(map(len, self._reference.gold))
            self.log(f"the gate rests on {entities} entities of the validation texts")
            if entities < _FEW_ENTITIES:
                _LOGGER.warning("%s: the gate rests on %d entities only", self.target, entities)
        return self._reference

    def _validation(self) -> list[Document]:
        return [tagged.document for tagged in self.texts.validation.documents] if self.texts.validation else []

    def _recognizer(self) -> Recognizer:
        from nertrail.ner.predictor import OnnxRecognizer

        return OnnxRecognizer(self._folder, FILES[self.target])

    def _complete(self) -> None:
        """Put thresholds, scores on the test split and the model card beside the model."""
        self._choose_thresholds()
        if self.texts.test is not None:
            self._score_test(self.texts.test)
        write_card(self._folder, self.checkpoint, self.target, self.numbers, self.texts.version)

    def _choose_thresholds(self) -> None:
        from nertrail.ner.checkpoint import write_settings
        from nertrail.ner.thresholds import choose_thresholds

        if self._found is None:
            return
        thresholds = choose_thresholds(self._found, self.checkpoint.labels.types)
        write_settings(replace(self.checkpoint, path=self._folder, thresholds=thresholds))
        self.numbers["thresholds"] = thresholds
        self.log(f"thresholds that raise F1 on validation: {thresholds or 'none'}")

    def _score_test(self, test: Encoded) -> None:
        """Counts per text, so that two models can be compared on the same texts later. They hold no text."""
        from nertrail.ner.judging import judge

        found = judge(self._recognizer(), [tagged.document for tagged in test.documents])
        interval = found.interval
        self.numbers.update(test_f1=found.f1, test_f1_low=interval.low, test_f1_high=interval.high)
        self.log(f"micro-f1-span on test: {found.f1:.4f}, 95 % {interval.low:.4f} to {interval.high:.4f}")
        content = {
            "schema": 1,
            "data_version": self.texts.version,
            "split": "test",
            "micro_f1_span": found.f1,
            "interval": list(interval),
            "counts": {"columns": ["right", "gold", "found"], "texts": found.counts.tolist()},
        }
        write_json(self._folder / "scores.json", content)


def _doubled(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({min(2**power, most) for power in range(most.bit_length() + 1)})
