"""Search spaces, samplers, pruners and storages, as Optuna objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pydantic
import pytest

from nertrail.errors import InputError
from nertrail.stages.bandit import BanditPruner
from nertrail.stages.search import Dimension, PrunerConfig, StorageConfig, sampler, startup_trials, suggest

ADAPTER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Dimension)


def drawn(settings: dict[str, Any], count: int = 40) -> list[Any]:
    study = optuna.create_study(sampler=sampler("random", 0))
    space = {"x": ADAPTER.validate_python(settings)}
    return [suggest(study.ask(), space)["x"] for _ in range(count)]


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"type": "choice", "values": [4, "a", None]}, {4, "a", None}),
        ({"type": "uniform", "low": 0, "high": 1, "step": 0.25}, {0.0, 0.25, 0.5, 0.75, 1.0}),
        ({"type": "int", "low": 2, "high": 8, "step": 3}, {2, 5, 8}),
        ({"type": "int", "low": 1, "high": 4, "log": True}, {1, 2, 3, 4}),
    ],
)
def test_discrete_spaces_reach_all_their_values(settings: dict[str, Any], allowed: set[Any]) -> None:
    assert set(drawn(settings)) == allowed


@pytest.mark.parametrize("kind", ["uniform", "loguniform"])
def test_continuous_spaces_keep_their_bounds(kind: str) -> None:
    found = drawn({"type": kind, "low": 1e-4, "high": 1e-1})
    assert all(1e-4 <= value <= 1e-1 for value in found)
    below = sum(value < 1e-2 for value in found)
    assert (below > 20) is (kind == "loguniform"), "two of three decades lie below 1e-2, but a tenth of the range"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "uniform", "low": 2, "high": 1}, "low 2.0 is above high 1.0"),
        ({"type": "int", "low": 2, "high": 1}, "low 2 is above high 1"),
        ({"type": "int", "low": 1, "high": 9, "step": 2, "log": True}, "low 1 and step 2"),
        ({"type": "int", "low": 1, "high": 8, "step": 2}, "no number of steps of 2 leads from 1 to 8"),
        ({"type": "uniform", "low": 0, "high": 1, "step": 0.3}, "no number of steps of 0.3 leads from 0.0 to 1.0"),
        ({"type": "int", "low": 0, "high": 8, "log": True}, "low 0 and step 1"),
        ({"type": "loguniform", "low": 0, "high": 1}, "greater than 0"),
        ({"type": "choice", "values": []}, "at least 1 item"),
        ({"type": "normal", "low": 0, "high": 1}, "normal"),
    ],
)
def test_spaces_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        ADAPTER.validate_python(settings)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("median", optuna.pruners.MedianPruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
        ("bandit", BanditPruner),
        ("none", optuna.pruners.NopPruner),
    ],
)
def test_pruners(kind: Any, expected: type) -> None:
    assert type(PrunerConfig(type=kind).build(10)) is expected


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "hyperband", "startup_trials": 3},
        {"type": "hyperband", "warmup_steps": 1},
        {"type": "median", "slack": 0.2},
        {"type": "none", "startup_trials": 0},
    ],
    ids=str,
)
def test_what_a_pruner_would_not_heed_is_told(settings: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError, match=f"the pruner {settings['type']} has no"):
        PrunerConfig.model_validate(settings)


@pytest.mark.parametrize(("trials", "startup"), [(1, 3), (9, 3), (12, 4), (30, 10), (300, 10)])
def test_a_third_of_the_trials_is_random(trials: int, startup: int) -> None:
    assert startup_trials(trials) == startup


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"type": "memory"}, optuna.storages.InMemoryStorage),
        ({"type": "journal"}, optuna.storages.JournalStorage),
        ({"type": "sqlite"}, optuna.storages.RDBStorage),
    ],
)
def test_storages_remember(tmp_path: Path, settings: dict[str, Any], expected: type) -> None:
    config = StorageConfig(**settings)
    for _ in range(2):
        storage = config.build(tmp_path / "new", "s")
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
        study.tell(study.ask(), 1.0)
    assert isinstance(storage, expected) or type(storage).__name__ == "_CachedStorage"
    assert len(study.trials) == (1 if settings["type"] == "memory" else 2)


def test_a_storage_of_ones_own(tmp_path: Path) -> None:
    assert StorageConfig(type="postgresql", url="postgresql://host/db").path(tmp_path, "s") == "postgresql://host/db"
    assert StorageConfig(type="sqlite", url="sqlite:///x.db").path(tmp_path, "s") == "sqlite:///x.db"
    with pytest.raises(pydantic.ValidationError, match="needs its url"):
        StorageConfig(type="postgresql")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"type": "sqlite", "url": "sqlite:////proc/x.db"}, "cannot be written"),
        ({"type": "sqlite", "url": "sqlite:///missing/file/\0/x.db"}, "cannot be written"),
        ({"type": "postgresql", "url": "postgresql+nodriver://me:secret@host/db"}, "can't be used: "),
        ({"type": "postgresql", "url": "postgresql://me:secret@host:port/db"}, "can't be used: "),
    ],
)
def test_storages_that_cannot_be_are_told_beforehand(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        StorageConfig(**settings).check()
    assert "sweep.storage.url" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_storages_that_can_be_are_only_looked_at(tmp_path: Path) -> None:
    for settings in ({}, {"type": "memory"}, {"type": "sqlite", "url": f"sqlite:///{tmp_path}/new/x.db"}):
        StorageConfig.model_validate(settings).check()
    assert list(tmp_path.iterdir()) == []


def test_samplers_follow_their_seed() -> None:
    first, second = ([s.ask().suggest_float("x", 0, 1) for s in studies] for studies in (_studies(), _studies()))
    assert first == second
    assert first[0] != first[1]


def _studies() -> list[optuna.Study]:
    return [optuna.create_study(sampler=sampler("tpe", seed)) for seed in (1, 2)]
