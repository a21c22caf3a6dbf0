"""Takes secrets out of text files, whatever their encoding, and leaves all other files as they are, to the byte."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from pathlib import PurePath

from nertrail.tracking.redaction import environment_secrets, redact
from nertrail.tracking.secret_shapes import without_shapes

_JSON_SUFFIXES = {".json", ".jsonl", ".ndjson", ".geojson"}
_TEXT_SUFFIXES = _JSON_SUFFIXES | {
    "", ".txt", ".log", ".out", ".err", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".cnf", ".conf", ".config", ".env",
    ".properties", ".md", ".rst", ".csv", ".tsv", ".html", ".htm", ".xml", ".ipynb", ".py", ".sh", ".bash", ".zsh",
    ".ps1", ".bat", ".sql", ".js", ".ts", ".r", ".diff", ".patch", ".pem", ".key", ".trace", ".stdout", ".stderr",
    ".tf", ".tfvars", ".service", ".j2",
}  # fmt: skip
_COPY = re.compile(r"(?:\.(?:bak|old|orig|save|tmp|local|sample|example|[0-9\-]+)|~)+$")  # config.yaml.bak, train.log.1
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json", "label_map.json")
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_BINARY_BYTES = 1024  # a NUL in so many first bytes is in no text
_STRING = re.compile(r'"(?:[^"\\\n]++|\\[^\n])*+"?')


def is_text(name: str) -> bool:
    """Whether a file of this name is looked through for secrets."""
    return name not in _VOCABULARIES and _suffix(name) in _TEXT_SUFFIXES


def redact_bytes(name: str, content: bytes) -> bytes:
    """The content of a text file without secrets; any other file as it is.

    Of JSON only what has the shape of a secret goes, and nothing of vocabularies: a changed one would be worse than a
    leak there is likely. What was JSON stays JSON.
    """
    if not is_text(name):
        return content
    encoding = _UTF16.get(content[:2])
    if encoding:
        return content[:2] + _redacted(name, content[2:], encoding, "surrogatepass")
    return content if b"\0" in content[:_BINARY_BYTES] else _redacted(name, content, "utf-8", "surrogateescape")


def _redacted(name: str, content: bytes, encoding: str, errors: str) -> bytes:
    """Bytes of no meaning in this encoding (a name in Latin-1, say) pass through as they are."""
    whole = len(content) if encoding == "utf-8" else len(content) & ~1
    text = content[:whole].decode(encoding, errors)
    clean = _clean(_suffix(name), text)
    return content if clean == text else clean.encode(encoding, errors) + content[whole:]


def _suffix(name: str) -> str:
    return PurePath(_COPY.sub("", name.lower())).suffix


def _clean(suffix: str, text: str) -> str:
    secrets = environment_secrets()
    if suffix in _JSON_SUFFIXES:
        return _of_json(text, lambda part: without_shapes(part, secrets), by_line=suffix in (".jsonl", ".ndjson"))
    if suffix == ".ipynb":
        return _of_json(text, lambda part: redact(part, secrets), by_line=False)
    return redact(text, secrets)


def _of_json(text: str, clean: Callable[[str], str], *, by_line: bool) -> str:
    """The text with every string in it cleaned; what is no JSON is cleaned as a whole."""
    if clean(text) == text:
        return text
    parts = re.findall(r"[^\n]*\n|[^\n]+", text) if by_line else [text]
    return "".join(_of_strings(part, clean) if _is_json(part) else clean(part) for part in parts)


def _of_strings(text: str, clean: Callable[[str], str]) -> str:
    return _STRING.sub(lambda literal: _cleaned(literal[0], clean), text)


def _cleaned(literal: str, clean: Callable[[str], str]) -> str:
    says = json.loads(literal, strict=False)
    cleaned = clean(says)
    return literal if cleaned == says else json.dumps(cleaned)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
