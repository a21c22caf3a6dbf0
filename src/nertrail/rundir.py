"""A run dir: where it lies, what is in its way, which experiment it belongs to and which process works in it."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from nertrail.errors import InputError
from nertrail.records import read_json, write_json
from nertrail.tracking.liveness import held, holder

FOLDERS = ("results", "artifacts", "checkpoints", "journal")
FILES = ("report.html", "tracking.json", "splits.json", "run.json", "run.lock")
ANOTHER = "choose another folder with --run-dir"


def placed(run_dir: Path) -> Path:
    """The absolute, normalised path: `.`, `x/../y` and the working directory's own name lead to one spelling."""
    return Path(os.path.normpath(run_dir.absolute()))


def check_writable(folder: Path, option: str = "--run-dir") -> None:
    """Raise InputError where nothing could be written below `folder`; creates nothing."""
    remedy = f"choose another folder with {option}"
    try:
        _try_writing(folder.absolute())
    except OSError as error:
        place = str(error.filename or folder)
        raise InputError(f"cannot be written: {error.strerror}", place=place, remedy=remedy) from None
    except ValueError as error:
        raise InputError(f"cannot be written: {error}", place=repr(str(folder)), remedy=remedy) from None


def _try_writing(folder: Path) -> None:
    """Raise OSError, or ValueError for a null byte, where nothing can be written below `folder`."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise NotADirectoryError(20, "is a link to nothing" if existing.is_symlink() else "is a file", str(existing))
    with tempfile.TemporaryDirectory(dir=existing, prefix=".nertrail-") as probe:
        (Path(probe) / folder.relative_to(existing)).mkdir(parents=True, exist_ok=True)  # also whether names are legal


def check_run_dir(run_dir: Path) -> None:
    """Raise InputError where a step could not write what it makes; creates nothing."""
    check_writable(run_dir)
    for name in FOLDERS:
        if (path := run_dir / name).exists() and not path.is_dir():
            raise InputError("is a file where a folder is needed", place=str(path), remedy=f"move it, or {ANOTHER}")
        check_writable(path)
    for name in FILES:
        if (path := run_dir / name).is_dir():
            raise InputError("is a folder where a file is needed", place=str(path), remedy=f"move it, or {ANOTHER}")


class Claim:
    """What keeps a run dir to one process at a time, and to one MLflow experiment for good.

    Args:
        experiment: the MLflow experiment; None where nothing is tracked, which fits any.
    """

    def __init__(self, run_dir: Path, experiment: str | None) -> None:
        self._run_dir, self._experiment = run_dir, experiment
        self._stack = ExitStack()
        self._taken = False

    def check(self) -> None:
        """Raise InputError where the run dir is taken; writes nothing."""
        known = self._owner()
        if known and self._experiment and known != self._experiment:
            problem = f"belongs to the experiment {known!r}, not to {self._experiment!r}"
            remedy = f"{ANOTHER}, or write mlflow.experiment_name: {known}"
            raise InputError(problem, place=str(self._run_dir), remedy=remedy)
        if not self._taken and (other := holder(self._lock)):
            raise _busy(self._run_dir, other.get("pid"))

    def take(self) -> None:
        """Hold the run dir until `release`, if it is not held already.

        Raises:
            InputError: another process holds it, or it belongs to another experiment.
        """
        if self._taken:
            return
        self.check()
        if not self._stack.enter_context(held(self._lock)):
            raise _busy(self._run_dir, (holder(self._lock) or {}).get("pid"))
        self._taken = True
        if self._experiment and self._owner() is None:
            write_json(self._run_dir / "run.json", {"experiment": self._experiment})

    def release(self) -> None:
        self._stack.close()
        self._taken = False

    @property
    def _lock(self) -> Path:
        return self._run_dir / "run.lock"

    def _owner(self) -> str | None:
        path = self._run_dir / "run.json"
        if not path.exists():
            return None
        try:
            return str(read_json(path)["experiment"])
        except (ValueError, KeyError, TypeError) as error:
            remedy = 'write {"experiment": "<name>"} into it, or remove it'
            raise InputError(f"names no experiment: {error!r}", place=str(path), remedy=remedy) from None


def _busy(run_dir: Path, pid: object) -> InputError:
    problem = f"another nertrail works here: process {pid}"
    return InputError(problem, place=str(run_dir), remedy="wait for it, end it, or " + ANOTHER)
