"""Tells by its name, and by its look, whether a value is a secret. Names of an NER tool are full of harmless tokens."""

from __future__ import annotations

import functools
import re
from enum import IntEnum

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
WORDS = ("pass", "pwd", "secret", "cred", "key", "token", "auth", "sig", "conn")  # one is in every such name
_ALONE = {"password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "credential", "credentials"}
_ENDINGS = (
    "password", "passwords", "passwd", "passphrase", "secret", "apikey", "accesskey", "secretkey", "privatekey",
    "accountkey", "authtoken", "accesstoken", "apitoken", "hftoken", "hubtoken", "connectionstring", "accesssignature",
)  # fmt: skip
_ACCOUNTS = {
    "db", "database", "user", "admin", "root", "login", "auth", "smtp", "mail", "ftp", "ssh", "redis", "postgres", "pg",
    "mysql", "sql", "mongo", "ldap", "proxy", "http", "https", "my",
}  # fmt: skip
_KEYS = {
    "api", "access", "secret", "private", "account", "shared", "encryption", "signing", "ssh", "storage",
    "subscription", "master", "auth", "client", "service", "hf", "wandb", "openai", "azure", "aws",
}  # fmt: skip
_TOKENS = {"api", "auth", "access", "refresh", "session", "hub", "hf", "bearer"}
_MODEL_TOKENS = {
    "pad", "padding", "mask", "eos", "bos", "unk", "unknown", "cls", "sep", "oov", "eot", "eod", "eol", "fim",
    "special", "additional", "prefix", "suffix", "middle", "image", "audio", "video", "start", "end", "begin", "stop",
    "first", "last", "next", "sub", "word", "new", "added", "forced", "class", "blank", "space", "split", "join",
    "separator",
    "entity", "outside", "ignore", "per", "by", "of", "max", "min", "n", "num", "decoder", "type",
}  # fmt: skip
_INNOCENT = {
    "", "none", "null", "nil", "true", "false", "yes", "no", "on", "off", "str", "string", "bool", "optional",
    "unknown", "missing", "required", "invalid", "incorrect", "wrong", "expired", "unset", "default", "basic", "bearer",
    "token", "digest", "negotiate", "kerberos", "disabled", "enabled", "hidden", "redacted",
}  # fmt: skip
_PLACEHOLDER = re.compile(
    r"<.*|(?:\[\w+\])+|\[redacted\].*|\$\{?[A-Z][A-Z0-9_]*\}?|\{\{.*|\{[A-Za-z_]*\}?|%\(\w+\)s|\*+|\.+"
    r"|[0-9]*\.[0-9]+|[A-Za-z_]\w*(?:\.\w+)+[(\[].*|\w+\(\)|[a-z_]+_[a-z_]*\(.*|self\.\w+"  # a share, code
    r"|(?:tuple|dict|list|set|frozenset|Mapping|Sequence|Iterable|Optional|Callable)\[.*",  # types in it
    re.DOTALL,
)
_RANDOM = re.compile(r"[A-Za-z][0-9]+[A-Za-z]|[0-9][A-Za-z]+[0-9]")
_PATH = re.compile(r"[~.]{0,2}/|[A-Za-z]:\\")


class Kind(IntEnum):
    """What a name says of the value below it."""

    HARMLESS = 0
    LIKELY = 1  # "token", which may be one of a text: in running text, only what looks random is a secret
    SECRET = 2


@functools.lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind:
    """Whether a value of this name is secret: of a param, a tag, a flag, or before `=` and `:` in a text."""
    small = name.lower()
    if not any(word in small for word in WORDS):
        return Kind.HARMLESS
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    return _kind(words[-1], words[:-1]) if words else Kind.HARMLESS


def is_secret(name: str, value: str) -> bool:
    """Whether the value of a param, tag or flag of this name is a secret."""
    return kind_of(name) is not Kind.HARMLESS and not is_innocent(value) and not _is_folder(name, value)


def is_secret_in_text(name: str, value: str, *, prose: bool = False) -> bool:
    """Whether what stands behind `name=` or `name:` is a secret; in `prose`, or as a token, if it looks random."""
    if not is_secret(name, value):
        return False
    assigned = kind_of(name) is Kind.SECRET or (name.isupper() and "_" in name)  # as in WANDB_TOKEN=...
    return looks_random(value) if prose or not assigned else True


def is_innocent(value: str) -> bool:
    """Whether it is a placeholder or a word that says something of a secret instead of being one."""
    return value.lower().rstrip(".,!)") in _INNOCENT or _PLACEHOLDER.fullmatch(value) is not None


def looks_random(value: str) -> bool:
    """Whether letters and digits alternate, as in no word: COVID-19 is one."""
    if len(value) >= 16 and re.search("[0-9]", value) and re.search("[A-Za-z]", value):
        return True
    return len(value) >= 8 and _RANDOM.search(value) is not None


def _is_folder(name: str, value: str) -> bool:
    return name.lower().endswith("pwd") and _PATH.match(value) is not None


def _kind(last: str, before: list[str]) -> Kind:
    previous = before[-1] if before else ""
    if last in _ALONE or last.endswith(_ENDINGS):
        return Kind.SECRET
    if last == "pass":
        return Kind.SECRET if previous in _ACCOUNTS else Kind.HARMLESS
    if last in ("key", "keys"):
        return Kind.SECRET if previous in _KEYS else Kind.HARMLESS
    if last in ("string", "str"):
        return Kind.SECRET if previous in ("connection", "conn") else Kind.HARMLESS
    if last in ("token", "tokens"):
        return _kind_of_token(previous, plural=last == "tokens")
    if last == "signature":
        return Kind.SECRET if previous in ("amz", "goog", "access") else Kind.HARMLESS
    return Kind.LIKELY if last in ("auth", "authorization", "sig") else Kind.HARMLESS


def _kind_of_token(previous: str, *, plural: bool) -> Kind:
    if previous in _TOKENS:
        return Kind.SECRET
    return Kind.HARMLESS if plural or previous in _MODEL_TOKENS else Kind.LIKELY
