"""Finds secrets by their shape: tokens of known services, private keys, passwords in URLs.

Every pattern takes time linear in the text, whatever stands in it: none can begin within what another try of it read,
or what it may read is bounded.
"""

from __future__ import annotations

import re

MASK = "[redacted]"
_FORMS = (
    r"(?:hf_(?:oauth_)?[A-Za-z0-9]{20,}|hf_oauth_[A-Za-z0-9_.\-]{16,}|api_org_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,}"
    r"|sk-(?:(?:proj|ant|or|svcacct|admin|service|lf)-[A-Za-z0-9_\-]{16,}|[A-Za-z0-9]{32,}"  # OpenAI and others
    r"|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,})"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}"  # Stripe, SendGrid
    r"|xox[abeprs]-[A-Za-z0-9\-]{10,}|dapi[0-9a-f]{32}"  # Slack, Databricks
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{35}|ya29\.[A-Za-z0-9_\-]{20,}|GOCSPX-[A-Za-z0-9_\-]{20,}"
    r"|npm_[A-Za-z0-9]{36}|pypi-Ag[A-Za-z0-9_\-]{20,}"
    r"|[A-Za-z0-9_~.\-]{3}8Q~[A-Za-z0-9_~.\-]{31,37}"  # a client secret of Azure
    r"|(?<![_\-])eyJ[A-Za-z0-9_\-]{8,}+\.[A-Za-z0-9_\-]{8,}+\.[A-Za-z0-9_\-]+)"  # a JSON web token
)
_TOKENS = re.compile(rf"(?<![A-Za-z0-9]){_FORMS}")
_TOKENS_OF_LINES = re.compile(rf"(?<=\\[nrt]){_FORMS}")  # in JSON, and where Python shows a text, a line begins with \n
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\Z)", re.DOTALL)
_URL = re.compile(
    r"(:(?:\\?/){2})(?:"  # JSON may write / as \/
    r"[^\s/:@'\"?#]*:(?![0-9]{1,5}[/?#,;)])[^\s/'\"]+"
    r"|[^\s/:@'\"?#]*:(?![0-9]{1,5}[/?#,;)])[^\s'\"\\]{1,128}"  # a password may hold a /
    r"|[^\s/:@'\"]{20,})@"
)
_QUOTED_URL = re.compile(r"(%3A%2F%2F)[^\s/'\"&%]*+%3A[^\s/'\"&]{1,128}?(?=%40)", re.IGNORECASE)
_QUERY = re.compile(
    r"((?:[?&]|&amp;|\\u0026)(?:x-(?:amz|goog)-(?:signature|security-token)|sig|password|passwd|pwd|client_secret|api_?key"
    r"|access_?key|(?:access|auth|refresh|id|hub)_?token|token)=)(?!\[redacted\])[^\s&;'\"\\<>]{6,}",
    re.IGNORECASE,
)
_HOOK = re.compile(
    r"((?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks"
    r"|webhook\.office\.com/webhookb2)/)(?!\[redacted\])[^\s'\"\\<>]+"
)


def without_shapes(text: str, secrets: tuple[str, ...]) -> str:
    """The text without what is a secret by its shape, or by being one of the given values."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = _TOKENS.sub(MASK, text)
    if "\\" in text:
        text = _TOKENS_OF_LINES.sub(MASK, text)
    if "://" in text or ":\\/" in text:
        text = _HOOK.sub(rf"\1{MASK}", _URL.sub(rf"\1{MASK}@", text))
    if "%2F%2F" in text or "%2f%2f" in text:
        text = _QUOTED_URL.sub(rf"\1{MASK}", text)
    if "?" in text or "&" in text or "u0026" in text:
        text = _QUERY.sub(rf"\1{MASK}", text)
    return _PEM.sub(MASK, text) if "-----BEGIN" in text else text


def has_token(text: str) -> bool:
    """Whether a token of a known service is in the text, unless behind a backslash."""
    return _TOKENS.search(text) is not None
