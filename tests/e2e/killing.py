"""Kills a real pipeline, and on the way there its uploader alone, at moments that are told or drawn."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from e2e.commands import start
from nertrail.ledger import Ledger
from nertrail.tracking.destination import state_folder
from nertrail.tracking.liveness import holder

STEPS = ("sweep-whole", "sweep-cut", "benchmark-trials", "selection", "training")
STEPS += ("conversion-onnx_fp32", "conversion-onnx_int8", "benchmark-final")
PLACES = ("start", *STEPS, "end")  # before the first step; behind the last one
_OVER = "over"


class Pipeline:
    """A pipeline of the tiny experiment as a process, and how far it has come."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.run_dir, self._output = folder / "runs" / "tiny", folder / "output.txt"
        self._before = self._output.stat().st_size if self._output.exists() else 0
        self.process = start(folder, "run", str(config), PYTHONUNBUFFERED="1")

    def has_come_to(self, place: str) -> bool:
        """Whether this process, not one before it, has begun that part of its work."""
        if place == "start":
            return True
        if place == _OVER:
            entry = Ledger(self.run_dir).entry("pipeline")
            return entry is not None and entry.state == "done"
        wanted = rf"{STEPS[-1]}: (done|unchanged)" if place == "end" else rf"{place}: (starts|continues)"
        return re.search(wanted, self._told()) is not None

    def written(self) -> int:
        """Bytes in the journal of the run dir."""
        return sum(segment.stat().st_size for segment in self.run_dir.glob("journal/[!.]*/*.jnl"))

    def _told(self) -> str:
        with self._output.open("rb") as output:
            output.seek(self._before)
            return output.read().decode()


Moment = Callable[[Pipeline], bool]


@dataclass
class Drawn:
    """So many seconds after a place was come to, but not after the next one was."""

    place: str
    following: str
    seconds: float
    _since: float | None = None

    def __call__(self, pipeline: Pipeline) -> bool:
        if self._since is None and pipeline.has_come_to(self.place):
            self._since = time.monotonic()
        return self._since is not None and (
            time.monotonic() - self._since >= self.seconds or pipeline.has_come_to(self.following)
        )

    def __str__(self) -> str:
        return f"{self.place} + {self.seconds:.3f} s"


def timeline(pipeline: Pipeline) -> dict[str, float]:
    """How many seconds a pipeline that is let alone spends at each place."""
    begun: dict[str, float] = {}
    while pipeline.process.poll() is None:
        for place in (*PLACES, _OVER):
            if place not in begun and pipeline.has_come_to(place):
                begun[place] = time.monotonic()
        time.sleep(0.005)
    assert pipeline.process.returncode == 0
    return {place: begun[following] - begun[place] for place, following in pairwise((*PLACES, _OVER))}


def draw(seed: int, seconds: dict[str, float]) -> list[Drawn]:
    """One moment at every place, in their order."""
    chance = random.Random(seed)
    return [Drawn(each, after, chance.random() * seconds[each]) for each, after in pairwise((*PLACES, _OVER))]


class Killer:
    """Kills pipelines of one run dir, each at its moment, and on the way there now and then their uploader alone."""

    def __init__(self, run_dir: Path, uri: str, seed: int) -> None:
        self.run_dir, self.pipelines, self.uploaders = run_dir, 0, 0
        self._lock = state_folder(run_dir, uri) / "lock"
        self._random = random.Random(seed)
        self._next = 0

    def kill_at(self, pipeline: Pipeline, moment: Moment) -> None:
        """Kill it at the moment, which has to come before its end."""
        deadline = time.monotonic() + 300
        while not moment(pipeline):
            assert pipeline.process.poll() is None, f"ended before {moment}"
            assert time.monotonic() < deadline, f"did not come to {moment}"
            self._kill_uploader(pipeline)
            time.sleep(0.005)
        os.kill(pipeline.process.pid, signal.SIGKILL)
        pipeline.process.wait()
        self.pipelines += 1
        print(f"killed: {moment}, {pipeline.written()} bytes in the journal, {self.uploaders} uploaders so far")

    def _kill_uploader(self, pipeline: Pipeline) -> None:
        written = pipeline.written()
        owner = holder(self._lock) if written >= self._next else None
        if owner and self._is_ours(owner.get("pid", 0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(owner["pid"], signal.SIGKILL)
                self.uploaders += 1
            self._next = written + self._random.randint(500, 4_000)

    def _is_ours(self, pid: int) -> bool:
        """Whether this process is an uploader of our run dir: an old note of a lock may name any other."""
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_text()
            return "nertrail.tracking.uploader" in command and str(self.run_dir) in command
        return False
