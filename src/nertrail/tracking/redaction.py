"""Takes secrets out of text before it is written anywhere."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

from nertrail.records import RunRecord
from nertrail.tracking.protocol import Point, RunStart

MASK = "[redacted]"
_TEXT_SUFFIXES = (
    ".txt",
    ".log",
    ".yaml",
    ".yml",
    ".toml",
    ".ini",
    ".cfg",
    ".conf",
    ".env",
    ".md",
    ".csv",
    ".py",
    ".sh",
)
_JSON_SUFFIXES = (".json", ".jsonl")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json", "label_map.json")
_SHORT_NAME = 12  # no name of this length or less is a secret
_V = TypeVar("_V")

_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,}"
    r"|sk-[A-Za-z0-9_\-]{20,}|xox[abeprs]-[A-Za-z0-9\-]{10,}|dapi[0-9a-f]{32}"  # OpenAI and others, Slack, Databricks
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{35}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_\-]{20,}"
    r"|[A-Za-z0-9_~.\-]{3}8Q~[A-Za-z0-9_~.\-]{31,37}"  # a client secret of Azure
    r"|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+)"  # a JSON web token
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\Z)", re.DOTALL)
_URL = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.\-]*://)(?:[^\s/:@'\"]*:[^\s/'\"]+|[^\s/:@'\"]{20,})@")
_HEAD = re.compile(r"(?<![\w\-])([\w\-]++)['\"]?\s*+[=:]\s*+(?:b?['\"])?")
_SECRET_HEAD = re.compile(
    r"(?:password|passwd|pwd|secret|api_?key|access_?key|account_?key|shared_?key|(?:auth|access|session|refresh|hub|id)"
    r"_?token|(?:^|_)sig)$",
    re.IGNORECASE,
)
_NAME_END = re.compile(r"[dDgGnNtTyY]['\"]?\s*[=:]")  # the last letters of what `_SECRET_HEAD` knows
_VALUE = re.compile(r"(?!\[redacted\])[^\s'\",;&]{6,}")
_BEARER = re.compile(r"((?:bearer|basic|token)\s+)[A-Za-z0-9+/._~\-]{16,}=*", re.IGNORECASE)
_SECRET_KEY = re.compile(
    r"(?:^|[_.\-/])(?:password|passwd|pwd|secret|credentials?|api_?key|access_?key|account_?key|private_?key|token)$",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PWD|PASS|API_?KEY|ACCESS_?KEY|ACCOUNT_?KEY|SECRET_?KEY|CREDENTIALS?"
    r"|PRIVATE_?KEY|PASSPHRASE|CONNECTION_?STRING)(?:_|$)",
    re.IGNORECASE,
)
_NO_SECRET_VARIABLES = ("PWD", "OLDPWD")


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without tokens, passwords in URLs, private keys and the given secret values."""
    return _BEARER.sub(rf"\1{MASK}", _without_named(_shapes(text, secrets)))


def environment_secrets() -> tuple[str, ...]:
    """The values of environment variables whose names say that they are secret, longest first.

    As they are and as they stand in a URL.
    """
    return _environment.secrets()


def redact_record(record: RunRecord) -> RunRecord:
    """The record with clean names, params and tags; artifacts are cleaned where they are copied."""
    secrets = environment_secrets()
    params, tags = redact_values(record.params, secrets), redact_values(record.tags, secrets)
    metrics = {clean_name(key): value for key, value in record.metrics.items()}
    artifacts = tuple(replace(artifact, name=redact(artifact.name, secrets)) for artifact in record.artifacts)
    datasets = tuple(
        replace(dataset, name=redact(dataset.name, secrets), source=redact(dataset.source, secrets))
        for dataset in record.datasets
    )
    return RunRecord(params, metrics, tags, artifacts, datasets)


def redact_start(run: RunStart) -> RunStart:
    """The start of a run with clean names and tags."""
    secrets = environment_secrets()
    names = redact(run.name, secrets), redact(run.experiment, secrets)
    return RunStart(run.uid, *names, run.start_ms, redact_values(run.tags, secrets))


def redact_point(point: Point) -> Point:
    """The point under a clean name."""
    return point if len(point.key) <= _SHORT_NAME else point._replace(key=clean_name(point.key))


def redact_values(values: Mapping[str, _V], secrets: tuple[str, ...]) -> dict[str, _V | str]:
    """The values with clean names and texts; the text under a secret's name goes altogether."""
    plain = _is_plain("\n".join(value for value in values.values() if isinstance(value, str)), secrets)
    return {
        clean_name(key): value if plain and not _is_secret_key(key) else _clean(key, value, secrets)
        for key, value in values.items()
    }


@functools.lru_cache(maxsize=4096)  # the same few names come with every step
def clean_name(name: str) -> str:
    """The name of a param, tag or metric without tokens."""
    return name if len(name) <= _SHORT_NAME else _shapes(name, ())


def is_text(name: str) -> bool:
    """Whether a file of this name is looked through for secrets."""
    return name.endswith((*_TEXT_SUFFIXES, *_JSON_SUFFIXES)) and name not in _VOCABULARIES


def redact_bytes(name: str, content: bytes) -> bytes:
    """The content of a text file without secrets; any other file as it is.

    Of JSON only what has the shape of a secret goes, and nothing of vocabularies: a changed one would be worse than a
    leak there is likely.
    """
    return _redact_bytes(content, strict=name.endswith(_JSON_SUFFIXES)) if is_text(name) else content


def without_password(uri: str) -> str:
    """The URI with its user and password, and what a server is asked beside them, taken out: what may be written."""
    if uri.startswith(("http://", "https://")):
        uri = uri.partition("?")[0]
    return re.sub(r"(://)[^/]*@", r"\1", uri)


def _redact_bytes(content: bytes, *, strict: bool) -> bytes:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    secrets = environment_secrets()
    clean = _shapes(text, secrets) if strict else redact(text, secrets)
    return content if clean == text else clean.encode("utf-8")


def _shapes(text: str, secrets: tuple[str, ...]) -> str:
    """The text without what is a secret by its shape or its value."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = _TOKENS.sub(MASK, text)
    if "://" in text:
        text = _URL.sub(rf"\1{MASK}@", text)
    return _PEM.sub(MASK, text) if "-----BEGIN" in text else text


def _without_named(text: str) -> str:
    """The text without what stands behind a name that says it is secret."""
    parts, at = [], 0
    for head in _HEAD.finditer(text):
        value = _VALUE.match(text, head.end()) if head.start() >= at and _SECRET_HEAD.search(head[1]) else None
        if value is not None:
            parts += [text[at : head.end()], MASK]
            at = value.end()
    return "".join((*parts, text[at:])) if parts else text


def _clean(key: str, value: _V, secrets: tuple[str, ...]) -> _V | str:
    if not isinstance(value, str):
        return value
    return MASK if value and _is_secret_key(key) else redact(value, secrets)


@functools.lru_cache(maxsize=4096)
def _is_secret_key(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _is_plain(text: str, secrets: tuple[str, ...]) -> bool:
    """Whether nothing in the text could be changed by `redact`: one look at many values at once. In doubt, no."""
    small = text.lower()
    return (
        text.isascii()  # so that lower case is all that ignoring case means
        and not any(secret in text for secret in secrets)
        and not any(sign in text for sign in ("://", "-----BEGIN"))
        and not any(word in small for word in ("bearer", "basic", "token"))
        and not _NAME_END.search(text)
        and not _TOKENS.search(text)
    )


class _Environment:
    """Remembers the secrets as long as no variable changes: to compare all is much cheaper than to look at each."""

    def __init__(self) -> None:
        self._known: tuple[Any, tuple[str, ...]] = (None, ())

    def secrets(self) -> tuple[str, ...]:
        raw = getattr(os.environ, "_data", None)  # CPython's dict behind it; without it, nothing is remembered
        seen, secrets = self._known
        if raw is None or raw != seen:
            seen = dict(raw) if raw is not None else None
            secrets = _secrets_in(os.environ)
            self._known = (seen, secrets)  # at once, for other threads
        return secrets


_environment = _Environment()


def _secrets_in(variables: Mapping[str, str]) -> tuple[str, ...]:
    named = [variables.get(name, "") for name in variables if _is_secret_variable(name)]
    kept = {value for value in named if _is_telling(value) and not os.path.exists(value)}  # noqa: PTH110
    return tuple(sorted(kept | {quote(value, safe="") for value in kept}, key=len, reverse=True))


@functools.lru_cache(maxsize=4096)
def _is_secret_variable(name: str) -> bool:
    return name not in _NO_SECRET_VARIABLES and _SECRET_VARIABLE.search(name) is not None


def _is_telling(value: str) -> bool:
    """Short words ("true", "dev") and short numbers occur in ordinary text: to take them out would spoil it."""
    mixed = not value.isalpha() and not value.isdigit()
    return len(value) >= 8 or (len(value) >= 6 and mixed)
