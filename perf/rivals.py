"""What the predictor is measured against: transformers' pipeline, and spaCy where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
# ru_maxrss would hold the parent's memory from before the exec.
_COLD = """
import json, time
from pathlib import Path
began = time.perf_counter()
{body}
print(json.dumps({{"wall": time.perf_counter() - began, "cpu": time.process_time(),
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
_SPACY = """
import json, sys, time
try:
    import spacy
    nlp = spacy.load("en_core_web_sm")
except (ImportError, OSError) as error:
    print(json.dumps({"skipped": str(error)[:200]}))
    raise SystemExit
texts, spent = json.load(sys.stdin), {}
for name, only in (("all pipes", None), ("tok2vec and ner", ["tok2vec", "ner"])):
    with nlp.select_pipes(enable=only or nlp.pipe_names):
        list(nlp.pipe(texts[:50]))
        began = time.process_time()
        list(nlp.pipe(texts))
        spent[name] = len(texts) / (time.process_time() - began)
print(json.dumps({"texts_per_cpu_second": spent, "version": spacy.__version__}))
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


def spacy(texts: Sequence[str], python: str | None) -> dict[str, Any]:
    """spaCy's small English model on the same texts, in a process of its own; `skipped` where it is absent."""
    done = subprocess.run(
        [python or sys.executable, "-c", _SPACY],
        input=json.dumps(list(texts)),
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"skipped": done.stderr[-200:]}
    return found
