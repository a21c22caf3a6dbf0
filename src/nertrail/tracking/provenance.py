"""Who ran what: the tags that MLflow's fluent API would set, found without MLflow."""

from __future__ import annotations

import functools
import getpass
import subprocess
import sys
from pathlib import Path

import nertrail

_GIT_SECONDS = 2.0


def source_tags() -> dict[str, str]:
    """User, program and git commit, each where known."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": _program(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git_commit(str(Path.cwd())),
        "nertrail.version": nertrail.__version__,
    }
    return {key: value for key, value in tags.items() if value}


def _program() -> str:
    return sys.argv[0] if sys.argv and sys.argv[0] else sys.executable


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return ""


@functools.lru_cache(maxsize=16)
def git_commit(folder: str) -> str:
    """The commit checked out in `folder`, empty where there is none or git does not answer in time."""
    command = ["git", "-C", folder, "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
