"""Takes secrets out of text before it is written anywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from nertrail.records import RunRecord
from nertrail.tracking.protocol import RunStart

MASK = "[redacted]"
_TEXT_SUFFIXES = (".txt", ".log", ".yaml", ".yml")
_TEXT_BYTES = 1_000_000
_SHORTEST_SECRET = 8  # shorter values of secret variables ("true", "dev") occur in ordinary text
_V = TypeVar("_V")

_TOKENS = re.compile(
    r"hf_[A-Za-z0-9]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,}"
    r"|sk-[A-Za-z0-9_\-]{20,}|xox[abprs]-[A-Za-z0-9\-]{10,}|dapi[0-9a-f]{32}"
    r"|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{35}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_\-]{20,}"
    r"|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+"
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_URL = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.\-]*://)[^\s/:@'\"]*:[^\s/@'\"]+@")
_NAMED = re.compile(
    r"((?:password|passwd|secret|api_?key|access_?key|account_?key|auth_?token|access_?token|sig)['\"]?\s*[=:]\s*['\"]?)"
    r"[^\s'\",;&]{6,}",
    re.IGNORECASE,
)
_BEARER = re.compile(r"((?:bearer|basic)\s+)[A-Za-z0-9+/._~\-]{16,}=*", re.IGNORECASE)
_SECRET_KEY = re.compile(
    r"(?:^|[_.\-])(?:password|passwd|secret|credentials?|api_?key|access_?key|account_?key|private_?key|token)$",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE_?KEY", re.IGNORECASE
)


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without tokens, passwords in URLs, private keys and the given secret values."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = _TOKENS.sub(MASK, text)
    if "://" in text:
        text = _URL.sub(rf"\1{MASK}@", text)
    if "-----BEGIN" in text:
        text = _PEM.sub(MASK, text)
    return _BEARER.sub(rf"\1{MASK}", _NAMED.sub(rf"\1{MASK}", text))


def environment_secrets() -> tuple[str, ...]:
    """The values of environment variables whose names say that they are secret, longest first."""
    found = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    kept = (value for value in found if len(value) >= _SHORTEST_SECRET and not os.path.exists(value))  # noqa: PTH110
    return tuple(sorted(kept, key=len, reverse=True))


def redact_record(record: RunRecord) -> RunRecord:
    """The record with clean params and tags; artifacts are cleaned where they are copied."""
    secrets = environment_secrets()
    params, tags = redact_values(record.params, secrets), redact_values(record.tags, secrets)
    datasets = tuple(replace(dataset, source=redact(dataset.source, secrets)) for dataset in record.datasets)
    return RunRecord(params, record.metrics, tags, record.artifacts, datasets)


def redact_start(run: RunStart) -> RunStart:
    """The start of a run with clean names and tags."""
    secrets = environment_secrets()
    names = redact(run.name, secrets), redact(run.experiment, secrets)
    return RunStart(run.uid, *names, run.start_ms, redact_values(run.tags, secrets))


def redact_values(values: Mapping[str, _V], secrets: tuple[str, ...]) -> dict[str, _V | str]:
    """The values with clean texts; the text under a secret's name goes altogether."""
    return {key: _clean(key, value, secrets) for key, value in values.items()}


def redact_bytes(name: str, content: bytes) -> bytes:
    """The content of a text file without secrets; any other file, and a big one, as it is.

    JSON is left alone: tokenizers and labels are JSON, and a changed vocabulary would be worse than a leak is likely.
    """
    if not name.endswith(_TEXT_SUFFIXES) or len(content) > _TEXT_BYTES:
        return content
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    return redact(text, environment_secrets()).encode("utf-8")


def _clean(key: str, value: _V, secrets: tuple[str, ...]) -> _V | str:
    if not isinstance(value, str):
        return value
    return MASK if value and _SECRET_KEY.search(key) else redact(value, secrets)


def without_password(uri: str) -> str:
    """The URI with its user and password taken out: what may be written down."""
    return re.sub(r"(://)[^/@]*@", r"\1", uri)
