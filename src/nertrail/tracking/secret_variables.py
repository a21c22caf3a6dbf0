"""Knows the secrets among the environment's variables."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PWD|PASS|API_?KEY|ACCESS_?KEY|ACCOUNT_?KEY|SECRET_?KEY|CREDENTIALS?"
    r"|PRIVATE_?KEY|PASSPHRASE|CONNECTION_?STRING)(?:_|$)",
    re.IGNORECASE,
)
_NO_SECRET_VARIABLES = re.compile(
    r"PWD|OLDPWD|.*_(?:NAME|FILE|PATH|DIR|BUDGET|LIMIT|COUNT|SIZE|TYPE|LENGTH|TTL|TIMEOUT|ENABLED|PARALLELISM|PROVIDER"
    r"|BACKEND|VERSION|REGION|HOST|PORT|MODE|POLICY|ARN)",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[0-9.,:_+\-eE%]+")
# words that our own tags hold, and such as passwords for trying out are made of: they occur in ordinary text
_COMMON = {
    "training", "benchmark", "selection", "conversion", "pipeline", "finished", "benchmarking", "continued",
    "development", "production", "staging", "localhost", "disabled", "enabled", "required", "optional", "postgres",
    "password", "changeme", "undefined", "falsefalse", "truetrue",
}  # fmt: skip


class Environment:
    """Remembers the secrets as long as no variable changes: to compare all is much cheaper than to look at each."""

    def __init__(self) -> None:
        self._known: tuple[Any, tuple[str, ...]] = (None, ())

    def secrets(self) -> tuple[str, ...]:
        """The values that are secret, longest first."""
        raw = getattr(os.environ, "_data", None)  # CPython's dict behind it; without it, nothing is remembered
        seen, secrets = self._known
        if raw is None or raw != seen:
            seen = dict(raw) if raw is not None else None
            secrets = secrets_in(os.environ)
            self._known = (seen, secrets)  # at once, for other threads
        return secrets


def secrets_in(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values, also as they stand in a URL and in JSON, longest first."""
    named = [variables.get(name, "") for name in variables if _is_secret_variable(name)]
    kept = {value for value in named if _is_telling(value) and not _is_path(value)}
    written = {form for value in kept for form in (value, quote(value, safe=""), json.dumps(value)[1:-1])}
    return tuple(sorted(written, key=len, reverse=True))


@functools.lru_cache(maxsize=4096)
def _is_secret_variable(name: str) -> bool:
    return not _NO_SECRET_VARIABLES.fullmatch(name) and _SECRET_VARIABLE.search(name) is not None


def _is_telling(value: str) -> bool:
    """Short words ("true", "dev") and numbers occur in ordinary text: to take them out would spoil it."""
    if _NUMBERS.fullmatch(value) or value.lower() in _COMMON:
        return False
    return len(value) >= 8 or (len(value) >= 6 and not value.isalpha())


def _is_path(value: str) -> bool:
    """Whether it names a file: one that is there, or one below a folder of the root that is there."""
    if value.startswith(("~/", "./", "../")):
        return True
    root = "/".join(value.split("/")[:2]) if value.count("/") > 1 else ""
    return os.path.exists(value) or (value.startswith("/") and os.path.exists(root))  # noqa: PTH110
