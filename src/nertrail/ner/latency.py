"""How fast recognizers are, side by side, on real texts.

All candidates are measured in one process in interleaved rounds on the same texts, so that a busy minute of the machine
hits them alike; `cpu_over_wall` of every series tells whether there was one.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from nertrail.errors import DataError
from nertrail.ner.devices import thread_count
from nertrail.ner.documents import Document
from nertrail.ner.hardware import hardware, peak_memory_mb, resident_mb
from nertrail.ner.predictor import Recognizer, entities
from nertrail.ner.series import Series, Timer, draw
from nertrail.ner.windows import Window, encode

__all__ = ["LatencySettings", "Loader", "Report", "Series", "hardware", "measure"]

Loader = Callable[[], Recognizer]
Progress = Callable[[int, int], None]
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatencySettings:
    """What is timed, and for how long.

    Attributes:
        batch_sizes: windows per call, and texts per call end to end.
        iterations: calls after which a series is complete; it goes on until it has them or its time is over.
        warmup_iterations: untimed calls before.
        max_seconds: a series takes no longer, warm-up counted, though one call is always timed.
        max_length: longest window in pieces; a recognizer with shorter ones keeps its own.
        threads: torch's threads meanwhile; loaders of ONNX models set theirs. None: as many as `thread_count` says,
            to which such a loader comes, too.
        seed: of the choice of texts.
    """

    batch_sizes: tuple[int, ...] = (1, 4)
    iterations: int = 100
    warmup_iterations: int = 3
    max_seconds: float = 10.0
    max_length: int = 128
    threads: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """The latencies of one recognizer.

    Attributes:
        forward: per batch size, one forward pass of a padded batch of windows.
        end_to_end: per batch size, texts to entities: tokenization, forward passes, decoding.
        load_seconds: from the loader's call to a recognizer in hand, the second time: the first pays for imports and
            cold files, whoever it is.
        first_call_ms: the first text after loading, end to end; in no series.
        peak_memory_mb: `ru_maxrss` of the whole process after loading and warming up this recognizer. It never falls,
            so it includes whatever the process held before.
        resident_growth_mb: what loading and warming up added to the process.
        inputs: what was measured: number of texts, their digest, mean and longest pieces of their windows.
    """

    name: str
    settings: LatencySettings
    threads: int
    forward: Mapping[int, Series]
    end_to_end: Mapping[int, Series]
    load_seconds: float
    first_call_ms: float
    peak_memory_mb: float
    resident_growth_mb: float
    inputs: Mapping[str, str | int | float]
    hardware: Mapping[str, str | int]

    @property
    def series(self) -> tuple[Series, ...]:
        return (*self.forward.values(), *self.end_to_end.values())

    @property
    def contended(self) -> bool:
        """Whether calls of any series waited for a core, so that its wall times say too much."""
        return any(series.contended for series in self.series)

    @property
    def cut_short(self) -> bool:
        """Whether time was over before some series had its calls."""
        return any(len(series.raw_ms) < self.settings.iterations for series in self.series)

    @property
    def underpowered(self) -> tuple[str, ...]:
        """Percentiles that some series has too few samples for."""
        return tuple(sorted(set(chain.from_iterable(series.underpowered for series in self.series))))

    def to_json(self) -> dict[str, Any]:
        """The benchmark.json document, schema 1. Its `backend` is the name that `measure` was given."""
        return {
            "schema": 1,
            "backend": self.name,
            "device": "cpu",
            "threads": self.threads,
            "max_length": self.settings.max_length,
            "iterations": self.settings.iterations,
            "warmup_iterations": self.settings.warmup_iterations,
            "hardware": dict(self.hardware),
            "batches": {
                str(size): {**_document(series), "e2e": _document(self.end_to_end[size])}
                for size, series in self.forward.items()
            },
            "model_load_seconds": self.load_seconds,
            "first_call_ms": self.first_call_ms,
            "peak_memory_mb": self.peak_memory_mb,
            "resident_growth_mb": self.resident_growth_mb,
            "contended": self.contended,
            "cut_short": self.cut_short,
            "underpowered": list(self.underpowered),
            "seed": self.settings.seed,
            "inputs": dict(self.inputs),
        }


def measure(
    recognizers: Mapping[str, Loader],
    texts: Sequence[str],
    settings: LatencySettings | None = None,
    progress: Progress = lambda _done, _total: None,
) -> dict[str, Report]:
    """Load all recognizers and time them in interleaved rounds.

    Args:
        recognizers: how to load each, by name.
        texts: real texts, in their real mix of lengths; as many as are needed are drawn without replacement.
        progress: told after every round of calls how many are made, and how many there will be at most.

    Raises:
        DataError: there is no text with a word in it.
    """
    settings = settings or LatencySettings()
    sample = _sample(texts, settings)
    with ExitStack() as stack:
        threads = stack.enter_context(_torch_threads(settings.threads))
        stack.enter_context(_collector_off())
        subjects = []
        for name, load in recognizers.items():
            subjects.append(_Subject(name, load, sample, settings))
            stack.enter_context(closing(subjects[-1].recognizer))
        _LOGGER.info("timing %s on %d texts with %d thread(s)", ", ".join(recognizers), len(sample), threads)
        _interleave(subjects, progress)
        reports = {subject.name: subject.report(threads) for subject in subjects}
    for name, report in reports.items():
        if report.contended:
            _LOGGER.warning("%s waited for a core while it was timed: see cpu_over_wall in its benchmark.json", name)
        if report.cut_short:
            _LOGGER.warning("%s: max_seconds ended a series before it had its %d calls", name, settings.iterations)
    return reports


class _Subject:
    """A loaded recognizer with its timers, one per batch size and kind of call."""

    def __init__(self, name: str, load: Loader, texts: Sequence[str], settings: LatencySettings) -> None:
        before = resident_mb()
        load().close()
        began = time.perf_counter()
        self.name, self.recognizer = name, load()
        self._load_seconds = time.perf_counter() - began
        self._settings = _limit(self.recognizer, settings)
        self._first_call_ms = _first_call(self.recognizer, texts[0])
        windows = _windows(self.recognizer, texts)
        self._inputs = _describe(texts, windows)
        self.forward = self._timers(self.recognizer.logits, windows)
        self.end_to_end = self._timers(lambda batch: entities(self.recognizer, batch), texts)
        for timer in self.timers:
            timer.warm_up(settings.warmup_iterations)
        self._growth_mb, self._peak_mb = max(0.0, resident_mb() - before), peak_memory_mb()

    @property
    def timers(self) -> tuple[Timer, ...]:
        return (*self.forward.values(), *self.end_to_end.values())

    def report(self, threads: int) -> Report:
        return Report(
            name=self.name,
            settings=self._settings,
            threads=threads,
            forward={size: timer.series() for size, timer in self.forward.items()},
            end_to_end={size: timer.series() for size, timer in self.end_to_end.items()},
            load_seconds=self._load_seconds,
            first_call_ms=self._first_call_ms,
            peak_memory_mb=self._peak_mb,
            resident_growth_mb=self._growth_mb,
            inputs=self._inputs,
            hardware=hardware(),
        )

    def _timers(self, call: Callable[[Any], object], items: Sequence[Any]) -> dict[int, Timer]:
        settings = self._settings
        return {
            size: Timer(call, draw(items, size, settings.iterations, settings.seed), settings.max_seconds)
            for size in sorted(set(settings.batch_sizes))
        }


def _interleave(subjects: Sequence[_Subject], progress: Progress) -> None:
    """Call by call: of one kind and size, every subject before the next kind; another subject leads each round.

    What is compared is so measured alike, but is not what a model alone takes: in one run at one thread torch took 19 %
    longer between the others' calls, ONNX models no longer. At more threads, thread pools also compete for the cores.
    """
    lead, timers = 0, [timer for subject in subjects for timer in subject.timers]
    total = sum(timer.planned for timer in timers)
    while any(timer.open for timer in timers):
        order = [*subjects[lead:], *subjects[:lead]]
        for alike in zip(*(subject.timers for subject in order), strict=True):
            for timer in alike:
                timer.turn()
        lead = (lead + 1) % len(subjects)
        progress(sum(timer.made for timer in timers), total)
    progress(total, total)


def _sample(texts: Sequence[str], settings: LatencySettings) -> list[str]:
    """As many texts as the largest batches need, in seeded order: encoding more would only cost time."""
    usable = [text for text in texts if text.strip()]
    if not usable:
        raise DataError("no text to measure on", place="benchmark texts", remedy="give a split with texts in it")
    needed = settings.iterations * max(settings.batch_sizes)
    return random.Random(settings.seed).sample(usable, min(needed, len(usable)))


def _limit(recognizer: Recognizer, settings: LatencySettings) -> LatencySettings:
    """Shorten the recognizer's windows to `max_length`, with them their overlap; return the settings that hold."""
    windows = recognizer.windows
    if settings.max_length >= windows.max_length:
        return replace(settings, max_length=windows.max_length)
    stride = windows.stride * settings.max_length // windows.max_length
    recognizer.windows = replace(windows, max_length=settings.max_length, stride=stride)
    return settings


def _first_call(recognizer: Recognizer, text: str) -> float:
    began = time.perf_counter()
    entities(recognizer, [text])
    return (time.perf_counter() - began) * 1000


def _windows(recognizer: Recognizer, texts: Sequence[str]) -> tuple[Window, ...]:
    documents = [Document(str(number), text, ()) for number, text in enumerate(texts)]
    encoded = encode(documents, recognizer.tokenizer, recognizer.labels, recognizer.windows)
    if not encoded.windows:
        raise DataError("no text yields a piece", place="benchmark texts", remedy="give texts the backbone can read")
    return encoded.windows


def _describe(texts: Sequence[str], windows: Sequence[Window]) -> dict[str, str | int | float]:
    lengths = [len(window.input_ids) for window in windows]
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    pieces = {"pieces_mean": statistics.fmean(lengths), "pieces_max": max(lengths)}
    return {"texts": len(texts), "windows": len(windows), **pieces, "digest": digest[:16]}


def _document(series: Series) -> dict[str, Any]:
    return {**series.summary(), "raw_ms": list(series.raw_ms)}


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[int]:
    """Set torch's threads, a setting of the whole process, and set them back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(thread_count(threads))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keep the garbage collector out of the samples: it scans all of torch, which is no call's fault."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
