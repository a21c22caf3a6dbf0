"""Which variables of the environment are secrets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nertrail.records import RunRecord
from nertrail.tracking.redacted_files import redact_bytes
from nertrail.tracking.redaction import environment_secrets, redact_record
from nertrail.tracking.secret_variables import secrets_in

VALUE = "correct-horse/battery"


def test_a_variable_that_was_set_or_changed_since_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_SERVICE_TOKEN", raising=False)
    before = environment_secrets()
    for value in ("first-value-1", "other-value-2"):
        monkeypatch.setenv("MY_SERVICE_TOKEN", value)
        assert set(environment_secrets()) == {*before, value}
    monkeypatch.delenv("MY_SERVICE_TOKEN")
    assert environment_secrets() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "falsefalse"),
        ("MAX_TOKENS", "100000000"),
        ("A_TOKEN", "bearer"),
        ("A_TOKEN", "20480000"),
        ("A_TOKEN", "0.000001"),
        ("A_TOKEN", "training"),
        ("A_TOKEN", "/usr/not/there"),
        ("A_TOKEN", "~/token"),
        ("PWD", "correct-horse"),
        ("TOKEN_BUDGET", "a-lot-of-them"),
        ("JOB_SECRET_NAME", "my-training-job"),
        ("TOKEN_FILE", "secrets/token"),
    ],
)
def test_variables_that_only_sound_secret_spoil_nothing(name: str, value: str) -> None:
    assert secrets_in({name: value}) == ()


@pytest.mark.parametrize("value", ["/k3y+with/slashes==", "s3cr3t", "correcthorse", 'quo"ted-value'])
def test_values_that_are_secret(value: str) -> None:
    assert value in secrets_in({"A_TOKEN": value})


def test_a_budget_leaves_the_numbers_and_a_job_leaves_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_BUDGET", "20480000")
    monkeypatch.setenv("JOB_SECRET", "training")
    tags = {"mlflow.runType": "training", "pipeline.stage": "training", "seen": "20480000"}
    assert redact_record(RunRecord(tags=tags)).tags == tags
    assert redact_bytes("metrics.json", b'{"seen": 20480000}') == b'{"seen": 20480000}'


class Fleeting(dict[str, str]):
    """Variables of which another thread takes one away behind its listing."""

    def __iter__(self) -> Iterator[str]:
        return iter([*super().__iter__(), "GONE_TOKEN"])


def test_a_variable_that_is_taken_away_meanwhile_is_no_fault() -> None:
    assert VALUE in secrets_in(Fleeting(MY_TOKEN=VALUE))
