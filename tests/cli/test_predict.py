"""`nertrail predict`, as a process: files, pipes, formats, and bad input."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.commands import NERTRAIL, environment

TEXTS = b"Anna Baker lives in Oslo.\n\nit was a long day.\n"


def predict(model: Path | str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*NERTRAIL, "predict", str(model), *arguments, "--threads", "1"]
    return subprocess.run(command, input=stdin, env=environment(), capture_output=True, check=False)


def entities(output: bytes) -> list[list[tuple[str, str]]]:
    return [[(e["text"], e["label"]) for e in json.loads(line)["entities"]] for line in output.splitlines()]


EXPECTED = [[("Anna Baker", "PER"), ("Oslo", "LOC")], [], []]


def test_a_file_and_a_pipe_give_the_same(tiny_served: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_bytes(TEXTS)
    file, pipe = predict(tiny_served, str(tmp_path / "texts.txt")), predict(tiny_served, "-", stdin=TEXTS)
    assert (file.returncode, file.stderr) == (0, b"")
    assert entities(file.stdout) == EXPECTED
    assert pipe.stdout == file.stdout


def test_json_lines_in_label_studio_out(tiny_served: Path) -> None:
    rows = b'{"id": "a\\ud800", "text": "Anna Baker lives in Oslo. \\ud83d"}\n'
    done = predict(tiny_served, "-", "--input", "jsonl", "--format", "labelstudio", stdin=rows)
    (task,) = json.loads(done.stdout)
    assert task["data"] == {"text": "Anna Baker lives in Oslo. \ud83d", "id": "a\ud800"}
    assert [region["value"]["labels"] for region in task["predictions"][0]["result"]] == [["PER"], ["LOC"]]


def test_one_document_and_a_score(tiny_served: Path) -> None:
    document = TEXTS.replace(b"\n", b" \n") * 20
    whole = predict(tiny_served, "-", "--input", "text", stdin=document)
    assert len(json.loads(whole.stdout)["entities"]) > 35  # of 40, over many windows
    none = predict(tiny_served, "-", "--input", "text", "--min-score", "1", stdin=document)
    assert json.loads(none.stdout)["entities"] == []


@pytest.mark.parametrize(
    "arguments, stdin, message",
    [
        (("-",), b"\xff\xfe\n", "standard input:1: is not UTF-8: byte 0xff at 1"),
        (("-", "--input", "jsonl"), b"no json", "standard input:1: broken JSON"),
        (("-", "--format", "xml"), b"", "--format: unknown 'xml'"),
        (("-", "--input", "pdf"), b"", "--input: unknown 'pdf'"),
        (("nowhere.txt",), b"", "nowhere.txt: cannot be read: No such file"),
        (("/",), b"", "/: cannot be read: Is a directory"),
        (("-", "--device", "tpu"), b"", "unknown device 'tpu'"),
    ],
)
def test_bad_input(tiny_served: Path, arguments: tuple[str, ...], stdin: bytes, message: str) -> None:
    done = predict(tiny_served, *arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["jsonl", "prodigy", "labelstudio"])
def test_texts_before_a_bad_line_are_answered(tiny_served: Path, form: str) -> None:
    done = predict(tiny_served, "-", "--format", form, stdin=TEXTS + b"\xff\xfe\n" + TEXTS)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: standard input:4: is not UTF-8: byte 0xff at 1")
    rows = json.loads(done.stdout) if form == "labelstudio" else [json.loads(row) for row in done.stdout.splitlines()]
    assert len(rows) == 3


def test_prodigys_ids_are_kept_when_predicted_again(tiny_served: Path) -> None:
    rows = b'{"text": "Anna", "id": "x"}\n{"text": "Oslo", "id": 9, "meta": {"id": "theirs", "n": NaN}}\n'
    arguments = ("-", "--input", "jsonl", "--format", "prodigy")
    once = predict(tiny_served, *arguments, stdin=rows).stdout
    assert [json.loads(row)["meta"] for row in once.splitlines()] == [{"id": "x"}, {"id": "theirs", "n": None}]
    assert predict(tiny_served, *arguments, stdin=once).stdout == once


@pytest.mark.parametrize(
    "file, redirection, code, message",
    [
        ("-", "<&-", 2, "standard input: is closed"),
        ("-", ">&-", 2, "standard output: is closed"),
        ("-", "> /dev/full", 1, "standard output: cannot be written: No space left on device"),
        ("a" * 5000, "", 2, "a: cannot be read: File name too long"),
    ],
    ids=["stdin closed", "stdout closed", "disk full", "long name"],
)
def test_streams_that_cannot_be_used(tiny_served: Path, file: str, redirection: str, code: int, message: str) -> None:
    command = " ".join([*NERTRAIL, "predict", str(tiny_served), file, "--threads", "1", redirection])
    done = subprocess.run(["bash", "-c", command], input=TEXTS, env=environment(), capture_output=True, check=False)
    assert done.returncode == code
    first, remedy = done.stderr.decode().splitlines()
    assert first.startswith("error: ") and first.endswith(message)
    assert remedy.startswith("  → ")


def test_a_full_disk_and_many_texts(tiny_served: Path) -> None:
    """More than a buffer holds."""
    command = " ".join([*NERTRAIL, "predict", str(tiny_served), "-", "--threads", "1", "> /dev/full"])
    done = subprocess.run(["bash", "-c", command], input=TEXTS * 300, env=environment(), capture_output=True)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0] == (
        "error: standard output: cannot be written: No space left on device"
    )


def test_a_model_whose_name_no_file_has() -> None:
    done = predict("a" * 5000, "-")
    assert done.returncode == 2
    assert b"a: cannot be read: File name too long" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_score_that_is_no_number(tiny_served: Path) -> None:
    done = predict(tiny_served, "-", "--min-score", "nan")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr


def test_a_foreign_folder(tmp_path: Path) -> None:
    done = predict(tmp_path, "-")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"holds no nertrail.json: not a model of nertrail" in done.stderr


def test_a_reader_that_has_enough_is_no_error(tiny_served: Path) -> None:
    command = " ".join([*NERTRAIL, "predict", str(tiny_served), "-", "--threads", "1"])
    text = "Anna Baker lives in Oslo. "
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; yes '{text}' | head -3000 | {command} | head -1"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["id"] == 1
    assert done.stderr == ""


@pytest.mark.soak
def test_a_long_file_streams_with_bounded_memory(tiny_served: Path, tmp_path: Path) -> None:
    """Ten times the lines, the same memory. `ru_maxrss` of children never falls, so the short file goes first."""
    peaks = []
    for lines in (5_000, 50_000):
        path = tmp_path / f"{lines}.txt"
        path.write_bytes(b"Anna Baker lives in Oslo, and Paris Bank was glad. \n" * lines)
        assert predict(tiny_served, str(path)).stdout.count(b"\n") == lines
        peaks.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    assert peaks[1] - peaks[0] < 15  # MB; the output alone is 14 MB, the entities of all lines as objects 60


def test_thresholds_leave_out_what_is_below_its_types_own(tiny_served: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_served, tmp_path / "model")
    manifest = json.loads((model / "nertrail.json").read_text(encoding="utf-8"))
    (model / "nertrail.json").write_text(json.dumps({**manifest, "thresholds": {"PER": 1.0}}), encoding="utf-8")
    assert entities(predict(model, "-", stdin=TEXTS).stdout) == EXPECTED
    assert entities(predict(model, "-", "--thresholds", stdin=TEXTS).stdout) == [[("Oslo", "LOC")], [], []]
