"""The one number of a stage that the table at the end shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from nertrail.stages.seeds import SeedScores
from nertrail.stages.training import TrainingResult
from nertrail.summary import main_number

SCORES = {"macro-f1-span": 0.3, "micro-f1-span": 0.5, "loss": 0.2}


def trained(metric: str, *, tested: bool, seeds: int = 1) -> TrainingResult:
    test = {name: value - 0.1 for name, value in SCORES.items()} if tested else {}
    scores = {**SCORES, **{f"test_{name}": value for name, value in test.items()}}
    shifted = [{name: value + 0.01 * seed for name, value in scores.items()} for seed in range(seeds)]
    return TrainingResult(
        backbone="a",
        uid="u",
        training_type="final",
        params={},
        checkpoint=Path("c"),
        metric=metric,
        metrics=SCORES,
        entity_metrics={},
        test_metrics=test,
        test_entity_metrics={},
        absent_types=(),
        best_epoch=1,
        tokens_per_second=1.0,
        dataset_digest="d",
        dataset_source="d",
        seeds=tuple(SeedScores.of(seed, "u", each) for seed, each in enumerate(shifted)) if seeds > 1 else (),
        files={},
    )


@pytest.mark.parametrize(
    "result, expected",
    [
        (trained("macro-f1-span", tested=True), "validation macro-f1-span 0.3000, test macro-f1-span 0.2000"),
        (trained("micro-f1-span", tested=True), "validation micro-f1-span 0.5000, test micro-f1-span 0.4000"),
        (trained("loss", tested=False), "validation loss 0.2000"),
        (
            trained("micro-f1-span", tested=True, seeds=3),
            "validation micro-f1-span 0.5000, test micro-f1-span 0.4000; "
            "3 seeds: mean on test 0.4100 (95 % 0.3852 to 0.4348)",
        ),
        (
            trained("micro-f1-span", tested=False, seeds=3),
            "validation micro-f1-span 0.5000; 3 seeds: mean on validation 0.5100 (95 % 0.4852 to 0.5348)",
        ),
    ],
)
def test_a_training_shows_the_metric_that_it_was_judged_by(result: TrainingResult, expected: str) -> None:
    assert main_number(result) == expected
