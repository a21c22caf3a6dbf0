"""No secret reaches the disk."""

from __future__ import annotations

import pytest

from nertrail.records import RunRecord
from nertrail.tracking import redaction
from nertrail.tracking.redaction import MASK, redact, redact_record

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("token hf_" + "a1B2" * 8, "a1B2a1B2"),
        ("github_pat_" + "x" * 30, "xxxxxxx"),
        ("ghp_" + "Z" * 36, "ZZZZ"),
        ("key AKIAABCDEFGHIJKLMNOP end", "ABCDEFGH"),
        ("postgresql://me:s3cr:et@host/db", "s3cr"),
        ("https://user:pa55word@mlflow.example.com/x", "pa55word"),
        (f"before {PEM} after", "MIIE"),
        ("Authorization: Bearer abcdefghijklmnopqrstuv", "abcdefghijk"),
        ("password = hunter2hunter2", "hunter2"),
        ('{"api_key": "0123456789abcdef"}', "0123456789"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM", "SflKx"),
        ("?sv=2020&sig=abc%2Fdefghij%3D&se=1", "defghij"),
    ],
)
def test_secrets_are_taken_out(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "macro-f1-span",
        "5e-4",
        "https://host/path?x=1",
        "max_tokens: 128",
        "runs/a/b.json",
        "tokens_per_second",
        "a@b.org",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_the_values_of_secret_variables_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "correct-horse")
    monkeypatch.setenv("SHORT_PASSWORD", "dev")
    record = redact_record(RunRecord(params={"note": "uses correct-horse in dev", "api_key": "x", "n": 3}))
    assert record.params == {"note": f"uses {MASK} in dev", "api_key": MASK, "n": 3}


def test_text_files_are_cleaned_and_json_is_not() -> None:
    text = b"hf_" + b"a" * 30
    assert redaction.redact_bytes("log.txt", text) == MASK.encode()
    assert redaction.redact_bytes("tokenizer.json", text) == text
    assert redaction.redact_bytes("latin.txt", b"\xff\xfe") == b"\xff\xfe"
