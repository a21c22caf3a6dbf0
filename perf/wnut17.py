"""The models that are measured: MiniLM-L6 trained on WNUT-17, one per seed, and what conversion makes of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nertrail.errors import ConversionError
from nertrail.experiment import find_config, load_experiment
from nertrail.ner.checkpoint import Checkpoint, load_checkpoint
from nertrail.ner.documents import Document
from nertrail.ner.trainer import fit
from nertrail.stages.conversion import ConversionConfig, ConversionResult, Texts, convert_model
from nertrail.stages.inputs import Inputs, Prepared, read_inputs

LEARNING_RATE, BATCH_SIZE, EPOCHS = 3e-4, 16, 3


@dataclass(frozen=True)
class Corpus:
    """WNUT-17 as MiniLM-L6 sees it."""

    inputs: Inputs
    prepared: Prepared

    @property
    def test(self) -> tuple[Document, ...]:
        return self.inputs.dataset.test

    @property
    def texts(self) -> list[str]:
        return [document.text for document in self.test]


def read_corpus(quick: bool) -> Corpus:
    """The official splits; for a quick look a part of each."""
    experiment = load_experiment(find_config("wnut17"))
    inputs = read_inputs(experiment.data, experiment.windows, experiment.decoding, experiment.seed)
    if quick:
        inputs = _shortened(inputs)
    return Corpus(inputs, inputs.prepare(experiment.backbones[0]))


def _shortened(inputs: Inputs) -> Inputs:
    from dataclasses import replace

    data = inputs.dataset
    return replace(
        inputs,
        dataset=replace(data, train=data.train[:800], validation=data.validation[:100], test=data.test[:100]),
        _cache={},
    )


def train(corpus: Corpus, seed: int, folder: Path, quick: bool) -> Checkpoint:
    """The model of a seed, trained unless `folder` holds it already."""
    path = folder / f"seed-{seed}" / "best"
    if path.is_dir():
        return load_checkpoint(path)
    experiment = load_experiment(find_config("wnut17"))
    values = experiment.hyperparameters.with_values({"learning_rate": LEARNING_RATE, "batch_size": BATCH_SIZE})
    settings = values.fit_settings(
        epochs=1 if quick else EPOCHS, seed=seed, metric="micro-f1-span", decoding="viterbi", patience=None
    )
    ready = corpus.prepared
    print(f"training seed {seed} ...", flush=True)
    parts = (ready.backbone, ready.labels, ready.train, ready.validation, ready.tokenizer, settings, path.parent)
    return fit(*parts).checkpoint


def plain(checkpoint: Checkpoint, target: Any, folder: Path) -> tuple[ConversionResult, float]:
    """The recipe without its gate: the result, and the CPU seconds that making it took, parity included."""
    before = time.process_time()
    result = convert_model(ConversionConfig(), checkpoint.path, target, folder / "plain")
    return result, time.process_time() - before


def gated(checkpoint: Checkpoint, corpus: Corpus, folder: Path) -> ConversionResult | str:
    """The model that is shipped: int8 that keeps 99 % of PyTorch's F1 on validation; or why there is none."""
    texts = Texts(corpus.prepared.validation, corpus.prepared.test, corpus.inputs.version)
    try:
        return convert_model(ConversionConfig(), checkpoint.path, "onnx_int8", folder / "gated", texts=texts)
    except ConversionError as error:
        return str(error)


def joined(texts: Sequence[str], characters: int) -> list[str]:
    """The texts as documents of about so many characters."""
    found, part = list[str](), ""
    for text in texts:
        part = f"{part} {text}".strip()
        if len(part) >= characters:
            found.append(part)
            part = ""
    return [*found, part] if part else found
