"""kill -9 of the uploader alone, at drawn moments of its work, while a program goes on: nothing is lost or twice.

`e2e/test_kill.py` kills the pipeline; every single place of delivery is `tracking/faults/test_crash.py`.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.commands import environment, nertrail
from export import export
from nertrail.records import Artifact, RunRecord, RunRef
from nertrail.tracking.destination import name_destination, state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.liveness import holder
from nertrail.tracking.protocol import PARENT_TAG, Point, RunStart
from nertrail.tracking.state import load_progress
from nertrail.tracking.sync import sync

SEED, RUNS, POINTS = 0, 10, 20
# As the launcher starts it, but with mlflow imported before it takes the lock: else most kills would meet the import.
UPLOADER = (
    "import sys, mlflow.store.tracking.sqlalchemy_store; from nertrail.tracking.uploader import main; sys.exit(main())"
)


class Program:
    """Writes some runs a turn below one parent, and is delivered by uploaders that the test starts and kills."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.run_dir, self.uri, self.turns = folder / "run", uri, 0
        self.state = state_folder(self.run_dir, uri)
        self.journal = JournalBackend(self.run_dir)
        self.journal.start(RunStart("parent", "parent", "killed", 1))
        name_destination(self.run_dir, uri)

    def write(self) -> None:
        """A turn's runs."""
        self.turns += 1
        for number in range(RUNS):
            self._write_run(f"run-{self.turns}-{number}", 1_000 * (self.turns * RUNS + number))

    def _write_run(self, uid: str, at: int) -> None:
        """A run with everything that a run can hold."""
        file = self.run_dir / f"{uid}.txt"
        file.write_text(uid)
        self.journal.start(RunStart(uid, uid, "killed", at, {PARENT_TAG: RunRef("parent")}))
        record = RunRecord({"turn": self.turns}, {"once": at}, {"self": RunRef(uid)}, (Artifact(file, "file.txt"),))
        self.journal.log(uid, record, at)
        for step in range(POINTS):
            self.journal.log_metrics(uid, [Point("loss", 1 / (step + 1), step, at + step)])
        self.journal.log("parent", RunRecord(tags={"last": RunRef(uid)}), at)
        self.journal.end(uid, "FINISHED", at + POINTS)

    def uploader(self) -> subprocess.Popen[bytes]:
        """One that has begun: it holds the lock."""
        command = [sys.executable, "-P", "-c", UPLOADER, "--follow", str(self.run_dir)]
        with (self.run_dir / "journal" / "uploader.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(MLFLOW_TRACKING_URI=self.uri), process_group=0
            )
        self._until(lambda: (holder(self.state / "lock") or {}).get("pid") == process.pid)
        return process

    def seconds_to_deliver(self) -> float:
        """From the lock to the last acknowledgement, of one turn that is let alone."""
        process, began = self.uploader(), time.monotonic()
        self._until(lambda: load_progress(self.state).delivered >= self.written)
        seconds = time.monotonic() - began
        process.kill()
        process.wait()
        return seconds

    def kill_after(self, seconds: float) -> int:
        """How many points the store holds then."""
        process = self.uploader()
        time.sleep(seconds)
        assert process.poll() is None
        process.kill()
        process.wait()
        with contextlib.closing(sqlite3.connect(self.uri.removeprefix("sqlite:///"))) as store:
            return int(store.execute("select count(*) from metrics").fetchone()[0])

    @property
    def written(self) -> int:
        """Events so far: the parent's start, and those of every turn."""
        return 1 + self.turns * RUNS * (POINTS + 4)

    @property
    def points(self) -> int:
        return self.turns * RUNS * (POINTS + 1)

    def turns_left(self) -> float:
        """How many turns are not acknowledged."""
        return (self.written - load_progress(self.state).delivered) / (RUNS * (POINTS + 4))

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, (self.run_dir / "journal" / "uploader.log").read_text()
            time.sleep(0.005)


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.soak)])
def test_an_uploader_may_die_as_often_as_it_likes(
    kills: int, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    program, chance = Program(tmp_path, store), random.Random(SEED)
    program.write()
    whole, reached = program.seconds_to_deliver(), set[int]()
    for number in range(kills):
        program.write()
        moment = chance.random() * 1.3 * whole * program.turns_left()  # now and then behind the last acknowledgement
        reached.add(program.kill_after(moment))
        print(f"seed {SEED}, kill {number}: {moment:.3f} s, {max(reached)} of {program.points} points")
    assert len(reached) > kills // 3, "they hardly ever met a delivery"
    program.journal.end("parent", "FINISHED", 10**6)
    program.journal.close()
    verified = nertrail(tmp_path, "sync", "run", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert sync(program.run_dir, f"sqlite:///{tmp_path}/other.db").complete
    found = export(store)
    assert found == export(f"sqlite:///{tmp_path}/other.db")
    assert len(found) == program.turns * RUNS + 1 == (kills + 1) * RUNS + 1
    assert {(len(runs), runs[0]["status"]) for runs in found.values()} == {(1, "FINISHED")}
