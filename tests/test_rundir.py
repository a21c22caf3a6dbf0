"""What is in the way of a run dir, whose it is, and that one process at a time works in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nertrail.errors import InputError
from nertrail.ledger import Ledger
from nertrail.rundir import Claim, check_run_dir, placed


def test_of_one_folder_there_is_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {placed(Path(text)) for text in (".", "", "./", "x/..", str(tmp_path))} == {tmp_path}


IN_THE_WAY: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a file": (lambda run: run.write_text(""), ".", "is a file"),
    "a dangling link": (lambda run: run.symlink_to(run.parent / "nowhere"), ".", "is a link to nothing"),
    "results": (lambda run: (run / "results").write_text(""), "results", "is a file where a folder is needed"),
    "artifacts": (lambda run: (run / "artifacts").write_text(""), "artifacts", "is a file where a folder is needed"),
    "report": (lambda run: (run / "report.html").mkdir(), "report.html", "is a folder where a file is needed"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_in_the_way_is_told_first(tmp_path: Path, case: str) -> None:
    spoil, place, problem = IN_THE_WAY[case]
    run_dir = tmp_path / "run"
    if place != ".":
        run_dir.mkdir()
    spoil(run_dir)
    with pytest.raises(InputError, match=problem) as caught:
        check_run_dir(run_dir)
    assert caught.value.place == str(run_dir / place)
    assert "--run-dir" in str(caught.value.remedy)


@pytest.mark.parametrize(("name", "problem"), [("n" * 300, "too long"), ("a\0b", "null")], ids=["long", "null byte"])
def test_names_that_no_folder_can_have(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"cannot be written: .*{problem}"):
        check_run_dir(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_good_run_dir_is_only_looked_at(tmp_path: Path) -> None:
    check_run_dir(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from nertrail.rundir import Claim
claim = Claim(Path(sys.argv[1]), None)
claim.take()
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_in_the_run_dir_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for refused in (Ledger(tmp_path).check, lambda: Ledger(tmp_path).begin("training", "a")):
            with pytest.raises(InputError, match=f"another nertrail works here: process {other.pid}"):
                refused()
        other.kill()
        other.wait()
    assert not (tmp_path / "results").exists()
    Ledger(tmp_path).begin("training", "a")


def test_a_run_dir_is_free_again_when_it_is_closed(tmp_path: Path) -> None:
    first, second = Claim(tmp_path, None), Claim(tmp_path, None)
    first.take()
    with pytest.raises(InputError, match="another nertrail works here"):
        second.take()
    first.release()
    second.take()


def test_a_run_dir_belongs_to_one_experiment(tmp_path: Path) -> None:
    def begin(experiment: str | None) -> None:
        ledger = Ledger(tmp_path, experiment)
        ledger.check()
        ledger.begin("training", "a")
        ledger.close()

    for fitting in (None, "first", "first", None):
        begin(fitting)
    with pytest.raises(InputError, match="belongs to the experiment 'first', not to 'second'") as caught:
        begin("second")
    assert "mlflow.experiment_name: first" in str(caught.value.remedy)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_a_broken_record_of_the_experiment(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="names no experiment") as caught:
        Ledger(tmp_path, "x").check()
    assert caught.value.place == str(tmp_path / "run.json")
