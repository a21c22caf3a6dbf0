"""Continued training: sources, strategies, types that come and go, and what it changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from nertrail.errors import ModelError
from nertrail.experiment import Experiment
from nertrail.ner import trainer
from nertrail.ner.checkpoint import load_checkpoint
from nertrail.ner.labels import LabelSet
from nertrail.ner.readers import Document, Span
from nertrail.ner.relabel import relabelled, union
from nertrail.records import RunRef
from nertrail.stages.continuation import Source, compare, continued_types, joined, locate
from nertrail.stages.inputs import Inputs
from nertrail.stages.training import TrainingResult, train_model
from nertrail.tracking.memory import MemoryBackend
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker

Train = Callable[..., TrainingResult]
OLD = (Document("o1", "Anna left.", (Span(0, 4, "PER"),)), Document("o2", "It rained.", ()))


@pytest.fixture(scope="module")
def train(experiment: Experiment, inputs: Inputs) -> Train:
    def run(folder: Path, data: Inputs = inputs, changes: dict[str, Any] | None = None, **more: Any) -> TrainingResult:
        values = experiment.hyperparameters.with_values({"learning_rate": 8e-3, "batch_size": 4})
        config = experiment.training.model_copy(update={"epochs": 1, **(changes or {})})
        return train_model(config, values, data, experiment.backbones[1], folder, **more)

    return run


@pytest.fixture(scope="module")
def first(train: Train, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    tracker = MLflowTrainingTracker.over(MemoryBackend())
    return train(tmp_path_factory.mktemp("first"), changes={"epochs": 5}, tracker=tracker)


@pytest.fixture(scope="module")
def source(first: TrainingResult, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return locate(str(first.checkpoint), tmp_path_factory.mktemp("none"))


def test_a_run_dir_stands_for_its_final_model(first: TrainingResult, tmp_path: Path) -> None:
    final = tmp_path / "run" / "checkpoints" / "training" / "fit" / "best"
    shutil.copytree(first.checkpoint, final)
    found = locate(str(tmp_path / "run"), tmp_path)
    assert (found.name, found.checkpoint.path) == (str(tmp_path / "run"), final)


def with_types(inputs: Inputs, types: tuple[str, ...]) -> Inputs:
    """The inputs as data with `types`: spans of other ones are gone, and each new one has a span."""
    new = [name for name in types if name not in inputs.dataset.types]
    extra = tuple(Document(name, "It rained.", (Span(3, 9, name),)) for name in new)
    splits = {
        split: tuple(replace(d, spans=tuple(s for s in d.spans if s.type in types)) for d in documents) + extra
        for split, documents in inputs.dataset.splits.items()
    }
    return replace(inputs, dataset=replace(inputs.dataset, types=types, **splits), _cache={})


class TestSource:
    def test_a_folder(self, first: TrainingResult, source: Source) -> None:
        assert (source.name, source.run) == (str(first.checkpoint), RunRef(first.uid))
        assert source.backbone().name == "cut"

    def test_one_that_is_not_there_is_never_the_backbone(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no such file"):
            locate(str(tmp_path / "gone"), tmp_path)

    @pytest.mark.parametrize("name", ["runs:/{run}", "runs:/{run}/checkpoint", "models:/ner/1", "models:/ner@best"])
    def test_a_server(self, first: TrainingResult, store: str, tmp_path: Path, name: str) -> None:
        client = MlflowClient(tracking_uri=store, registry_uri=store)
        run_id = client.create_run(client.create_experiment("e", (tmp_path / "files").as_uri())).info.run_id
        client.log_artifacts(run_id, str(first.checkpoint), "checkpoint")
        client.create_registered_model("ner")
        client.create_model_version("ner", f"{(tmp_path / 'files').as_uri()}/{run_id}/artifacts/checkpoint", run_id)
        client.set_registered_model_alias("ner", "best", "1")
        found = locate(name.format(run=run_id), tmp_path / "here", store)
        assert found.digest() == locate(str(first.checkpoint), tmp_path).digest()
        assert found.run == RunRef(first.uid)
        assert found.checkpoint.path.is_relative_to(tmp_path / "here")
        assert [path.name for path in (tmp_path / "here").glob(".*")] == []

    @pytest.mark.parametrize("name", ["runs:/nowhere", "models:/none/1", "models:/none@best", "models:/none", "runs:/"])
    def test_what_a_server_has_not(self, store: str, tmp_path: Path, name: str) -> None:
        with pytest.raises(ModelError, match=name):
            locate(name, tmp_path / "here", store)
        assert not (tmp_path / "here").exists()

    def test_a_store_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="there is no store"):
            locate("runs:/1", tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
        assert not (tmp_path / "mlflow.db").exists()


class TestTypes:
    def test_new_ones_come_after_those_known(self, source: Source, inputs: Inputs) -> None:
        data = with_types(inputs, ("AAA", "LOC", "ORG", "PER"))
        assert continued_types(source, data, None, "new_only", allow_removed=False) == ("LOC", "ORG", "PER", "AAA")

    def test_removed_ones_are_an_error_unless_allowed(self, source: Source, inputs: Inputs) -> None:
        data = with_types(inputs, ("LOC", "ORG"))
        with pytest.raises(
            ModelError, match=r"PER, which the training texts have not\s+→ .*data.types: \[LOC, ORG, PER\]"
        ):
            continued_types(source, data, None, "new_only", allow_removed=False)
        assert continued_types(source, data, None, "new_only", allow_removed=True) == ("LOC", "ORG")

    def test_what_only_other_splits_hold_is_removed(self, source: Source, inputs: Inputs) -> None:
        bare = tuple(replace(d, spans=tuple(s for s in d.spans if s.type != "ORG")) for d in inputs.dataset.train)
        data = replace(inputs, dataset=replace(inputs.dataset, train=bare), _cache={})
        with pytest.raises(ModelError, match="knows the types ORG, which the training texts have not"):
            continued_types(source, data, None, "new_only", allow_removed=False)
        named = replace(data, dataset=replace(data.dataset, declared=True), _cache={})
        for found, allowed in ((data, True), (named, False)):  # the other splits' entities need their type
            types = continued_types(source, found, None, "new_only", allow_removed=allowed)
            assert types == ("LOC", "ORG", "PER")

    def test_old_texts_keep_their_types_only_where_they_are_trained_on(self, source: Source, inputs: Inputs) -> None:
        data = with_types(inputs, ("LOC", "ORG"))
        assert set(continued_types(source, data, inputs, "append", allow_removed=False)) == {"LOC", "ORG", "PER"}
        with pytest.raises(ModelError):
            continued_types(source, data, inputs, "new_only", allow_removed=False)

    def test_the_model_learns_a_new_type_and_keeps_the_rest(
        self, train: Train, source: Source, inputs: Inputs, tmp_path: Path
    ) -> None:
        result = train(tmp_path, with_types(inputs, ("LOC", "ORG", "PER", "RAIN")), source_checkpoint=source)
        assert load_checkpoint(result.checkpoint).labels.types == ("LOC", "ORG", "PER", "RAIN")
        assert set(result.comparison) == {
            f"new_test_{when}_{metric}"
            for when in ("before", "after")
            for metric in ("macro-f1", "macro-f1-span", "micro-f1-span")
        }
        after = result.comparison["new_test_after_micro-f1-span"]
        assert after == pytest.approx(result.test_metrics["micro-f1-span"])


class TestStrategy:
    @pytest.fixture
    def old(self, inputs: Inputs) -> Inputs:
        return replace(inputs, dataset=replace(inputs.dataset, train=OLD), version="old", _cache={})

    @pytest.mark.parametrize("strategy", ["new_only", "combined", "append"])
    def test_training_texts(self, inputs: Inputs, old: Inputs, strategy: Any) -> None:
        train = joined(inputs, old, strategy, inputs.dataset.types).dataset.train
        new = inputs.dataset.train
        if strategy == "new_only":
            assert train == new
        elif strategy == "append":
            assert train == (*OLD, *new)
        else:
            assert train != (*OLD, *new)
            assert {document.id for document in train} == {document.id for document in (*OLD, *new)}
            assert len(train) == len(OLD) + len(new)

    def test_the_data_is_named_by_all_texts(self, inputs: Inputs, old: Inputs) -> None:
        versions = [joined(inputs, old, s, inputs.dataset.types).version for s in ("new_only", "combined", "append")]
        assert versions[0] == inputs.version
        assert len(set(versions)) == 3

    @pytest.mark.parametrize(("strategy", "batching"), [("append", "sequential"), ("combined", "bucket")])
    def test_appended_texts_keep_their_order_in_training(
        self, train: Train, source: Source, old: Inputs, tmp_path: Path, monkeypatch: Any, strategy: str, batching: str
    ) -> None:
        seen: list[Any] = []
        real = trainer.fit
        monkeypatch.setattr(trainer, "fit", lambda *given, **named: seen.append(given) or real(*given, **named))
        result = train(tmp_path, changes={"data_strategy": strategy}, source_checkpoint=source, old=old)
        assert seen[0][5].batching == batching == result.params["batching"]
        assert result.params["data_strategy"] == strategy
        assert len(seen[0][2].documents) == 62

    def test_what_is_recorded(self, train: Train, source: Source, old: Inputs, tmp_path: Path) -> None:
        memory = MemoryBackend()
        changes, tracker = {"data_strategy": "combined"}, MLflowTrainingTracker.over(memory)
        result = train(tmp_path, changes=changes, source_checkpoint=source, old=old, tracker=tracker)
        run = memory.runs[result.uid]
        assert run.tags["training_type"] == run.params["training_type"] == "continued"
        assert run.tags["source_training_run"] == source.run
        assert run.params["source_checkpoint"] == source.name
        assert run.params["source_data_version"] == "old"
        assert [dataset.digest for dataset in run.datasets] == [run.params["data_version"], "old"]
        assert {name.rpartition("_")[0] for name in run.metrics if name.startswith(("old_", "new_"))} == {
            f"{age}_test_{when}" for age in ("old", "new") for when in ("before", "after")
        }


def test_a_source_is_compared_with_what_was_made_of_it(source: Source, inputs: Inputs) -> None:
    texts = {"x": inputs.dataset.test}
    same = compare(source, source.checkpoint, texts)
    assert same["x_before_micro-f1-span"] == same["x_after_micro-f1-span"] > 0
    unknown = (*inputs.dataset.test, Document("u", "It rained.", (Span(3, 9, "RAIN"),)))
    more = compare(source, source.checkpoint, {"x": unknown})
    assert more["x_before_micro-f1-span"] < same["x_before_micro-f1-span"], "an unknown type is a missed one"


def test_logits_go_by_name() -> None:
    known, wanted = LabelSet(("B", "A")), union(("A",), ("A", "C"))
    found = relabelled(np.array([[0.0, 1.0, 2.0, 3.0, 4.0]]), known, wanted)
    assert found[0, :3].tolist() == [0.0, 3.0, 4.0]
    assert (found[0, 3:] < -1e8).all()
