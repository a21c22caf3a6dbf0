"""One number of threads, and that it reaches whoever computes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from nertrail import Predictor
from nertrail.cli.app import app
from nertrail.cli.predict import predict
from nertrail.errors import ConfigError
from nertrail.ner import devices
from nertrail.ner.devices import MOST_THREADS, thread_count
from nertrail.stages.benchmark import BenchmarkConfig


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of threads of every onnxruntime session that is opened meanwhile."""
    opened, real = list[int](), onnxruntime.InferenceSession

    def note(path: str, options: Any, **named: Any) -> Any:
        opened.append(options.intra_op_num_threads)
        return real(path, options, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    return opened


@pytest.mark.parametrize(
    "omp, expected", [(None, 7), ("", 7), ("3", 3), ("5,2", 5), ("dynamic", 7), ("0", 7), ("9999", MOST_THREADS)]
)
def test_none_is_what_openmp_is_told_or_a_thread_per_usable_core(
    monkeypatch: pytest.MonkeyPatch, omp: str | None, expected: int
) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 7)
    if omp is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    assert thread_count() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_that_the_process_may_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert thread_count() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("asked, expected", [(3, 3), (None, 2)])
def test_the_number_reaches_onnxruntime(
    tiny_served: Path, sessions: list[int], monkeypatch: pytest.MonkeyPatch, asked: int | None, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with Predictor.load(tiny_served, threads=asked):
        assert sessions == [expected]


def test_the_option_reaches_onnxruntime(
    tiny_served: Path, sessions: list[int], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "a.txt").write_bytes(b"Anna Baker lives in Oslo.\n")
    predict(str(tiny_served), str(tmp_path / "a.txt"), threads=3)
    assert sessions == [3]
    assert capfdbinary.readouterr().out.count(b"\n") == 1


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "2", MOST_THREADS + 1], ids=repr)
def test_what_is_no_number_of_threads_is_told(tiny_served: Path, value: Any) -> None:
    for source in (tiny_served, "runs:/of-no-server"):
        with pytest.raises(ConfigError, match=f"threads: found {value!r} where a number of threads is wanted"):
            Predictor.load(source, threads=value)


def test_the_benchmark_has_the_same_bound() -> None:
    assert BenchmarkConfig(threads=MOST_THREADS).threads == thread_count(MOST_THREADS)
    with pytest.raises(ValidationError, match=f"less than or equal to {MOST_THREADS}"):
        BenchmarkConfig(threads=MOST_THREADS + 1)


@pytest.mark.parametrize("value", ["0", str(MOST_THREADS + 1)])
def test_the_option_has_the_same_bound(value: str) -> None:
    done = CliRunner().invoke(app, ["predict", "model", "file", "--threads", value], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "Invalid value for '--threads'" in done.output
