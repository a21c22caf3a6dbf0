"""What a run shows, as plain data: the seam between stages and trackers.

A stage turns its result into a `RunRecord`; a tracker writes it down. Neither knows more of the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunRef:
    """A run named by its client id. Delivery turns it into the run id of the server it goes to."""

    uid: str


Value = str | int | float | bool | None | RunRef | tuple[RunRef, ...]


def run_reference(name: str, *uids: str) -> dict[str, Value]:
    """Runs as a value under `name`, ids of the server once delivered, and their uids under `<name>_uid`."""
    named = tuple(uid for uid in dict.fromkeys(uids) if uid)
    if not named:
        return {}
    return {name: tuple(RunRef(uid) for uid in named), f"{name}_uid": ",".join(named)}


@dataclass(frozen=True)
class ModelVersion:
    """That a folder is to be a version of a registered model.

    `tags` say what it is, `runs` name under further tags, by uid, the runs it was made from. `alias` is given to the
    version. The model's name is that of the experiment.
    """

    tags: Mapping[str, str]
    runs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    alias: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A file or folder that belongs to a run.

    `name` is its path below the run's artifact root, for a file the file's own path there, for a folder the folder's.
    A `reference` is not copied: a big file gets a second name in the journal, or, where the file system has no hard
    links, is read and verified where it lies at delivery.
    A folder with a `version` is registered as a model.
    """

    path: Path
    name: str
    reference: bool = False
    version: ModelVersion | None = None


@dataclass(frozen=True)
class DatasetInput:
    """A dataset that a run read. `digest` has at most 36 characters (a limit of MLflow)."""

    name: str
    digest: str
    source: str
    context: str = "training"


@dataclass(frozen=True)
class RunRecord:
    """Params, metrics, tags and artifacts of one run. Metrics are those logged once, at step 0."""

    params: Mapping[str, Value] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, Value] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    datasets: tuple[DatasetInput, ...] = ()

    def __or__(self, other: RunRecord) -> RunRecord:
        """Both records as one; where both name a key, `other` wins."""
        return RunRecord(
            params={**self.params, **other.params},
            metrics={**self.metrics, **other.metrics},
            tags={**self.tags, **other.tags},
            artifacts=self.artifacts + other.artifacts,
            datasets=self.datasets + other.datasets,
        )


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as JSON so that a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path


def read_json(path: Path) -> Any:
    """The value written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))
