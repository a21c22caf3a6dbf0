"""No secret reaches the disk: a corpus of secrets, put wherever a record can hold text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.records import Artifact, DatasetInput, RunRecord
from nertrail.tracking import blobs, redaction
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.redaction import MASK, redact, redact_record, without_password

BODY = "MIIEvQIBADANBgkqhkiG9w0"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n{BODY}\n-----END RSA PRIVATE KEY-----"
# kind → a text with a secret by its shape, and the part of it that nobody may read. Put together here, so that no
# scanner takes this file for a leak.
SHAPES = {
    "hugging face": ("hf_" + "a1B2" * 8, "a1B2a1B2"),
    "github classic": ("ghp_" + "Z" * 36, "ZZZZ"),
    "github fine-grained": ("github_pat_" + "x1" * 20, "x1x1x1"),
    "gitlab": ("glpat-" + "q" * 20, "qqqq"),
    "openai": ("sk-" + "k" * 48, "kkkk"),
    "openai project": ("sk-proj-" + "k" * 48, "kkkk"),
    "aws key id": ("AKIA" + "ABCDEFGHIJKLMNOP", "ABCDEFGH"),
    "aws temporary key id": ("ASIA" + "ABCDEFGHIJKLMNOP", "ABCDEFGH"),
    "azure client secret": ("Abc8Q~" + "d" * 34, "dddd"),
    "google": ("AIza" + "s" * 35, "ssss"),
    "slack": ("xoxb-" + "1234567890ab", "567890"),
    "databricks": ("dapi" + "0f" * 16, "0f0f0f"),
    "web token": ("eyJ" + "hbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM", "SflKx"),
    "pem": (PEM, BODY),
    "pem cut off": (PEM[:60], BODY[:12]),
    "pgp": ("-----BEGIN PGP " + "PRIVATE KEY BLOCK-----\n" + BODY, BODY),
    "url": ("https://user:pa55word@mlflow.example.com/x", "pa55word"),
    "url with an odd password": ("postgresql://me:s3cr:e@t@host/db", "e@t"),
    "url without a user": ("redis://:pa55word@host:6379/0", "pa55word"),
    "url with a token for a user": ("https://" + "0a1b" * 13 + "@dev.azure.com/org", "0a1b0a1b"),
}
# the same, told by a word beside it: not looked for in JSON
NAMED = {
    "assignment": ("password = hunter2hunter2", "hunter2"),
    "json": ('{"api_key": "0123456789abcdef"}', "0123456789"),
    "aws secret": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtn"),
    "azure storage": ("AccountName=a;AccountKey=Zm9vYmFyYmF6cXV4==;EndpointSuffix=x", "Zm9vYmFy"),
    "azure signature": ("?sv=2020&sig=abc%2Fdefghij%3D&se=1", "defghij"),
    "header": ("Authorization: Bearer abcdefghijklmnopqrstuv", "abcdefghijk"),
    "argument": ("Client(hub_token='abcdefgh12345')", "abcdefgh"),
    "yaml": ("client_secret: abcdefgh12345", "abcdefgh"),
    "connection": ("Server=db;Uid=me;Pwd=abcdefgh12345;", "abcdefgh"),
}
CORPUS = SHAPES | NAMED
VALUE = "correct-horse/battery"  # of a variable whose name says secret


def params(names: dict[str, tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("text", "secret"), names.values(), ids=names.keys())


@params(CORPUS)
def test_a_secret_is_taken_out_and_the_text_around_it_stays(text: str, secret: str) -> None:
    clean = redact(f"before {text}" if "cut" in text else f"before {text}\nafter")
    assert secret not in clean and MASK in clean and clean.startswith("before ")
    assert redact(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "macro-f1-span",
        "5e-4",
        "https://host/path?x=1",
        "https://host:8080/a@b",
        "max_tokens: 128",
        "tokens_per_second",
        "token_column: 0",
        "a token stands for one word",
        "runs/a/b.json",
        "a@b.org",
        "2026-01-01T00:00:00",
        "sha256 " + "0a1b" * 16,
        "sentence-transformers/all-MiniLM-L6-v2",
        "desk-top-computers-and-task-scheduling",
        "num_hidden_layers: 6, pad_token_id: 0, design: simple",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def everywhere(journal: JournalBackend, folder: Path, text: str) -> None:
    """Put the text wherever the journal takes text."""
    flat = text.replace("\n", " ")
    (folder / "log.txt").write_text(f"a\n{text}\n")
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "config.yaml").write_text(f"key: |\n  {text}\n")
    artifacts = (Artifact(folder / "log.txt", f"logs/{flat}.txt"), Artifact(folder / "conf", "conf"))
    datasets = (DatasetInput(flat, "0", text),)
    journal.start(RunStart("u", text, text, 1, {"mlflow.source.name": text, flat: 1}))
    journal.log("u", RunRecord({"p": text, flat: 1}, {flat: 1.0}, {"t": text, flat: 2}, artifacts, datasets), 2)
    journal.log_metrics("u", [Point(flat, 1.0, 1, 3)])


def written(run_dir: Path) -> bytes:
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert files
    return b"".join(str(path).encode() + path.read_bytes() for path in files)


@params(SHAPES)
def test_it_is_nowhere_on_the_disk(text: str, secret: str, tmp_path: Path) -> None:
    everywhere(JournalBackend(tmp_path / "run"), tmp_path, text)
    assert secret.encode() not in written(tmp_path / "run")


@params(CORPUS)
def test_one_secret_among_plain_values_is_seen_and_they_stay(text: str, secret: str) -> None:
    plain = {f"param_{number}": f"value of {number}" for number in range(9)}
    found = redaction.redact_values({**plain, "text": text}, ())
    assert found == {**plain, "text": redact(text)} and secret not in str(found["text"])


FRAGMENTS = [part for text, _ in CORPUS.values() for part in (text, text[: len(text) // 2], text[len(text) // 2 :])]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8) | st.sampled_from([" ", "=", ": ", VALUE, "\n"])))
def test_what_passes_at_one_look_would_not_be_changed(parts: list[str]) -> None:
    text = "".join(parts)
    assert redact(text, (VALUE,)) == text or not redaction._is_plain(text, (VALUE,))


def test_a_variable_that_was_set_or_changed_since_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_SERVICE_TOKEN", raising=False)
    before = redaction.environment_secrets()
    for value in ("first-value-1", "other-value-2"):
        monkeypatch.setenv("MY_SERVICE_TOKEN", value)
        assert set(redaction.environment_secrets()) == {*before, value}
    monkeypatch.delenv("MY_SERVICE_TOKEN")
    assert redaction.environment_secrets() == before


@pytest.mark.parametrize("name", ["MY_SERVICE_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "azure_client_secret"])
def test_the_value_of_a_secret_variable_is_nowhere_on_the_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, VALUE)
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart("u", f"run {VALUE}", VALUE, 1, {"t": f"with {VALUE} in it"}))
    journal.log("u", RunRecord({"url": "https://h/?q=correct-horse%2Fbattery"}, {}, {"t": VALUE}), 2)
    assert b"correct-horse" not in written(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "falsefalse"),
        ("MAX_TOKENS", "100000000"),
        ("A_TOKEN", "bearer"),
        ("PWD", "correct-horse"),
    ],
)
def test_variables_that_only_sound_secret_spoil_nothing(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert value not in redaction.environment_secrets()


def raise_with(text: str) -> None:
    raise ValueError(f"cannot reach {text}")


@params(CORPUS)
def test_a_traceback_is_clean(text: str, secret: str, tmp_path: Path) -> None:
    tracker = MLflowTrainingTracker("e", tracking_uri="http://127.0.0.1:9", run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="cannot reach"), tracker.start_training_run("r", "mini"):
        raise_with(text)
    tracker.close()
    stored = written(tmp_path / "run")
    assert b"ValueError: cannot reach" in stored and secret.encode() not in stored


@pytest.mark.parametrize("name", ["log.txt", "config.yaml", "train.log", "setup.cfg", "notes.md", ".env", "run.sh"])
@params(CORPUS)
def test_text_files_are_clean(text: str, secret: str, name: str) -> None:
    clean = redaction.redact_bytes(name, f"ä {text}".encode())
    assert secret.encode() not in clean and clean.startswith("ä ".encode())


@params(SHAPES)
def test_json_loses_what_has_the_shape_of_a_secret(text: str, secret: str) -> None:
    assert secret.encode() not in redaction.redact_bytes("config.json", text.encode())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", ("hf_" + "a" * 30).encode()),
        ("config.json", b'{"pad_token": "[PAD]", "api_key": "in-a-template-only"}'),
        ("model.safetensors", ("hf_" + "a" * 30).encode()),
        ("latin.txt", b"\xff\xfe"),
    ],
)
def test_files_that_must_not_change_do_not(name: str, content: bytes) -> None:
    assert redaction.redact_bytes(name, content) == content


def test_the_text_under_a_secret_name_goes_altogether() -> None:
    values = {"api_key": "x", "hub_token": "y", "mlflow/password": "z", "n_token": 3, "token_type": "word", "note": "a"}
    record = redact_record(RunRecord(params=values))
    masked = {"api_key": MASK, "hub_token": MASK, "mlflow/password": MASK}
    assert record.params == {**values, **masked}


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("https://me:pw@host/x", "https://host/x"),
        ("https://me:p@w@host/x", "https://host/x"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
    ],
)
def test_a_uri_without_its_password(uri: str, clean: str) -> None:
    assert without_password(uri) == clean


def test_names_that_come_with_every_step_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    shapes: Callable[[str, tuple[str, ...]], str] = redaction._shapes
    monkeypatch.setattr(redaction, "_shapes", lambda text, secrets: seen.append(text) or shapes(text, secrets))
    for step in range(5):
        redaction.redact_point(Point("a metric of some length", 1.0, step, 1))
    assert len(seen) <= 1


def test_a_long_log_is_clean_too(tmp_path: Path) -> None:
    text, secret = SHAPES["github classic"]
    (tmp_path / "train.log").write_text("step\n" * 250_000 + text)
    described = blobs.store(tmp_path / "blobs", Artifact(tmp_path / "train.log", "train.log"))
    assert secret.encode() not in (tmp_path / "blobs" / described["files"][0]["sha256"]).read_bytes()


class Fleeting(dict[str, str]):
    """Variables of which another thread takes one away behind its listing."""

    def __iter__(self) -> Iterator[str]:
        return iter([*super().__iter__(), "GONE_TOKEN"])


def test_a_variable_that_is_taken_away_meanwhile_is_no_fault() -> None:
    assert VALUE in redaction._secrets_in(Fleeting(MY_TOKEN=VALUE))


LOGS = """
import logging, sys, threading, warnings
from nertrail.tracking import uploader
uploader._log_clean()
import mlflow
url, says = sys.argv[1:]
def fail():
    raise ValueError("a thread " + says)
logging.getLogger("urllib3").warning("retrying %s", url)
logging.getLogger("mlflow.store").warning(says)
logging.getLogger("alembic").warning("%d", says)
warnings.warn(says)
print(says[:8], end="", flush=True)
print(says[8:])
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise ValueError(url)
"""


def test_the_uploaders_log_is_clean_whoever_writes_to_it(tmp_path: Path) -> None:
    """mlflow, once imported, logs through a handler of its own."""
    url, secret = SHAPES["url"]
    command = [sys.executable, "-c", LOGS, url, f"says {VALUE}"]
    environment = {**os.environ, "MY_SERVICE_TOKEN": VALUE}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert secret not in done.stderr and VALUE not in done.stderr
    assert done.stderr.count("mlflow.example.com") == 2 and f"WARNING mlflow.store: says {MASK}" in done.stderr
    assert f"UserWarning: says {MASK}" in done.stderr and f"ValueError: a thread says {MASK}" in done.stderr
    assert f"\nsays {MASK}\n" in done.stderr and "Logging error" in done.stderr
    assert "the uploader failed" in done.stderr and "Traceback" in done.stderr
