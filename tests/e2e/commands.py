"""Running the command line as a person does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NERTRAIL = (sys.executable, "-m", "nertrail")


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command: one thread, a real uploader process, no server but the named one."""
    base = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    quiet = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "NERTRAIL_UPLOADER": "process"}
    return {**base, **quiet, **changes}


def nertrail(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in `folder`."""
    return subprocess.run(
        [*NERTRAIL, *arguments], cwd=folder, env=environment(**changes), capture_output=True, text=True, check=False
    )


def start(folder: Path, *arguments: str, **changes: str) -> subprocess.Popen[bytes]:
    """Start a command in `folder` and go on."""
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [*NERTRAIL, *arguments], cwd=folder, env=environment(**changes), stdout=output, stderr=output
        )
