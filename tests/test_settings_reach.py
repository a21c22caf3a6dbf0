"""Every key of an experiment file, with a value that is not its default, and the place where that value arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import optuna
import pydantic
import pytest
import yaml

import tiny
from nertrail.budget import within_budget
from nertrail.config import Model
from nertrail.experiment import Experiment, load_experiment
from nertrail.ner.quirks import QUIRKS
from nertrail.stages.inputs import Inputs, read_inputs
from nertrail.stages.search import open_study
from nertrail.steps import Steps
from nertrail.trackers import Trackers
from nertrail.tracking import mlflow_tracker

HYPERPARAMETERS = {
    "learning_rate": 3e-4,
    "batch_size": 5,
    "dropout": 0.3,
    "weight_decay": 0.2,
    "warmup": 0.4,
    "label_smoothing": 0.15,
    "max_grad_norm": 2.5,
    "precision": "bf16",
    "batching": "shuffle",
}
STUDIED = {"search_space": {"batch_size": {"type": "int", "low": 1, "high": 9}}}


class Reached(BaseException):
    """Ends the work at the seam under test, where the arguments are known."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.given, self.named = given, named


class Lab:
    """An experiment with one key set, and the seams at which its values arrive."""

    def __init__(self, folder: Path, backbone: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.backbone, self.patch = folder, backbone, patch
        self.sets: list[str] = []

    def set(self, key: str, value: Any) -> None:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
        self.sets.append(f"{key}={text}")

    @property
    def experiment(self) -> Experiment:
        path = self.folder / "experiment.yaml"
        backbone = {"name": "b", "source": str(self.backbone)}
        tree = {"data": {"path": str(self.folder / "corpus")}, "backbones": [backbone]}
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return load_experiment(path, self.sets)

    @property
    def inputs(self) -> Inputs:
        made = self.experiment
        return read_inputs(made.data, made.windows, made.decoding, made.seed)

    @property
    def steps(self) -> Steps:
        return Steps(self.experiment, self.folder / "run", self.inputs, Trackers(None, "x", self.folder / "run"))

    def reached(self, seam: str, work: Callable[[], Any]) -> Reached:
        """The arguments with which `work` calls `seam`."""

        def stop(*given: Any, **named: Any) -> Any:
            raise Reached(*given, **named)

        self.patch.setattr(seam, stop)
        with pytest.raises(Reached) as caught:
            work()
        return caught.value

    def train(self) -> Any:
        return self.steps.train(self.experiment.backbones[0], self.experiment.hyperparameters)

    def training(self) -> Reached:
        """What the training stage is called with: its settings, the hyperparameters, the data and so on."""
        return self.reached("nertrail.steps.train_model", self.train)

    def fit(self) -> Any:
        """What the final training is called with: backbone, labels, train, validation, tokenizer, settings, folder."""
        return self.reached("nertrail.ner.trainer.fit", self.train).given

    def trial(self) -> Any:
        """What the first trial's training is called with."""
        return self.reached("nertrail.ner.trainer.fit", self.sweep).given

    def sweep(self) -> Any:
        return self.steps.sweep(self.experiment.backbones[0])

    def budget(self) -> Any:
        made = self.experiment
        plan = lambda: within_budget(made, self.inputs, self.folder / "run", whole=True)  # noqa: E731
        return f"{self.reached('nertrail.budget.planned', plan).given[1] / 60:.0f}m"

    def study(self) -> optuna.Study:
        return open_study(self.experiment.sweep, self.folder / "study", "s", self.experiment.seed)

    def reading(self) -> Any:
        return self.reached("nertrail.stages.data.read_dataset", lambda: self.inputs).given[0]

    def resumes(self) -> Reached:
        return self.reached("nertrail.ner.resumes.make_dataset", lambda: self.inputs)

    def latency(self) -> Any:
        steps = self.steps
        return self.reached("nertrail.ner.latency.measure", lambda: steps.benchmark("benchmark-x", [], [])).given[2]

    def selecting(self) -> Any:
        steps = self.steps
        return self.reached("nertrail.steps.run_selection", lambda: steps.select([], [])).given[0]

    def converting(self) -> Any:
        steps, training = self.steps, SimpleNamespace(uid="u", checkpoint=self.folder, backbone="b")
        self.patch.setattr("nertrail.steps.Texts.of", lambda *_: None)
        return self.reached("nertrail.steps.convert_model", lambda: steps.convert("onnx_fp32", training)).given[0]

    def tracker(self, stage: str = "sweep") -> Reached:
        kind = {k.stage: k for k in mlflow_tracker.Tracker.__subclasses__()}[stage]

        def stop(_self: Any, *given: Any, **named: Any) -> None:
            raise Reached(*given, **named)

        self.patch.setattr(kind, "__init__", stop)
        with pytest.raises(Reached) as caught:
            Trackers(self.experiment.mlflow, "name", self.folder).of(kind)
        return caught.value


Read = Callable[[Lab], Any]
ROWS: dict[str, tuple[Any, Read]] = {
    "seed": (7, lambda lab: lab.fit()[5].seed),
    "decoding": ("argmax", lambda lab: lab.fit()[5].decoding),
    "data.path": ("elsewhere", lambda lab: str(lab.reading().path)),
    "data.show_texts": (True, lambda lab: lab.inputs.show_texts),
    "data.format": ("jsonl", lambda lab: lab.reading().format),
    "data.train": ("a", lambda lab: lab.reading().train),
    "data.validation": ("b", lambda lab: lab.reading().validation),
    "data.test": ("c", lambda lab: lab.reading().test),
    "data.ends": ("inclusive", lambda lab: lab.reading().ends),
    "data.source_field": ("meta.page", lambda lab: lab.reading().source_field),
    "data.token_column": (1, lambda lab: lab.reading().token_column),
    "data.tag_column": (2, lambda lab: lab.reading().tag_column),
    "data.label_map": ({"A": None}, lambda lab: lab.reading().label_map),
    "data.types": (("X",), lambda lab: lab.reading().types),
    "backbones.name": ("other", lambda lab: lab.fit()[0].name),
    "backbones.source": ("copy", lambda lab: Path(lab.fit()[0].source).name),
    "backbones.num_hidden_layers": (1, lambda lab: lab.fit()[0].num_hidden_layers),
    "backbones.revision": ("main", lambda lab: lab.fit()[0].revision),
    "windows.max_length": (40, lambda lab: lab.fit()[2].settings.max_length),
    "windows.stride": (9, lambda lab: lab.fit()[2].settings.stride),
    "sweep.max_trials": (6, lambda lab: lab.reached("nertrail.stages.sweep.run_trials", lab.sweep).given[2]),
    "sweep.timeout_minutes": (
        2.0,
        lambda lab: lab.reached("nertrail.stages.sweep.run_trials", lab.sweep).given[3] / 60,
    ),
    "sweep.workers": (2, lambda lab: lab.reached("nertrail.stages.sweep.run_in_workers", lab.sweep).given[2]),
    "sweep.budget": ("30m", lambda lab: lab.budget()),
    "sweep.epochs": (5, lambda lab: lab.trial()[5].epochs),
    "sweep.patience": (4, lambda lab: lab.trial()[5].patience),
    "sweep.objective.metric": ("micro-f1-span", lambda lab: lab.trial()[5].metric),
    "sweep.objective.goal": ("minimize", lambda lab: lab.study().direction.name.lower()),
    "sweep.sampler": ("random", lambda lab: type(lab.study().sampler.at(5)).__name__.removesuffix("Sampler").lower()),
    "sweep.pruner.type": ("hyperband", lambda lab: type(lab.study().pruner).__name__.removesuffix("Pruner").lower()),
    "sweep.pruner.startup_trials": (8, lambda lab: lab.study().pruner._startup),
    "sweep.pruner.warmup_steps": (3, lambda lab: lab.study().pruner._warmup),
    "sweep.pruner.slack": (0.7, lambda lab: lab.study().pruner._slack),
    "sweep.storage.type": ("memory", lambda lab: type(lab.study()._storage).__name__[2:8].lower()),  # InMemoryStorage
    "sweep.storage.url": (
        "sqlite:///own.db",
        lambda lab: lab.reached("optuna.storages.RDBStorage", lab.study).given[0],
    ),
    "sweep.k_folds": (3, lambda lab: lab.reached("nertrail.stages.trials.make_folds", lab.sweep).given[1]),
    "sweep.search_space": ({"batch_size": {"type": "choice", "values": [3]}}, lambda lab: _space(lab.trial()[5])),
    "sweep.enqueue": (({"batch_size": 2},), lambda lab: ({"batch_size": lab.trial()[5].batch_size},)),
    "benchmark.batch_sizes": ((2, 3), lambda lab: lab.latency().batch_sizes),
    "benchmark.iterations": (11, lambda lab: lab.latency().iterations),
    "benchmark.warmup_iterations": (5, lambda lab: lab.latency().warmup_iterations),
    "benchmark.max_seconds": (1.5, lambda lab: lab.latency().max_seconds),
    "benchmark.threads": (3, lambda lab: lab.latency().threads),
    "benchmark.candidates_per_backbone": (
        2,
        lambda lab: lab.reached("nertrail.steps.run_sweep", lab.sweep).named["keep"],
    ),
    "training.epochs": (9, lambda lab: lab.fit()[5].epochs),
    "training.patience": (6, lambda lab: lab.fit()[5].patience),
    "training.seeds": (2, lambda lab: lab.training().given[0].seeds),
    "training.source": ("runs:/1", lambda lab: lab.reached("nertrail.steps.locate", lab.train).given[0]),
    "training.data_strategy": ("append", lambda lab: lab.training().given[0].data_strategy),
    "training.source_data": (
        {"path": "old"},
        lambda lab: {"path": str(lab.reached("nertrail.experiment.Experiment.read", lab.train).given[1].path)},
    ),
    "training.allow_removed_types": (True, lambda lab: lab.training().given[0].allow_removed_types),
    "training.metric": ("macro-f1", lambda lab: lab.fit()[5].metric),
    "conversion.targets": (("onnx_int8",), lambda lab: tuple(lab.experiment.conversion.targets)),
    "mlflow.tracking_uri": ("http://x", lambda lab: lab.tracker().named["tracking_uri"]),
    "mlflow.experiment_name": ("mine", lambda lab: lab.tracker().given[0]),
    "mlflow.linger_s": (3.0, lambda lab: lab.tracker().named["linger_s"]),
    "mlflow.delivery_budget_s": (4.0, lambda lab: _budget(lab)),
}
ROWS["hyperparameters.max_length"] = (40, lambda lab: lab.fit()[2].settings.max_length)
ROWS |= {f"hyperparameters.{n}": (v, lambda lab, n=n: getattr(lab.fit()[5], n)) for n, v in HYPERPARAMETERS.items()}
ROWS |= {
    f"data.synthetic.{name}": (value, lambda lab, at=at: lab.resumes().given[at])
    for at, (name, value) in enumerate({"train": 11, "validation": 12, "test": 13}.items())
}
ROWS |= {
    f"data.split.{name}": (value, lambda lab, n=name: getattr(lab.reading().split, n))
    for name, value in {"validation": 0.3, "test": 0.2, "seed": 5}.items()
}
ROWS |= {
    f"data.policies.{quirk.name}": (quirk.policies[1], lambda lab, n=quirk.name: lab.reading().policies[n])
    for quirk in QUIRKS.values()
}
ROWS["data.synthetic.seed"] = (5, lambda lab: lab.resumes().named["seed"])
ROWS |= {
    f"selection.{name}": (value, lambda lab, n=name: getattr(lab.selecting(), n))
    for name, value in {"accuracy_threshold": 0.3, "use_relative_threshold": False, "min_accuracy_gain": 0.2}.items()
}
CONVERSION = {
    "opset": 18,
    "exporter": "dynamo",
    "per_channel": False,
    "quantize_embeddings": False,
    "max_abs_diff": 0.5,
    "min_f1_share": 0.25,
    "fp32_matmuls": 1,
}
ROWS |= {
    f"conversion.{name}": (value, lambda lab, n=name: getattr(lab.converting(), n))
    for name, value in CONVERSION.items()
}
SWITCHES = {
    "benchmark": ("enabled", "log_artifacts"),
    "training": ("enabled", "log_checkpoint", "log_metrics_json"),
    "conversion": ("enabled", "log_onnx_model", "log_conversion_log", "register_model"),
    "sweep": ("enabled", "log_trials", "log_best_checkpoint"),
    "selection": ("enabled",),
}
ROWS |= {
    f"mlflow.tracking.{stage}.{name}": (
        False,
        lambda lab, s=stage, n=name: getattr(lab.tracker(s).named["switches"], n),
    )
    for stage, names in SWITCHES.items()
    for name in names
}
BESIDE: dict[str, dict[str, Any]] = {
    "sweep.pruner.startup_trials": {"sweep.pruner.type": "bandit"},
    "sweep.pruner.warmup_steps": {"sweep.pruner.type": "bandit"},
    "sweep.pruner.slack": {"sweep.pruner.type": "bandit"},
    "sweep.storage.url": {"sweep.storage.type": "sqlite"},
    "sweep.enqueue": {"sweep.search_space": STUDIED["search_space"]},
    "training.data_strategy": {"training.source_data": {"synthetic": {"train": 1, "validation": 1, "test": 1}}},
}


def _space(settings: Any) -> dict[str, Any]:
    return {"batch_size": {"type": "choice", "values": [settings.batch_size]}}


def _budget(lab: Lab) -> Any:
    trackers = Trackers(lab.experiment.mlflow, "name", lab.folder)
    trackers._made = {mlflow_tracker.Tracker: SimpleNamespace(records=True, flush=lambda seconds: seconds)}  # type: ignore[dict-item]
    return trackers.flush()


def leaves(kind: type[Model], above: str = "") -> Iterator[str]:
    """The dotted names of all keys below `kind`; a list's index and a search space's own names are left out."""
    for name, info in kind.model_fields.items():
        models = list(_models(info.annotation))
        if models and name not in ("search_space", "source_data"):
            yield from leaves(models[0], f"{above}{name}.")
        else:
            yield f"{above}{name}"


def _models(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def default_of(key: str) -> Any:
    kind: type[pydantic.BaseModel] = Experiment
    *above, name = key.split(".")
    for part in above:
        kind = next(_models(kind.model_fields[part].annotation))
    return kind.model_fields[name].default


def test_no_key_is_left_out() -> None:
    assert set(ROWS) == set(leaves(Experiment))


@pytest.fixture
def lab(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tiny.write_corpus(tmp_path / "corpus", train=8, validation=4, test=4)
    (tmp_path / "copy").symlink_to(tiny_backbone)
    return Lab(tmp_path, tiny_backbone, monkeypatch)


@pytest.mark.parametrize("key", sorted(ROWS))
def test_a_value_arrives(lab: Lab, key: str) -> None:
    value, read = ROWS[key]
    assert value != default_of(key), "only another value than the default shows that it arrives"
    if key.startswith("data.synthetic"):
        lab.set("data", {"synthetic": {}})
    for name, other in BESIDE.get(key, {}).items():
        lab.set(name, other)
    given = list(value) if isinstance(value, tuple) else value
    lab.set(key.replace("backbones.", "backbones.0."), str(lab.folder / value) if key == "backbones.source" else given)
    assert read(lab) == value
