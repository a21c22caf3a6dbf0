"""Names that a server accepts, and configs of any shape."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.errors import DataError
from nertrail.tracking import names


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("lat (ms)", "lat _ms_"),
        ("p@95", "p_95"),
        ("a//b", "a/b"),
        ("../x", "_/x"),
        ("", "_"),
        (".", "_"),
        ("/a", "a"),
        ("B-PER", "B-PER"),
    ],
)
def test_refused_characters_are_replaced(raw: str, safe: str) -> None:
    assert names.safe_name(raw) == safe


@settings(deadline=None)  # the first call imports mlflow
@given(st.text(max_size=20))
def test_a_safe_name_is_one_that_mlflow_takes(raw: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(names.safe_name(raw))


def test_two_types_that_would_share_a_name_are_an_error() -> None:
    scores = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    with pytest.raises(DataError, match="both written as 'a_b'"):
        names.entity_metrics({"a(b": scores, "a)b": scores})


def test_configs_may_be_nested_mappings_or_objects() -> None:
    @dataclass
    class Fit:
        learning_rate: float = 1e-3
        batch_size: int = 8

    assert names.training_params(Fit(), {"data": {"stride": 32}}, epochs=None) == {
        "learning_rate": 1e-3, "batch_size": 8, "stride": 32,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("storage", "kind"),
    [(None, "memory"), ("sqlite:///s.db", "sqlite"), ("postgresql://h/d", "postgresql"), ("study.journal", "journal")],
)
def test_the_kind_of_a_study_storage(storage: str | None, kind: str) -> None:
    assert names.storage_type(storage) == kind


def test_a_selection_document() -> None:
    slow = {"backbone": "big", "params": {"lr": 2}, "score": 0.91, "latency_ms": {"1": 9.0}, "sweep_uid": "u1"}
    fast = {"backbone": "mini", "params": {"lr": 1}, "score": 0.9, "latency_ms": {"1": 4.0}, "sweep_uid": "u2"}
    doc = {
        "objective": "macro-f1-span",
        "best_score": 0.91,
        "batch_size": 1,
        "strategy": "fastest_within_threshold",
        "reason": "why",
        "config": {"accuracy_threshold": None},
        "verdicts": [{"selected": False, "candidate": slow}, {"selected": True, "candidate": fast}],
    }
    record = names.selection_record(doc)
    assert record.params == {
        "selected_backbone": "mini",
        "lr": 1,
        "selection_strategy": "fastest_within_threshold",
        "accuracy_threshold": "None",
    }
    assert record.metrics == {
        "selected_macro-f1-span": 0.9,
        "best_macro-f1-span": 0.91,
        "n_candidates": 2.0,
        "selected_latency_ms": 4.0,
    }
    assert record.tags["source_sweep_runs_uid"] == "u1,u2"
    assert "source_benchmark_runs" not in record.tags
