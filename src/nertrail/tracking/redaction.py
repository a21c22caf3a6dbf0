"""Takes secrets out of text before it is written anywhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from nertrail.records import RunRecord, RunRef
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.secret_names import (
    WORDS,
    Kind,
    is_innocent,
    is_secret,
    is_secret_in_text,
    kind_of,
)
from nertrail.tracking.secret_shapes import MASK, has_token, without_shapes
from nertrail.tracking.secret_variables import Environment

__all__ = [
    "MASK", "clean_name", "environment_secrets", "redact", "redact_point", "redact_record", "redact_start",
    "redact_values", "without_password",
]  # fmt: skip
_SHORT_NAME = 12  # no name of this length or less is a secret
_WORD = 8  # an alphabetic value shorter than this may be a word
_DEEP = 8  # containers below so many others are looked at as text; also those that hold themselves
_LOOK = 80  # so many characters of a value tell whether it is a secret: what is none is not read time and again
_V = TypeVar("_V")

_HEAD = re.compile(r"(?<![\w\-])([\w\-]++)(?:\\?['\"])?+[ \t]*+[=:][ \t]*+(?:b?(\\?['\"]))?")
_VALUES = {  # by the quote before it; JSON within JSON writes \"
    None: re.compile(r"\{[^{}\n]*\}|[^\s'\",;&]{6,}"),
    "'": re.compile(r"(?:[^'\\\n]|\\.){4,}+"),
    '"': re.compile(r'(?:[^"\\\n]|\\.){4,}+'),
    "\\'": re.compile(r"[^'\\\n]{4,}"),
    '\\"': re.compile(r'[^"\\\n]{4,}'),
}
# a word that is there whenever the pattern fits (in lower case) → the pattern: what stays, and the secret's `value`
_PHRASES = (
    (
        "authorization",
        re.compile(
            r"(authorization(?:\\?['\"])?[ \t]*+[=:][ \t]*+(?:\\?['\"])?"
            r"(?:(?:bearer|basic|token|digest|apikey)[ \t]++)?)"
            r"(?P<value>[^\s'\"\\,;]{4,})",
            re.IGNORECASE,
        ),
    ),
    ("bearer", re.compile(r"(\bbearer\s++)(?P<value>(?=\S*[0-9])[A-Za-z0-9+/._~\-]{16,}=*)", re.IGNORECASE)),
    (
        "basic",  # base64, in which letters of both cases are; names of models hold hyphens
        re.compile(
            r"(\b[Bb](?:asic|ASIC)\s++)(?P<value>(?=\S*[A-Z])(?=\S*[0-9]|\S*=)[A-Za-z0-9+/]{12,}={0,2})(?![\w\-.])"
        ),
    ),
    ("token", re.compile(r"(\btoken\s++)(?P<value>(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}=*)", re.IGNORECASE)),
    ("curl", re.compile(r"(\bcurl\b[^\n]{0,300}?\s(?:-u|--user)[ =]?['\"]?[^\s:'\"]{1,99}:)(?P<value>[^\s'\"]++)")),
    ("password", re.compile(r"(\blogin\s++\S++\s++password\s++)(?P<value>\S++)")),  # .netrc
)
_FLAG = re.compile(
    r"(?<![\w\-])--([A-Za-z][\w\-]*+)(?:['\"],?[ \t]++['\"]?|[ \t]++['\"]?)(?P<value>[^\s'\"\-][^\s'\"]{3,})"
)
_ODBC_PASSWORD = re.compile(r"(?:^|(?<=;))\s*(?:pwd|password|accesstoken)\s*=\s*(?:\{[^}]*\}|[^;]*);?", re.IGNORECASE)
_HINTS = (*WORDS, *dict.fromkeys(word for word, _ in _PHRASES if not any(known in word for known in WORDS)))
_SIGNS = (*_HINTS, "\\", "://", "2f%2f", "-----begin")  # without one of them there are only tokens to look for
_NO_PORT = r"(?![0-9]{1,5}(?:[/?#]|$))"  # behind a host, digits and / are a port and a path
_USERS = tuple(re.compile(user) for user in (r"[^/]*@", rf"[^/@:\[]+:{_NO_PORT}[^?]*@", rf"[^/@:\[]+:{_NO_PORT}.*@"))

_environment = Environment()


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without tokens, passwords in URLs, private keys and the given secret values."""
    text = without_shapes(text, secrets)
    small = text.lower()
    if not any(word in small for word in _HINTS):
        return text
    for word, phrase in _PHRASES:
        if word in small:
            text = phrase.sub(_masked, text)
    return _without_named(_FLAG.sub(_masked_flag, text) if "--" in text else text)


def environment_secrets() -> tuple[str, ...]:
    """The values of environment variables whose names say that they are secret, longest first.

    As they are and as they stand in a URL and in JSON.
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
    """The values with clean names and texts; the text under a secret's name goes altogether.

    Numbers and references stay as they are; whatever else is no text becomes one.
    """
    plain = _is_plain("\n".join(value for value in values.values() if isinstance(value, str)), secrets)
    return {
        clean_name(key): value
        if (plain and not kind_of(key) if isinstance(value, str) else _is_data(value))
        else _clean(key, value, secrets)
        for key, value in values.items()
    }


@functools.lru_cache(maxsize=4096)  # the same few names come with every step
def clean_name(name: str) -> str:
    """The name of a param, tag or metric without tokens."""
    return name if len(name) <= _SHORT_NAME else without_shapes(name, ())


def without_password(uri: str) -> str:
    """The URI with its user and password, and what a server is asked beside them, taken out: what may be written."""
    uri = _without_user(uri)
    place, sign, query = uri.partition("?")
    if uri.startswith(("http://", "https://")) or not sign:
        return place
    kept = [part for part in map(_without_odbc_password, query.split("&")) if not _is_secret_part(part)]
    return f"{place}?{'&'.join(kept)}" if kept else place


def _without_user(uri: str) -> str:
    """Of what stands before @. A password may hold what it should not: `/`, `?` and `@`."""
    scheme, sign, place = uri.partition("://")
    found = next(filter(None, (user.match(place) for user in _USERS)), None)
    return f"{scheme}{sign}{place[found.end() :]}" if found else uri


def _is_secret_part(part: str) -> bool:
    name, _, value = part.partition("=")
    return is_secret(unquote(name), value)


def _without_odbc_password(part: str) -> str:
    """A connection string within the query names the database, too: of it, only the password goes."""
    name, _, value = part.partition("=")
    if name.lower() != "odbc_connect":
        return part
    says = unquote(value.replace("+", " "))
    clean = _ODBC_PASSWORD.sub("", says)
    return part if clean == says else f"{name}={quote(clean, safe='')}"


def _masked(found: re.Match[str]) -> str:
    return found[0] if is_innocent(found["value"]) else f"{found[1]}{MASK}"


def _masked_flag(found: re.Match[str]) -> str:
    if not is_secret(found[1], found["value"]):
        return found[0]
    return f"{found[0][: found.start('value') - found.start()]}{MASK}"


def _without_named(text: str) -> str:
    """The text without what stands behind a name that says it is secret."""
    parts, at = [], 0
    for head in _HEAD.finditer(text):
        if head.start() < at or not kind_of(head[1]):
            continue
        begin, pattern = head.end(), _VALUES[head[2]]
        value = pattern.match(text, begin, begin + _LOOK)
        if value is not None and is_secret_in_text(head[1], value[0], prose=_is_prose(text, head, value[0])):
            parts += [text[at:begin], MASK]
            at = (pattern.match(text, begin) or value).end()
    return "".join((*parts, text[at:])) if parts else text


def _is_prose(text: str, head: re.Match[str], value: str) -> bool:
    """Whether a short word stands where words go on, as in "says of the password: nothing at all"."""
    before = text[max(head.start() - 2, 0) : head.start()]
    short = len(value) < _WORD and value.isalpha() and value.islower()
    return short and before[:1].islower() and before.endswith(" ") and ":" in head[0]


def _is_data(value: Any) -> bool:
    """Whether it stays what it is: a number, a reference to a run, nothing."""
    if value is None or isinstance(value, (int, float, RunRef)):
        return True
    return isinstance(value, tuple) and all(isinstance(part, RunRef) for part in value)


def _clean(key: str, value: Any, secrets: tuple[str, ...]) -> str:
    text = value if isinstance(value, str) else str(_walked(value, secrets))
    named = is_secret(key, text) if isinstance(value, str) else kind_of(key) is Kind.SECRET
    return MASK if named and text else redact(text, secrets)


def _walked(value: Any, secrets: tuple[str, ...], depth: int = 0) -> Any:
    """The same dicts and lists with clean texts in them, by the names they have there."""
    if depth > _DEEP or _is_data(value):
        return value
    if isinstance(value, str):
        return redact(value, secrets)
    if type(value) is dict:
        return {key: _under(str(key), part, secrets, depth) for key, part in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_walked(part, secrets, depth + 1) for part in value)
    return value


def _under(key: str, value: Any, secrets: tuple[str, ...], depth: int) -> Any:
    if isinstance(value, str):
        return MASK if value and is_secret(key, value) else redact(value, secrets)
    return MASK if kind_of(key) is Kind.SECRET and not _is_data(value) else _walked(value, secrets, depth + 1)


def _is_plain(text: str, secrets: tuple[str, ...]) -> bool:
    """Whether nothing in the text could be changed by `redact`: one look at many values at once. In doubt, no."""
    small = text.lower()
    if not text.isascii():  # in ASCII, lower case is all that ignoring case means
        return False
    for sign in _SIGNS:  # a plain loop takes half the time of any()
        if sign in small:
            return False
    return not any(secret in text for secret in secrets) and not has_token(text)
