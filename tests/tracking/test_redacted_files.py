"""Text files lose their secrets, whatever they are called and encoded in; all others stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nertrail.records import Artifact
from nertrail.tracking import blobs
from nertrail.tracking.redacted_files import redact_bytes
from nertrail.tracking.redaction import MASK
from secret_texts import CORPUS, SHAPES, params

TOKEN = "hf_" + "a1B2" * 8
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize("name", ["log.txt", "config.yaml", "train.log", "setup.cfg", "notes.md", ".env", "run.sh"])
@params(CORPUS)
def test_text_files_are_clean(text: str, secret: str, name: str) -> None:
    clean = redact_bytes(name, f"ä {text}".encode())
    assert secret.encode() not in clean and clean.startswith("ä ".encode())


@pytest.mark.parametrize(
    "name",
    [
        "job.out", "job.err", "report.html", "a.xml", "a.ipynb", "a.tsv", "a.properties", "Dockerfile", ".netrc",
        "TRAIN.LOG", "Config.YAML", "config.yaml.bak", "train.log.1", "train.log.2026-01-01", "notes.txt~",
        ".env.local",
    ],
)  # fmt: skip
def test_text_has_many_names(name: str) -> None:
    assert redact_bytes(name, f"with {TOKEN}\n".encode()) == f"with {MASK}\n".encode()


@params(SHAPES)
def test_json_loses_what_has_the_shape_of_a_secret(text: str, secret: str) -> None:
    assert secret.encode() not in redact_bytes("config.json", text.encode())


@params(SHAPES)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ipynb"])
def test_json_stays_json(text: str, secret: str, name: str) -> None:
    content = json.dumps({"a": [text, {"b": f"ä\n{text}"}], text: 1.50, "c": "end"})
    clean = redact_bytes(name, f"{content}\n".encode())
    assert secret not in clean.decode() and json.loads(clean)["c"] == "end" and b": 1.5" in clean


def test_a_bad_line_of_json_lines_hides_no_other() -> None:
    lines = [json.dumps({"a": TOKEN}), '{"torn": "' + TOKEN, json.dumps({"a": f"x {TOKEN}"})]
    clean = redact_bytes("a.jsonl", "\n".join(lines).encode()).decode().split("\n")
    assert [json.loads(clean[0]), json.loads(clean[2])] == [{"a": MASK}, {"a": f"x {MASK}"}]
    assert clean[1] == '{"torn": "' + MASK


def test_a_secret_variable_leaves_json_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", 'quo"ted n1234')
    clean = redact_bytes("a.json", json.dumps({"a": 'with quo"ted n1234', "b": "\n1234"}).encode())
    assert json.loads(clean) == {"a": f"with {MASK}", "b": "\n1234"}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_text_in_other_encodings_is_clean_and_else_the_same(encoding: str) -> None:
    content = f"Müller {TOKEN} Größe\n".encode(encoding)
    assert redact_bytes("train.log", content) == f"Müller {MASK} Größe\n".encode(encoding)


def test_big_endian_and_cut_off_text_is_clean() -> None:
    content = b"\xfe\xff" + f"a {TOKEN} b".encode("utf-16-be") + b"\0"
    assert redact_bytes("train.log", content) == b"\xfe\xff" + f"a {MASK} b".encode("utf-16-be") + b"\0"


def test_one_byte_of_no_encoding_switches_nothing_off() -> None:
    assert redact_bytes("train.log", b"\xff\x80 " + TOKEN.encode() + b" \xc3") == b"\xff\x80 [redacted] \xc3"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", TOKEN.encode()),
        ("config.json", b'{"pad_token": "[PAD]", "api_key": "in-a-template-only"}'),
        ("model.safetensors", TOKEN.encode()),
        ("model.onnx", TOKEN.encode()),
        ("plot.png", PNG + TOKEN.encode()),
        ("weights", PNG + TOKEN.encode()),
        ("train.log", b"\0" + TOKEN.encode()),
        ("latin.txt", b"\xff\xfe"),
        ("latin.txt", "Müller".encode("latin-1")),
    ],
)
def test_files_that_must_not_change_do_not(name: str, content: bytes) -> None:
    assert redact_bytes(name, content) == content


def test_a_long_log_is_clean_too(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("step\n" * 250_000 + TOKEN)
    described = blobs.store(tmp_path / "blobs", Artifact(tmp_path / "train.log", "train.log"))
    assert b"a1B2a1B2" not in (tmp_path / "blobs" / described["files"][0]["sha256"]).read_bytes()
