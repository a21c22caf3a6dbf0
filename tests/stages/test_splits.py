"""Splits made once: dealt, written, taken again, and refused where the data or the settings changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from nertrail.errors import DataError
from nertrail.experiment import Experiment
from nertrail.stages.data import DataConfig
from nertrail.stages.inputs import Inputs, WindowConfig, read_inputs
from nertrail.stages.splits import FILE


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return tiny.write_corpus(tmp_path / "corpus", train=60) / "train.jsonl"


def read(path: Path, run_dir: Path | None = None, **split: Any) -> Inputs:
    data = DataConfig(path=path, split={"validation": 0.2, "test": 0.2, **split})
    return read_inputs(data, WindowConfig(), "viterbi", 1, run_dir=run_dir)


def ids(inputs: Inputs) -> dict[str, list[str]]:
    return {split: [document.id for document in found] for split, found in inputs.dataset.splits.items()}


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_file_becomes_three_splits(pool: Path, tmp_path: Path) -> None:
    inputs = read(pool)
    splits = ids(inputs)
    assert sorted(name for found in splits.values() for name in found) == sorted(ids_in(pool))
    assert [len(found) for found in splits.values()] == pytest.approx([36, 12, 12], abs=4)
    assert not [name for name in inputs.dataset.counts if "also_in" in name]
    inputs.keep_splits(tmp_path / "run")
    plan = json.loads((tmp_path / "run" / FILE).read_text())
    assert {split: len(found) for split, found in plan["members"].items()} == {
        split: len(found) for split, found in splits.items()
    }
    assert "Anna" not in json.dumps(plan)


def test_what_was_made_is_taken_again_even_if_it_would_be_dealt_otherwise(pool: Path, tmp_path: Path) -> None:
    first = read(pool)
    first.keep_splits(tmp_path)
    path = tmp_path / FILE
    plan = json.loads(path.read_text())
    moved = plan["members"]["train"].pop()
    plan["members"]["test"].append(moved)
    path.write_text(json.dumps(plan))
    again = ids(read(pool, tmp_path))
    assert set(again["test"]) > set(ids(first)["test"])
    assert again["validation"] == ids(first)["validation"]


def test_changed_data_is_refused(pool: Path, tmp_path: Path) -> None:
    read(pool).keep_splits(tmp_path)
    pool.write_text(pool.read_text().replace("Anna", "Anne"))
    with pytest.raises(DataError, match="made of other data") as caught:
        read(pool, tmp_path)
    assert caught.value.place == str(tmp_path / FILE)
    assert "--run-dir" in str(caught.value.remedy)


@pytest.mark.parametrize("change", [{"seed": 5}, {"test": 0.1}])
def test_changed_settings_are_refused(pool: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    read(pool).keep_splits(tmp_path)
    with pytest.raises(DataError, match=r"not as data\.split says"):
        read(pool, tmp_path, **change)


def test_a_broken_record_is_told(pool: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(DataError, match="no record of splits"):
        read(pool, tmp_path)


def test_given_splits_stay_and_missing_ones_are_made(pool: Path) -> None:
    (pool.parent / "test.jsonl").unlink()
    splits = ids(read(pool.parent))
    assert splits["validation"] == ids_in(pool.with_name("dev.jsonl"))
    assert len(splits["train"]) == pytest.approx(48, abs=4)
    assert ids(read(pool.parent, test=0))["test"] == []


def test_given_splits_leave_no_record(pool: Path, tmp_path: Path) -> None:
    inputs = read(pool.parent)
    inputs.keep_splits(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", ["corpus/train.jsonl", "corpus"])
def test_without_the_setting_a_missing_split_is_an_error(pool: Path, tmp_path: Path, path: str) -> None:
    (pool.parent / "dev.jsonl").unlink()
    with pytest.raises(DataError) as caught:
        read_inputs(DataConfig(path=tmp_path / path), WindowConfig(), "viterbi", 1)
    assert "data.split" in str(caught.value.remedy)


def test_an_experiment_goes_by_its_run_dir(experiment: Experiment, pool: Path, tmp_path: Path) -> None:
    made = experiment.model_copy(update={"data": DataConfig(path=pool, split={"validation": 0.2, "test": 0.2})})
    made.inputs().keep_splits(tmp_path)
    pool.write_text(pool.read_text().replace("Anna", "Anne"))
    with pytest.raises(DataError, match="made of other data"):
        made.inputs(tmp_path)


class TestWindows:
    def test_auto_takes_what_holds_the_texts(self, experiment: Experiment) -> None:
        auto = experiment.model_copy(update={"windows": WindowConfig(max_length="auto", stride=32)})
        windows = auto.inputs().windows
        assert (windows.max_length, windows.stride) == (32, 8)

    def test_auto_needs_a_backbone(self, experiment: Experiment) -> None:
        from nertrail.errors import ConfigError

        with pytest.raises(ConfigError, match="auto needs a backbone"):
            read_inputs(experiment.data, WindowConfig(max_length="auto"), "viterbi", 1)

    def test_a_script_that_the_backbone_cannot_read_is_told(
        self, experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        corpus = tiny.write_corpus(tmp_path)
        for file in corpus.iterdir():
            file.write_text(file.read_text().replace("lives in", "語" * 8).replace("work for", "語" * 8))
        inputs = experiment.model_copy(update={"data": DataConfig(path=corpus)}).inputs()
        prepared = inputs.prepare(experiment.backbones[0])
        assert "can't read this script" in caplog.text
        assert inputs.data_metrics(prepared)["train_unk_share"] == prepared.train.unk_share > 0.05
