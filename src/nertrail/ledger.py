"""Which steps of a run dir are done, of what, and in which runs: what makes a second run cheap and a crash harmless.

One file per step in `results/`: its fingerprint, its runs, its state and, once it is done, its result.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pydantic

from nertrail import __version__
from nertrail.config import Model
from nertrail.errors import InputError
from nertrail.records import read_json, write_json
from nertrail.rundir import Claim, placed

State = Literal["open", "done", "failed", "retired"]
_HERE = "<run dir>/"


class Entry(Model):
    """One step: `uids` names its MLflow runs, `superseded` those of an earlier version of it.

    `files` are those that its result names or that lie in folders it names. `began` is in seconds since the epoch. A
    step is retired when the experiment no longer plans it. `identity` is the fingerprint of what its working
    files hold for; while it stays, they are worked on further.
    """

    step: str
    fingerprint: str
    identity: str = ""
    state: State
    uids: dict[str, str]
    superseded: Mapping[str, str] = {}
    began: float = 0.0
    seconds: float = 0.0
    result: Any = None
    files: tuple[str, ...] = ()

    @property
    def uid(self) -> str:
        return self.uids[""]


class Ledger:
    """The steps of one run dir. Paths below the run dir are kept relative to it, so that it can be moved.

    The first step that begins claims the run dir until `close`. A file that is no record of a step is an InputError.

    Args:
        experiment: the MLflow experiment that the run dir belongs to, None for any.
    """

    def __init__(self, run_dir: Path, experiment: str | None = None) -> None:
        self._run_dir = placed(run_dir)
        self._folder = self._run_dir / "results"
        self._claim = Claim(self._run_dir, experiment)

    def check(self) -> None:
        """Raise InputError where the run dir is not to be worked in: unreadable, another's, or in use."""
        self.entries()
        self._claim.check()

    def close(self) -> None:
        """Let others work in the run dir."""
        self._claim.release()

    def entry(self, step: str) -> Entry | None:
        """The step as it was left, None if it never began."""
        path = self._path(step)
        return self._read(path) if path.exists() else None

    def entries(self) -> list[Entry]:
        """All steps, in the order in which they began."""
        paths = [path for path in self._folder.glob("*.json") if not path.name.startswith(".")]
        return sorted(map(self._read, paths), key=lambda entry: (entry.began, entry.step))

    def shown(self, steps: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of `steps` that have begun, in that order, as plain data."""
        known = {step: self.entry(step) for step in steps}
        return {step: entry.model_dump(mode="json") for step, entry in known.items() if entry}

    def is_done(self, step: str, fingerprint: str) -> bool:
        """Whether the step's result can be taken as it is, with every file it names in the run dir."""
        known = self.entry(step)
        return known is not None and known.fingerprint == fingerprint and self.is_whole(step)

    def is_whole(self, step: str) -> bool:
        """Whether the step is done and every file in the run dir that its result stands on is there."""
        known = self.entry(step)
        return known is not None and known.state == "done" and all(Path(file).is_file() for file in known.files)

    def begin(self, step: str, fingerprint: str, identity: str = "", runs: Sequence[str] = ("",)) -> Entry:
        """Open the step: in the same runs if it was interrupted, in new ones if it changed, failed or is forced."""
        self._claim.take()
        known = self.entry(step)
        if known and known.state == "open" and known.fingerprint == fingerprint and set(known.uids) == set(runs):
            return known
        fresh = Entry(
            step=step,
            fingerprint=fingerprint,
            identity=identity or fingerprint,
            state="open",
            began=time.time(),
            uids={name: uuid.uuid4().hex for name in runs},
            superseded=known.uids if known else {},
        )
        return self._write(fresh)

    def reopen(self, step: str, fingerprint: str) -> Entry:
        """Open a step that keeps its run for good, whatever changes: the pipeline's own."""
        known = self.entry(step)
        if known is None:
            return self.begin(step, fingerprint)
        return self._write(known.model_copy(update={"state": "open", "fingerprint": fingerprint}))

    def finish(self, entry: Entry, result: Any, seconds: float) -> None:
        """Keep the step's result."""
        inside = f"{self._run_dir}/"
        named = {Path(text) for text in _strings(result) if text.startswith(inside)}
        files = tuple(sorted({str(file) for path in named for file in _files_of(path)}))
        self._write(entry.model_copy(update={"state": "done", "result": result, "seconds": seconds, "files": files}))

    def retire(self, entry: Entry) -> None:
        """Note that the step is no longer planned; planned again, it is done again."""
        self._write(entry.model_copy(update={"state": "retired"}))

    def fail(self, entry: Entry, seconds: float, result: Any = None) -> None:
        """Note that the step ran and failed; it will run again, in new runs."""
        self._write(entry.model_copy(update={"state": "failed", "seconds": seconds, "result": result}))

    def _write(self, entry: Entry) -> Entry:
        self._claim.take()
        write_json(self._path(entry.step), _replaced(entry.model_dump(mode="json"), f"{self._run_dir}/", _HERE))
        return entry

    def _read(self, path: Path) -> Entry:
        try:
            return Entry.model_validate(_replaced(read_json(path), _HERE, f"{self._run_dir}/"))
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(path, error) from None

    def _path(self, step: str) -> Path:
        return self._folder / f"{step}.json"


def parsed(entry: Entry, kind: Any) -> Any:
    """The entry's result as a `kind`.

    Raises:
        InputError: it is none.
    """
    try:
        return pydantic.TypeAdapter(kind).validate_python(entry.result)
    except pydantic.ValidationError as error:
        raise _unreadable(Path("results") / f"{entry.step}.json", error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    """Of pydantic's several lines the first mistake, of others the first line."""
    found = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, pydantic.ValidationError):
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    remedy = "restore the file, or remove it: its step is done again"
    return InputError(f"is no record of a step: {found}", place=str(path), remedy=remedy)


def _files_of(path: Path) -> Iterator[Path]:
    """The files of a folder, or the path itself, whether or not it is there."""
    return (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else iter((path,))


def _replaced(value: Any, old: str, new: str) -> Any:
    """`value` with the beginning `old` of every string in it made `new`."""
    if isinstance(value, Mapping):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def fingerprint(*parts: Any) -> str:
    """16 hex digits over plain data and the code that would work on it."""
    text = json.dumps([*parts, code_version()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def code_version() -> str:
    """The package's version and a digest of the sources that results depend on."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for folder in ("ner", "stages", "execution"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def forced(step: str, force: Collection[str]) -> bool:
    """Whether `--force` names the step, by its stage or in full."""
    return step in force or step.split("-", 1)[0] in force
