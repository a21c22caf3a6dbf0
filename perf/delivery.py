"""What delivery costs: the uploader's start, the rate of a sync, and the memory that it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from measuring import Row, cpu_seconds, spread_row, until

from nertrail.records import Artifact, RunRecord
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.liveness import holder
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.state import load_progress

SYNC = """
import json, sys, time
from pathlib import Path
from nertrail.tracking.sync import sync
import mlflow
began, used = time.perf_counter(), time.process_time()
receipt = sync(sys.argv[1], sys.argv[2])
assert receipt.complete, receipt
# Not ru_maxrss, which an exec inherits from the process before it.
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps([time.perf_counter() - began, time.process_time() - used, peak]))
"""


def start(uri: str, folder: Path, repeats: int) -> list[Row]:
    """CPU of the uploader process until its first run is delivered: once per run dir that is recorded."""
    rows = []
    for place, where in (("server", uri), ("sqlite", f"sqlite:///{folder}/start.db")):
        taken = [_start_once(where, folder / f"start-{place}-{number}") for number in range(repeats)]
        rows.append(spread_row(f"uploader, {place}: CPU until the first run is delivered", taken, " s", "3.5"))
    return rows


def _start_once(uri: str, run_dir: Path) -> float:
    tracker = MLflowTrainingTracker("start", tracking_uri=uri, run_dir=run_dir, linger_s=0)
    run = tracker.start_training_run("r", "mini")
    folder = state_folder(run_dir, uri)
    until(lambda: run.uid in load_progress(folder).runs)
    pid = int((holder(folder / "lock") or {"pid": 0})["pid"])
    used = cpu_seconds(pid)
    run.end()
    tracker.close()
    until(lambda: holder(folder / "lock") is None)
    return used


def sync_rows(uri: str, folder: Path, points: tuple[int, ...], megabytes: tuple[int, ...]) -> list[Row]:
    """A sync of so many metric points, ten to an event, and of artifacts of such sizes."""
    rows = []
    for count in points:
        run_dir = _with_points(folder / f"points-{count}", count)
        for place, where in (("sqlite", f"sqlite:///{folder}/points-{count}.db"), ("server", uri)):
            if place == "server" and count > 100_000:
                continue  # the server's own work, which is most of it, is known from the smaller one
            wall, cpu, peak = _sync(run_dir, where)
            value = f"{count / wall:.0f} points/s, {count / cpu:.0f} per CPU-s, peak {peak:.0f} MB"
            rows.append(
                Row(f"sync, {place}: {count} points", value, f"{wall:.1f} s wall, {cpu:.1f} s CPU", 1, "8,800, flat")
            )
    for size in megabytes:
        wall, cpu, peak = _sync(_with_artifact(folder / f"artifact-{size}", size), uri)
        value = f"{size / wall:.0f} MB/s, peak {peak:.0f} MB"
        rows.append(
            Row(f"sync, server: an artifact of {size} MB", value, f"{wall:.1f} s wall, {cpu:.1f} s CPU", 1, "flat")
        )
    return rows


def _with_points(run_dir: Path, count: int) -> Path:
    journal = JournalBackend(run_dir)
    journal.start(RunStart(f"points{count}", "points", "sync", 1))
    for step in range(count // 10):
        journal.log_metrics(f"points{count}", [Point(f"m{k}", step / 7, step, step) for k in range(10)])
    journal.end(f"points{count}", "FINISHED", count)
    journal.close()
    return run_dir


def _with_artifact(run_dir: Path, megabytes: int) -> Path:
    run_dir.mkdir()
    path = run_dir / "model.bin"
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    journal = JournalBackend(run_dir)
    journal.start(RunStart(f"artifact{megabytes}", "artifact", "sync", 1))
    journal.log(f"artifact{megabytes}", RunRecord(artifacts=(Artifact(path, path.name, reference=True),)), 2)
    journal.end(f"artifact{megabytes}", "FINISHED", 3)
    journal.close()
    return run_dir


def _sync(run_dir: Path, uri: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of a process that does nothing else; imports apart."""
    command = [sys.executable, "-c", SYNC, str(run_dir), uri]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, cpu, peak = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, peak
