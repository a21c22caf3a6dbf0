"""No secret reaches the disk: a corpus of secrets, put wherever a record can hold text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.records import Artifact, DatasetInput, RunRecord, RunRef
from nertrail.tracking import redaction
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.redaction import MASK, redact, redact_record, without_password
from secret_texts import CORPUS, SHAPES, VALUE, params


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
        "token classification/fine-tuning",
        "a basic bidirectional-transformer, basic bert-base-multilingual-cased-v2",
        "sk-learn-baseline-conll2003",
        "sk-SK-wikiann-bert-multilingual",
        "pypi-package-index-mirror-2024",
        "PWD=/home/me/project",
        "the password: unknown to all",
        "says of the password: nothing at all",
        "secret: <not set at all>",
        "Enter password:\nLoading the model",
        "token: COVID-19, token: Hamburg, token=Amsterdam-Noord",
        "id_token=[CLS][SEP] --mask-token <mask> --max-tokens 1024 --auth basic",
        "sig=0.0123456",
        "password = getpass.getpass('?')",
        "secrets = environment_secrets(), token = self._token_of_it",
        "def f(secrets: tuple[str, ...], credentials: dict[str, str]): ...",
        "password: ${DB_PASSWORD}",
        "Authorization: required",
        "https://localhost:5000/x,me@example.org",
        "https://h:8080?mail=a@b",
        "http://h:8080,http://x/y@z",
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


@pytest.mark.parametrize("name", ["MY_SERVICE_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "azure_client_secret"])
def test_the_value_of_a_secret_variable_is_nowhere_on_the_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, VALUE)
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart("u", f"run {VALUE}", VALUE, 1, {"t": f"with {VALUE} in it"}))
    journal.log("u", RunRecord({"url": "https://h/?q=correct-horse%2Fbattery"}, {}, {"t": VALUE}), 2)
    assert b"correct-horse" not in written(tmp_path / "run")


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


def test_the_text_under_a_secret_name_goes_altogether() -> None:
    values = {"api_key": "x", "hub_token": "y", "mlflow/password": "z", "n_token": 3, "token_type": "word", "note": "a"}
    record = redact_record(RunRecord(params=values))
    masked = {"api_key": MASK, "hub_token": MASK, "mlflow/password": MASK}
    assert record.params == {**values, **masked}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (["https://bob:hunter22@h/"], "['https://[redacted]@h/']"),
        (("https://bob:hunter22@h/", 1), "('https://[redacted]@h/', 1)"),
        ({"HF_TOKEN": "hunter", "mask_token": "a"}, "{'HF_TOKEN': '[redacted]', 'mask_token': 'a'}"),
        ({"a": [{"password": ["hunter22"], "n": 1}]}, "{'a': [{'password': '[redacted]', 'n': 1}]}"),
        (ValueError("https://bob:hunter22@h"), "https://[redacted]@h"),
        (PurePosixPath("/a/password=hunter22/b"), "/a/password=[redacted]"),
    ],
)
def test_what_is_no_text_is_clean_once_it_is_one(value: Any, shown: str, tmp_path: Path) -> None:
    assert redaction.redact_values({"p": value, "q": 1}, ()) == {"p": shown, "q": 1}
    journal = JournalBackend(tmp_path / "run")
    journal.start(RunStart("u", "r", "e", 1, {"t": value}))
    journal.log("u", RunRecord({"p": value}, tags={"t": value}), 2)
    assert b"hunter" not in written(tmp_path / "run") and b"redacted" in written(tmp_path / "run")


def test_numbers_and_references_stay_what_they_are() -> None:
    values = {"a": 1, "b": 0.5, "c": True, "d": None, "e": RunRef("u"), "f": (RunRef("u"), RunRef("v")), "password": 3}
    assert redaction.redact_values(values, ()) == values


def test_a_list_that_holds_itself_ends() -> None:
    values: list[Any] = ["hf_" + "a1B2" * 8]
    values.append(values)
    assert "a1B2" not in str(redaction.redact_values({"p": values}, ())["p"])


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("https://me:pw@host/x", "https://host/x"),
        ("https://me:p@w@host/x", "https://host/x"),
        ("https://me:p?w@host/x?y=1", "https://host/x"),
        ("https://host:5000/a@b", "https://host:5000/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("sqlite:////a/b:c@d.db?timeout=3", "sqlite:////a/b:c@d.db?timeout=3"),
        ("file:///tmp/a:b@c", "file:///tmp/a:b@c"),
        ("postgresql://u:pa/ss@host/db", "postgresql://host/db"),
        ("postgresql://u:pa/ss@host/db?sslmode=require&a=b@c", "postgresql://host/db?sslmode=require&a=b@c"),
        ("postgresql://host/db?user=u&password=pw&sslmode=require", "postgresql://host/db?user=u&sslmode=require"),
        ("postgresql:///db?sslpassword=pw", "postgresql:///db"),
        (
            "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3D%7Bp%3Bw%7D%3BDATABASE%3Da",
            "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BDATABASE%3Da",
        ),
    ],
)
def test_a_uri_without_its_password(uri: str, clean: str) -> None:
    assert without_password(uri) == clean and without_password(clean) == clean


def test_two_databases_of_one_odbc_server_are_two_destinations() -> None:
    uris = [f"mssql+pyodbc:///?odbc_connect=DATABASE%3D{name}%3BPWD%3Dpw" for name in "ab"]
    assert len({without_password(uri) for uri in uris}) == 2


PIECES = (
    "a.", "://a:", "://a:b/@", "eyJaaaaaaaa-", "eyJaaaaaaaa.a.", "SG.aaaaaaaaaaaaaaaaaa-", "-----BEGIN A ", "pwd=/",
    "token=[A]", "token=a.a", "password='", '"\\"', "password=", "--password ", "curl -u a", "login a ",
    "authorization: basic ", "%3A%2F%2Fa%3A", "?sig=", "key: |\n", "sk-a", "aa8Q~", "password:{", " ", "\\",
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_no_text_takes_long(piece: str) -> None:
    """Were one pattern quadratic, this would take minutes."""
    text = piece * (1_000_000 // len(piece)) + " http://x"
    redact(text)
    without_password(f"postgresql://h{text}")


def test_names_that_come_with_every_step_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    shapes: Callable[[str, tuple[str, ...]], str] = redaction.without_shapes
    monkeypatch.setattr(redaction, "without_shapes", lambda text, secrets: seen.append(text) or shapes(text, secrets))
    for step in range(5):
        redaction.redact_point(Point("a metric of some length", 1.0, step, 1))
    assert len(seen) <= 1


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
