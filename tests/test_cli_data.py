"""`nertrail data check`: what it shows, where it looks, and its exit code."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import tiny
from nertrail.cli import app


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", "check", *arguments])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tiny.write_corpus(tmp_path / "corpus", train=12, validation=4, test=4)
    (folder / "dev.jsonl").write_text('{"text": " Ann ", "entities": [[0, 4, "PER"]]}\n', encoding="utf-8")
    return folder


def row(output: str, *start: str) -> str:
    """The one line of the tables that begins with these cells."""
    (found,) = [line for line in output.splitlines() if line.split()[: len(start)] == list(start)]
    return " ".join(found.split())


def test_numbers_types_and_quirks(corpus: Path) -> None:
    done = check(str(corpus))
    assert (done.exit_code, done.stderr) == (0, "")
    assert row(done.stdout, "validation") == "validation dev.jsonl 1 0 1 1 1 1"
    assert row(done.stdout, "PER").split()[2] == "1"
    assert row(done.stdout, "span_with_edge_blanks") == "span_with_edge_blanks validation 1 repair cut off dev.jsonl:1"


def test_as_many_places_as_wanted(corpus: Path) -> None:
    (corpus / "dev.jsonl").write_text('{"text": "Ann ", "entities": [[0, 4, "PER"]]}\n' * 3, encoding="utf-8")
    assert "dev.jsonl:1, dev.jsonl:2, dev.jsonl:3" in check(str(corpus)).stdout
    assert "dev.jsonl:1 and 2 more" in check(str(corpus), "--places", "1").stdout


def test_what_is_refused_is_counted_whole_and_ends_with_2(corpus: Path) -> None:
    (corpus / "train.jsonl").write_text('{"text": "Ann", "entities": [[0, 9, "PER"]]}\n' * 2, encoding="utf-8")
    done = check(str(corpus))
    assert done.exit_code == 2
    assert "span_outside_text train 2 error refused train.jsonl:1, train.jsonl:2" in " ".join(done.stdout.split())
    assert "refused because of span_outside_text" in done.stderr
    assert "→ mend the data, or choose" in done.stderr
    assert check(str(corpus), "--set", "policies.span_outside_text=repair").exit_code == 0


def test_a_single_file_and_the_splits_made_of_it(corpus: Path) -> None:
    done = check(str(corpus / "train.jsonl"))
    assert done.exit_code == 0
    assert "no validation split: name it with data.validation, or set data.split" in done.stdout
    made = check(str(corpus / "train.jsonl"), "--set", "data.split={validation: 0.3, test: 0.3}")
    assert "made of train" in row(made.stdout, "test")


def test_what_else_lies_in_the_folder_is_named_where_a_split_is_missing(corpus: Path) -> None:
    (corpus / "test.jsonl").rename(corpus / "gold.jsonl")
    (corpus / "README.md").write_text("of no interest")
    done = check(str(corpus))
    assert "no test split: name it with data.test, or set data.split (not read: gold.jsonl)" in done.stdout


def test_an_experiment_file(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"data: {{path: {corpus}, label_map: {{PER: null}}}}\n", encoding="utf-8")
    done = check(str(path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "entities are dropped by data.label_map" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "there is no such file or folder"),
        (["{corpus}", "--set", "policies.no_such=keep"], "policies.no_such: unknown key"),
        (["{corpus}", "--set", "policies.long_spans=repair"], "policies.long_spans"),
        (["{corpus}/dev.jsonl", "--set", "format=json"], "does not begin with ["),
        (["{corpus}/packed.jsonl.gz"], "the file is compressed"),
    ],
)
def test_what_cannot_be_checked(corpus: Path, arguments: list[str], words: str) -> None:
    (corpus / "packed.jsonl.gz").write_bytes(gzip.compress((corpus / "train.jsonl").read_bytes()))
    done = check(*(argument.format(corpus=corpus) for argument in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert "→" in done.stderr


def test_synthetic_texts_are_not_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {synthetic: {}}\n", encoding="utf-8")
    done = check(str(path))
    assert done.exit_code == 2
    assert "give data.path" in done.stderr


@pytest.mark.parametrize(("label", "words"), [("a\\nb", "can't be shown"), ("  ", "blank"), ("x" * 120, "longer than")])
def test_a_type_that_no_stage_takes_is_refused_here_too(tmp_path: Path, label: str, words: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "Mira Holm", "entities": [[0, 4, "{label}"]]}}\n', encoding="utf-8")
    done = check(str(path))
    assert done.exit_code == 2
    assert words in done.stderr


def test_every_text_that_is_in_train_too_is_counted(tmp_path: Path) -> None:
    line = '{"text": "Mira Holm", "entities": [[0, 4, "PER"]]}\n'
    for split, times in (("train", 1), ("dev", 1), ("test", 3)):
        (tmp_path / f"{split}.jsonl").write_text(line * times, encoding="utf-8")
    found = [row for row in check(str(tmp_path)).stdout.splitlines() if "texts_also_in_train" in row]
    assert [row.split()[1:3] for row in found] == [["validation", "1"], ["test", "3"]]
    assert "test.jsonl:1, test.jsonl:2, test.jsonl:3" in found[1]
