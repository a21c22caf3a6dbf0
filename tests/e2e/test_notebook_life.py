"""A notebook's kernel: cells that are abandoned, interrupted, and a kernel that is restarted in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from e2e.commands import environment
from e2e.test_uploader_life import exists, finished, until, uploader_of
from tracking_views import runs_on

OPEN = """
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
tracker = MLflowTrainingTracker("e", tracking_uri={store!r}, run_dir={run_dir!r})
run = tracker.start_training_run("r", "mini")
run.log_metrics({{"loss": 1.0}}, step=1)
print(run.uid)
"""
ABANDONED = """
import time
with tracker.start_training_run("interrupted", "mini") as second:
    print(second.uid, flush=True)
    time.sleep(600)
"""


class Notebook:
    """A kernel, and cells that are run in it."""

    def __init__(self, folder: Path) -> None:
        self.kernel = KernelManager()
        self.kernel.start_kernel(cwd=str(folder), env=environment())
        self._connect()

    def _connect(self) -> None:
        self.client = self.kernel.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, code: str) -> str:
        """What the cell prints; a cell must print nothing else, not even a warning."""
        told: list[Any] = []
        self.client.execute_interactive(code, timeout=120, output_hook=told.append)
        assert {message["msg_type"] for message in told} <= {"status", "execute_input", "stream"}, told
        return "".join(message["content"]["text"] for message in told if message["msg_type"] == "stream").strip()

    def interrupt(self, code: str) -> str:
        """Stop a cell as soon as it has printed something; what it printed first."""
        self.client.execute(code)
        message = self._next("stream")
        self.kernel.interrupt_kernel()
        assert self._next("error")["content"]["ename"] == "KeyboardInterrupt"
        return str(message["content"]["text"]).strip()

    def restart(self) -> None:
        """What the button does to a kernel that is busy."""
        self.client.stop_channels()
        self.kernel.restart_kernel(now=True)
        self._connect()

    def close(self) -> None:
        self.client.stop_channels()
        self.kernel.shutdown_kernel(now=True)

    def _next(self, kind: str) -> Any:
        while (message := self.client.get_iopub_msg(timeout=120))["msg_type"] != kind:
            pass
        return message


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    made = Notebook(tmp_path)
    yield made
    made.close()


def status_of(store: str, uid: str) -> str:
    return "".join(run.info.status for run in runs_on(store, uid))


def test_runs_end_as_what_happened_to_them(notebook: Notebook, store: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    cell = OPEN.format(store=store, run_dir=str(run_dir))
    first = notebook.run(cell)
    pid = until(lambda: uploader_of(run_dir, store))

    interrupted = notebook.interrupt(ABANDONED)
    assert until(lambda: status_of(store, interrupted) == "KILLED")
    assert notebook.run(f"run.log_metrics({{'loss': 0.5}}, step=2); print({pid})") == str(pid)  # Ctrl-C spared it
    assert until(lambda: [len(run.data.metrics) for run in runs_on(store, first)] == [1])
    assert (status_of(store, first), uploader_of(run_dir, store)) == ("RUNNING", pid)

    notebook.restart()
    assert until(lambda: status_of(store, first) == "KILLED")  # by whoever delivers: its own kernel is gone
    second = notebook.run(cell)
    assert notebook.run("run.end(); print(tracker.flush(60).pending)") == "0"
    assert until(lambda: finished(store, second))
    assert (status_of(store, first), status_of(store, interrupted)) == ("KILLED", "KILLED")

    last = until(lambda: uploader_of(run_dir, store) or pid)
    notebook.close()
    assert until(lambda: not exists(last) and not uploader_of(run_dir, store))
