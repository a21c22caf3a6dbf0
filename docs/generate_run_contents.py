"""Writes the tables of docs/run-contents.md from real runs of the tests' tiny experiment.

Usage: python docs/generate_run_contents.py

The names come from the runs, one line of meaning for each from run-contents.yaml.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

HERE = Path(__file__).parent
PAGE, MEANINGS = HERE / "run-contents.md", HERE / "run-contents.yaml"
sys.path.insert(0, str(HERE.parent / "tests"))

from nertrail.tracking.memory import MemoryBackend, MemoryRun

KINDS = ("pipeline", "sweep", "trial", "fold", "benchmark", "selection", "training", "seed", "conversion")
PARTS = ("params", "metrics", "tags", "artifacts")
Names = dict[str, dict[str, set[str]]]
"""Kind of run → part of it → names."""

# What a short run that goes well does not show; the tests of the stages and the trackers do.
UNSEEN = {
    ("every", "nertrail.created_ms"), ("every", "traceback.txt"),
    ("every", "superseded_by"), ("every", "superseded_by_uid"),
    ("training", "absent_types"), ("training", "source_training_run"), ("training", "source_training_run_uid"),
    ("sweep", "param_importances.png"),
}  # fmt: skip

_METRIC = "(macro-f1-span|micro-f1-span|macro-f1|loss)"
_ENTITY = "(precision|recall|f1|support)"
# (kinds, parts, what a name looks like, what it is called on the page)
PATTERNS = (
    ("trial", "metrics", rf"cv_std_{_METRIC}", "cv_std_{metric}"),
    ("sweep", "metrics", rf"best_cv_std_{_METRIC}", "best_cv_std_{metric}"),
    ("trial", "metrics", rf"fold_\d+_{_METRIC}", "fold_{i}_{metric}"),
    ("sweep", "metrics", rf"best_fold_\d+_{_METRIC}", "best_fold_{i}_{metric}"),
    ("trial fold training", "metrics", rf"eval_{_METRIC}", "eval_{metric}"),
    ("training", "metrics", rf"(new|old)_test_(before|after)_{_METRIC}", r"\1_test_\2_{metric}"),
    ("training", "metrics", rf"seeds_(mean|std|ci_low|ci_high)_(test_)?{_METRIC}", r"seeds_\1_\2{metric}"),
    ("training seed", "metrics", rf"test_{_METRIC}", "test_{metric}"),
    ("pipeline", "metrics", r"onnx_(fp32|int8)_model_size_mb", "{target}_model_size_mb"),
    ("pipeline", "metrics", r"(torch|onnx_fp32|onnx_int8)_latency_batch_\d+_ms", "{backend}_latency_batch_{b}_ms"),
    ("training", "metrics", r"quirk_(train|validation|test)_.+", "quirk_{split}_{quirk}"),
    ("training", "metrics", r"(train|validation|test)_(unk_share|words_.+|spans_.+)", r"{split}_\2"),
    ("training", "metrics", rf"(test_|){_METRIC}_ci_(low|high)", r"\1{metric}_ci_\3"),
    ("training", "metrics", r"(test_|)[A-Z]+_f1_ci_(low|high)", r"\1{entity}_f1_ci_\2"),
    ("training", "metrics", rf"test_[A-Z]+_{_ENTITY}", r"test_{entity}_\1"),
    ("training", "metrics", rf"[A-Z]+_{_ENTITY}", r"{entity}_\1"),
    ("benchmark", "metrics", r"(.*)_batch_\d+(_.*)?", r"\1_batch_{b}\2"),
    ("sweep", "metrics", rf"best_{_METRIC}", "best_{metric}"),
    ("selection", "metrics", rf"(selected|best)_{_METRIC}", r"\1_{objective}"),
    ("sweep", "params", "best_(learning_rate|batch_size)", "best_{param}"),
    ("trial selection", "params", "learning_rate|batch_size", "{param}"),
    (" ".join(KINDS), "artifacts", "([^/]+/).*", r"\1"),
)


def observe() -> Names:
    """The names that real runs show."""
    import recorded
    import tiny

    os.environ["NERTRAIL_UPLOADER"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        backbone = tiny.build_backbone(Path(folder) / "backbone")
        memories = recorded.pipeline(Path(folder), backbone), recorded.side_paths(Path(folder), backbone)
        return names_in(memories)


def names_in(memories: Iterable[MemoryBackend]) -> Names:
    """The names that runs show, as the page calls them; what every run shows is taken out of the kinds."""
    runs = [run for memory in memories for run in memory.runs.values()]
    names: Names = {kind: {part: set() for part in PARTS} for kind in ("every", *KINDS)}
    for run in runs:
        for part, found in _parts(run).items():
            names[str(run.tags["mlflow.runType"])][part].update(found)
    shared = set(meanings()["every"]["tags"])
    for kind in KINDS:
        names["every"]["tags"] |= names[kind]["tags"] & shared
        names[kind]["tags"] -= shared
    return names


def _parts(run: MemoryRun) -> dict[str, set[str]]:
    kind = str(run.tags["mlflow.runType"])
    found = {"params": run.params, "metrics": run.metrics, "tags": run.tags, "artifacts": run.artifacts}
    return {part: {_called(kind, part, name) for name in values} for part, values in found.items()}


def _called(kind: str, part: str, name: str) -> str:
    for kinds, where, pattern, called in PATTERNS:
        if kind in kinds.split() and part == where and re.fullmatch(pattern, name):
            return re.sub(pattern, called, name)
    return name


def meanings() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Kind of run → part of it → name → one line."""
    read: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    return read


def differences(observed: Names) -> list[str]:
    """Where the runs and the explained names differ."""
    told = []
    for kind, parts in observed.items():
        for part, names in parts.items():
            explained = set(meanings()[kind].get(part, {}))
            told += [f"{kind} {part}: {name} is not explained" for name in sorted(names - explained)]
            missing = {name for name in explained - names if (kind, name) not in UNSEEN}
            told += [f"{kind} {part}: {name} is in no run" for name in sorted(missing)]
    return told


def page(observed: Names) -> str:
    """The whole page: the text as it is, the tables anew.

    Raises:
        SystemExit: the runs and the explained names differ.
    """
    if told := differences(observed):
        raise SystemExit("\n".join(told))
    text = PAGE.read_text(encoding="utf-8")
    for kind in observed:
        begin, end = f"<!-- names: {kind} -->\n", "<!-- end -->\n"
        before, _, rest = text.partition(begin)
        text = before + begin + _tables(kind) + end + rest.partition(end)[2]
    return text


def _tables(kind: str) -> str:
    return "".join(_table(part, meanings()[kind].get(part, {})) for part in PARTS)


def _table(part: str, names: Mapping[str, str]) -> str:
    if not names:
        return ""
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in names.items())
    return f"\n| {part} | |\n|---|---|\n{rows}\n"


if __name__ == "__main__":
    PAGE.write_text(page(observe()), encoding="utf-8")
