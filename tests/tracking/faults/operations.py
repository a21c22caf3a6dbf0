"""Sequences of operations on runs, as hypothesis makes them, and a way to tell them to any backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from export import Export
from nertrail.records import Artifact, DatasetInput, RunRecord, RunRef
from nertrail.tracking.protocol import PARENT_TAG, Backend, Point, RunStart

T0 = 1_700_000_000_000
Operation = tuple[Any, ...]

_runs = st.integers(0, 2)
_keys = st.sampled_from(["loss", "B-PER_f1", "ünï/cødé", "x y", "a.b:c"])
_texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=60)
_values = st.one_of(_texts, st.integers(), st.floats(), st.booleans(), st.none())
_times = st.integers(T0, T0 + 10_000)  # not in order: clocks go back
_points = st.builds(Point, _keys, st.floats(), st.integers(-5, 1_000), _times)

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), _runs, st.none() | _runs, _times),
        st.tuples(st.just("params"), _runs, st.dictionaries(_keys, _values, max_size=3)),
        st.tuples(st.just("tags"), _runs, st.dictionaries(_keys, _values, max_size=3)),
        st.tuples(st.just("reference"), _runs, _keys, st.lists(_runs, min_size=1, max_size=2, unique=True)),
        st.tuples(st.just("points"), _runs, st.lists(_points, max_size=5)),
        st.tuples(st.just("metrics"), _runs, st.dictionaries(_keys, st.floats(), max_size=3), _times),
        st.tuples(st.just("file"), _runs, st.sampled_from(["a.txt", "b.json"]), _texts),
        st.tuples(st.just("folder"), _runs, st.dictionaries(st.sampled_from(["a", "b", "deep/c"]), _texts, min_size=1)),
        st.tuples(st.just("dataset"), _runs, st.sampled_from(["train", "dev"])),
        st.tuples(st.just("end"), _runs, st.sampled_from(["FINISHED", "FAILED", "KILLED"]), _times),
        st.tuples(st.sampled_from(["sync", "forget"])),
    ),
    min_size=1,
    max_size=25,
)


class Player:
    """Tells operations to a backend. Runs are called by `prefix` and number; those not begun are not spoken of."""

    def __init__(self, backend: Backend, files: Path, prefix: str, sync: Callable[[bool], object]) -> None:
        self._backend, self._files, self._prefix, self._sync = backend, files, prefix, sync
        self._begun: set[int] = set()

    def play(self, operations: list[Operation]) -> None:
        for kind, *arguments in [("start", 0, None, T0), *operations]:
            if kind in ("sync", "forget"):
                self._sync(kind == "forget")
            elif kind == "start" or arguments[0] in self._begun:
                getattr(self, f"_{kind}")(*arguments)

    def uids(self) -> set[str]:
        return {self._uid(run) for run in self._begun}

    def _uid(self, run: int) -> str:
        return f"{self._prefix}{run}"

    def _start(self, run: int, parent: int | None, at_ms: int) -> None:
        self._begun.add(run)
        tags = {PARENT_TAG: RunRef(self._uid(parent))} if parent is not None else {}
        self._backend.start(RunStart(self._uid(run), f"run {run}", "differential", at_ms, tags))

    def _params(self, run: int, values: dict[str, Any]) -> None:
        self._log(run, RunRecord(params=values))

    def _tags(self, run: int, values: dict[str, Any]) -> None:
        self._log(run, RunRecord(tags=values))

    def _reference(self, run: int, key: str, others: list[int]) -> None:
        self._log(run, RunRecord(tags={key: tuple(RunRef(self._uid(other)) for other in others)}))

    def _metrics(self, run: int, metrics: dict[str, float], at_ms: int) -> None:
        self._log(run, RunRecord(metrics=metrics), at_ms)

    def _points(self, run: int, points: list[Point]) -> None:
        self._backend.log_metrics(self._uid(run), points)

    def _file(self, run: int, name: str, content: str) -> None:
        (self._files / name).write_text(content, encoding="utf-8")
        self._log(run, RunRecord(artifacts=(Artifact(self._files / name, name),)))

    def _folder(self, run: int, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = self._files / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        self._log(run, RunRecord(artifacts=(Artifact(self._files / "folder", "folder"),)))

    def _dataset(self, run: int, name: str) -> None:
        self._log(run, RunRecord(datasets=(DatasetInput(name, "0123456789abcdef", f"/data/{name}"),)))

    def _end(self, run: int, status: str, at_ms: int) -> None:
        self._backend.end(self._uid(run), status, at_ms)

    def _log(self, run: int, record: RunRecord, at_ms: int = T0) -> None:
        self._backend.log(self._uid(run), record, at_ms)


def without(prefix: str, found: Export) -> Any:
    """The export with the runs called by their numbers."""
    return json.loads(json.dumps(found, sort_keys=True).replace(prefix, "run "))
