"""The arithmetic of a series exactly, on a fake clock; measuring itself on fakes and on a real two-layer model."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import tiny
from nertrail.errors import DataError
from nertrail.ner import hardware, series
from nertrail.ner.labels import Floats, LabelSet
from nertrail.ner.latency import LatencySettings, Report, measure
from nertrail.ner.model import Backbone, load_model, load_tokenizer, save_checkpoint
from nertrail.ner.predictor import TorchRecognizer
from nertrail.ner.series import Series, Timer, draw, percentile, speedup
from nertrail.ner.windows import Window, WindowSettings

LABELS = LabelSet(tiny.TYPES)
TEXTS = [document.text for document in tiny.documents(12)]
QUICK = LatencySettings(batch_sizes=(1, 3), iterations=4, warmup_iterations=1, threads=1)
SUMMARY = {"mean_ms", "std_ms", "min_ms", "max_ms", "p50_ms", "p95_ms", "p99_ms", "throughput_samples_per_sec", "n"}


class Clock:
    """Stands in for `time`: a call of the model lets `wall` and `cpu` seconds pass."""

    def __init__(self) -> None:
        self.now = self.used = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used

    def spend(self, wall: float, cpu: float | None = None) -> None:
        self.now, self.used = self.now + wall, self.used + (wall if cpu is None else cpu)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(series, "time", clock)
    return clock


class Fake:
    """A recognizer that notes what it is asked."""

    def __init__(self, tokenizer: Tokenizer, name: str = "fake", journal: list[tuple[str, int]] | None = None) -> None:
        self.labels, self.windows, self.decoding, self.tokenizer = LABELS, WindowSettings(64, 16), "argmax", tokenizer
        self.name, self.journal, self.closed, self.longest = name, journal if journal is not None else [], False, 0

    def logits(self, windows: Sequence[Window]) -> list[Floats]:
        self.journal.append((self.name, len(windows)))
        self.longest = max([self.longest, *(len(window.input_ids) for window in windows)])
        return [np.zeros((len(window.first), len(self.labels)), np.float32) for window in windows]

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone: Path) -> Tokenizer:
    return load_tokenizer(Backbone("tiny", str(tiny_backbone)))


# --- series ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], q: float) -> None:
    assert percentile(values, q) == pytest.approx(float(np.percentile(values, q)))


def test_a_summary_by_hand() -> None:
    found = Series((4.0, 1.0, 3.0, 2.0), cpu_over_wall=0.9, batch_size=5).summary()
    assert found == pytest.approx(
        {
            "mean_ms": 2.5,
            "std_ms": math.sqrt(5 / 3),
            "min_ms": 1.0,
            "max_ms": 4.0,
            "p50_ms": 2.5,
            "p95_ms": 3.85,
            "p99_ms": 3.97,
            "throughput_samples_per_sec": 2000.0,
            "n": 4,
            "cpu_over_wall": 0.9,
        }
    )


def test_one_sample_has_no_spread() -> None:
    assert Series((7.0,), 1.0).summary()["std_ms"] == 0.0


@pytest.mark.parametrize(
    "n, expected",
    [(1, ("p50", "p95", "p99")), (2, ("p95", "p99")), (19, ("p95", "p99")), (20, ("p99",)), (99, ("p99",)), (100, ())],
)
def test_percentiles_need_one_sample_beyond_them(n: int, expected: tuple[str, ...]) -> None:
    assert Series((1.0,) * n, 1.0).underpowered == expected


@pytest.mark.parametrize("ratio, contended", [(1.0, False), (0.85, False), (0.82, True), (0.2, True), (1.9, False)])
def test_wall_a_fifth_above_cpu_time_is_contention(ratio: float, contended: bool) -> None:
    assert Series((1.0,), ratio).contended is contended


# --- timer ----------------------------------------------------------------------------------------------------------


def test_a_timer_times_each_batch_once(clock: Clock) -> None:
    timer = Timer(lambda batch: clock.spend(batch[0], batch[0] / 2), [[0.1], [0.2], [0.3]], max_seconds=10)
    for _ in range(5):
        timer.turn()
    found = timer.series()
    assert found.raw_ms == pytest.approx((100, 200, 300))
    assert found.cpu_over_wall == pytest.approx(0.5)
    assert not timer.open


def test_warm_up_is_not_in_the_samples(clock: Clock) -> None:
    walls = iter([9.0, 9.0, 0.1, 0.1])
    timer = Timer(lambda batch: clock.spend(next(walls)), [[0], [0]], max_seconds=100)
    timer.warm_up(2)
    timer.turn()
    timer.turn()
    assert timer.series().raw_ms == pytest.approx((100, 100))


@pytest.mark.parametrize("limit, timed", [(2.5, 2), (3.0, 3), (0.5, 1), (100, 8)])
def test_a_series_ends_in_time_but_never_empty(clock: Clock, limit: float, timed: int) -> None:
    timer = Timer(lambda batch: clock.spend(1.0), [[0]] * 8, limit)
    while timer.open:
        timer.turn()
    assert len(timer.series().raw_ms) == timed


def test_warm_up_counts_against_the_time(clock: Clock) -> None:
    timer = Timer(lambda batch: clock.spend(1.0), [[0]] * 8, max_seconds=3)
    timer.warm_up(50)
    assert clock.now == 3
    timer.turn()
    timer.turn()
    assert len(timer.series().raw_ms) == 1


def test_drawing_is_seeded_and_repeats_nothing_before_all_were_drawn() -> None:
    batches = draw(range(10), size=4, count=5, seed=1)
    drawn = [item for batch in batches for item in batch]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert batches == draw(range(10), 4, 5, seed=1) != draw(range(10), 4, 5, seed=2)


# --- measure --------------------------------------------------------------------------------------------------------


def test_recognizers_take_turns_and_are_closed(tokenizer: Tokenizer) -> None:
    journal: list[tuple[str, int]] = []
    made: list[Fake] = []

    def load(name: str) -> Fake:
        made.append(Fake(tokenizer, name, journal))
        return made[-1]

    reports = measure({"a": lambda: load("a"), "b": lambda: load("b")}, TEXTS, QUICK)
    assert len(journal) == 2 * (1 + 4) + 32  # of each recognizer a first call and a warm-up per series, then the rounds
    timed = [name for name, _ in journal[-32:]]  # 4 rounds of 2 kinds x 2 sizes x 2 recognizers
    assert timed == ["a", "b"] * 4 + ["b", "a"] * 4 + ["a", "b"] * 4 + ["b", "a"] * 4
    assert [size for _, size in journal[-8:]] == [1, 1, 3, 3, 1, 1, 3, 3]
    assert all(fake.closed for fake in made)
    assert [len(found.raw_ms) for found in reports["a"].series] == [4] * 4
    assert not reports["a"].cut_short


def test_recognizers_are_closed_when_a_later_one_fails(tokenizer: Tokenizer) -> None:
    fake, before = Fake(tokenizer), torch.get_num_threads()

    def broken() -> Fake:
        assert torch.get_num_threads() == before + 1
        raise OSError("no such model")

    with pytest.raises(OSError, match="no such model"):
        measure({"good": lambda: fake, "bad": broken}, TEXTS, replace(QUICK, threads=before + 1))
    assert fake.closed
    assert torch.get_num_threads() == before
    assert gc.isenabled()


def test_threads_left_open_are_those_that_an_onnx_model_takes(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert torch.get_num_threads() != 3
    assert measure({"fake": lambda: Fake(tokenizer)}, TEXTS, replace(QUICK, threads=None))["fake"].threads == 3


@pytest.mark.parametrize("asked, used, stride", [(128, 64, 16), (32, 32, 8)])
def test_windows_are_as_long_as_asked_but_never_longer_than_the_models(
    tokenizer: Tokenizer, asked: int, used: int, stride: int
) -> None:
    fake = Fake(tokenizer)
    report = measure({"fake": lambda: fake}, [" ".join(TEXTS)], LatencySettings((1,), 2, 0, max_length=asked))["fake"]
    assert fake.longest == report.to_json()["max_length"] == report.inputs["pieces_max"] == used
    assert fake.windows == WindowSettings(used, stride)


@pytest.mark.parametrize("texts", [[], ["", "  \n"]])
def test_without_texts_there_is_nothing_to_measure(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text to measure on"):
        measure({}, texts)


def test_a_busy_machine_is_told(tokenizer: Tokenizer, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Waiting(Fake):
        def logits(self, windows: Sequence[Window]) -> list[Floats]:
            clock.spend(1.0, 0.5)
            return super().logits(windows)

    with caplog.at_level(logging.WARNING):
        report = measure({"fake": lambda: Waiting(tokenizer)}, TEXTS, LatencySettings((1,), 2, 0))["fake"]
    assert report.contended
    assert "waited for a core" in caplog.text


def test_a_series_that_time_ended_is_told(tokenizer: Tokenizer, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Fake):
        def logits(self, windows: Sequence[Window]) -> list[Floats]:
            clock.spend(1.0)
            return super().logits(windows)

    with caplog.at_level(logging.WARNING):
        report = measure({"fake": lambda: Slow(tokenizer)}, TEXTS, LatencySettings((1,), 5, 0, max_seconds=3.0))["fake"]
    assert [len(found.raw_ms) for found in report.series] == [3, 3]
    assert report.to_json()["cut_short"] is True
    assert "fake: max_seconds ended a series before it had its 5 calls" in caplog.text


@pytest.fixture(scope="module")
def report(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of a real model, at one thread."""
    backbone = Backbone("tiny", str(tiny_backbone))
    model, tokenizer = load_model(backbone, LABELS, seed=0), load_tokenizer(backbone)
    checkpoint = save_checkpoint(
        model,
        tokenizer,
        tmp_path_factory.mktemp("latency") / "checkpoint",
        backbone_name="tiny",
        labels=LABELS,
        windows=WindowSettings(64, 16),
    )
    return measure({"torch": lambda: TorchRecognizer(checkpoint, threads=1)}, TEXTS, QUICK)["torch"]


def test_the_document_is_the_contracts(report: Report) -> None:
    document = report.to_json()
    head = {"schema": 1, "backend": "torch", "device": "cpu", "threads": 1, "max_length": 64}
    assert document | head | {"iterations": 4, "warmup_iterations": 1} == document
    assert set(document["hardware"]) >= {"cpu", "cores", "isa", "torch", "onnxruntime"}
    assert list(document["batches"]) == ["1", "3"]
    for batch in document["batches"].values():
        assert set(batch) == {*SUMMARY, "cpu_over_wall", "raw_ms", "e2e"}
        assert set(batch["e2e"]) == {*SUMMARY, "cpu_over_wall", "raw_ms"}
        assert len(batch["raw_ms"]) == batch["n"] == 4
    assert document["underpowered"] == ["p95", "p99"]


def test_a_real_model_takes_time_and_memory(report: Report) -> None:
    for found in report.series:
        summary = found.summary()
        assert 0 < summary["min_ms"] <= summary["p50_ms"] <= summary["p99_ms"] <= summary["max_ms"]
        assert summary["throughput_samples_per_sec"] == pytest.approx(1000 * found.batch_size / summary["mean_ms"])
    assert 50 < report.peak_memory_mb < 20_000
    assert report.load_seconds > 0
    assert report.first_call_ms > 0


# --- hardware -------------------------------------------------------------------------------------------------------


def test_only_instruction_sets_that_matter_are_named() -> None:
    assert hardware.isa("fpu avx512_vnni sse2 avx2 avx") == "avx avx2 avx512_vnni"
    assert hardware.isa("") == "unknown"


def test_without_cpuinfo_the_fingerprint_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "absent")
    assert all(str(value) for value in hardware.hardware().values())


# --- speed-up -------------------------------------------------------------------------------------------------------


def test_a_speedup_is_the_ratio_of_the_means_with_an_interval() -> None:
    slow = Series((10.0, 12.0, 14.0, 16.0) * 10, 1.0)
    fast = Series(tuple(value / 2 for value in slow.raw_ms), 1.0)
    found = speedup(slow, fast)
    assert found == {"ratio": pytest.approx(2), "low": pytest.approx(2), "high": pytest.approx(2), "n": 40}
    noisy = speedup(slow, Series((5.0, 6.0, 7.0, 20.0) * 10, 1.0))
    assert noisy["low"] < noisy["ratio"] < noisy["high"]
    assert noisy == speedup(slow, Series((5.0, 6.0, 7.0, 20.0) * 10, 1.0))


def test_only_calls_that_both_made_are_paired() -> None:
    assert speedup(Series((4.0, 4.0, 100.0), 1.0), Series((2.0, 2.0), 1.0))["ratio"] == 2.0


def test_progress_is_told_inside_the_measurement(tokenizer: Tokenizer) -> None:
    told: list[tuple[int, int]] = []
    measure({"a": lambda: Fake(tokenizer), "b": lambda: Fake(tokenizer)}, TEXTS, QUICK, lambda *step: told.append(step))
    total = 2 * 2 * 2 * 4  # subjects, kinds, batch sizes, iterations
    assert told == [(8, total), (16, total), (24, total), (total, total), (total, total)]
