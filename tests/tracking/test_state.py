"""What is kept of a delivery is read whoever wrote it: an older release, a newer one, or a fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nertrail.tracking.launcher import Launcher
from nertrail.tracking.state import (
    Health,
    Progress,
    RunState,
    Upload,
    load_health,
    load_progress,
    load_rejected,
    save_health,
    save_progress,
)

RUN = {"run_id": "1", "status": "RUNNING", "cluster": "x"}
UPLOAD = {"run": "a", "described": {"name": "f"}, "at_ms": 1, "place": "p", "since": 2.0}


def keep(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    progress = Progress({"w/1": 3}, {}, {"a": RunState("1")}, [], [Upload("a", {"name": "f"}, 1, "p")], 5)
    save_progress(tmp_path, progress)
    assert load_progress(tmp_path) == progress


def test_more_than_this_release_knows_is_ignored(tmp_path: Path) -> None:
    parked = {"run": "a", "kind": "tags", "key": "k", "uids": ["b"], "at_ms": 1, "since": 2.0}
    keep(
        tmp_path,
        "state.json",
        {"offsets": {"w/1": 3}, "runs": {"a": RUN}, "parked": [parked], "uploads": [UPLOAD], "shards": []},
    )
    keep(tmp_path, "health.json", {"state": "waiting", "since": 2.0})
    found = load_progress(tmp_path)
    assert (found.offsets, found.runs, len(found.parked)) == ({"w/1": 3}, {"a": RunState("1")}, 1)
    assert found.uploads == [Upload("a", {"name": "f"}, 1, "p")]
    assert load_health(tmp_path) == Health("waiting")


@pytest.mark.parametrize(
    "content",
    [
        [], None, "x", 1, {"offsets": []}, {"offsets": {"w/1": "3"}}, {"runs": []}, {"runs": {"a": 1}}, {"runs": None},
        {"runs": {"a": {"writers": "w"}}}, {"parked": [{"run": "a"}]}, {"uploads": [3]}, {"delivered": "all"},
    ],
)  # fmt: skip
def test_content_of_another_kind_is_as_good_as_none(content: Any, tmp_path: Path) -> None:
    keep(tmp_path, "state.json", content)
    assert load_progress(tmp_path) == Progress()


@pytest.mark.parametrize("content", [[], None, 3, {"state": 1}, {"outage": "x"}, {"error": None}])
def test_a_writer_goes_on_whatever_its_uploader_said(content: Any, tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, "sqlite:////nowhere/x.db")
    (tmp_path / "journal").mkdir(exist_ok=True)
    keep(launcher.folder, "health.json", content)
    launcher.look()
    assert load_health(launcher.folder) == Health()
    save_health(launcher.folder, Health("waiting"))
    assert load_health(launcher.folder).state == "waiting"


def test_lines_of_another_kind_are_no_refusals(tmp_path: Path) -> None:
    (tmp_path / "rejected.jsonl").write_text('[]\n3\n{"event": 1}\n{"why": "no"}\n{"event": {"run": "a"}}\n')
    assert load_rejected(tmp_path) == [{"event": {"run": "a"}}]
