"""A corpus of secrets, none of them real."""

from __future__ import annotations

import pytest

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
    "short openai": ("sk-" + "k9" * 11, "k9k9"),
    "hugging face oauth": ("hf_oauth_" + "a1B2" * 6, "a1B2a1B2"),
    "stripe": ("sk_live_" + "k" * 24, "kkkk"),
    "google oauth": ("ya29." + "a0B" * 10, "a0Ba0B"),
    "google client secret": ("GOCSPX-" + "s" * 28, "ssss"),
    "sendgrid": ("SG." + "k" * 22 + "." + "s" * 43, "ssss"),
    "behind a line feed of a repr": ("says \\nhf_" + "a1B2" * 8, "a1B2a1B2"),
    "slack hook": ("https://hooks.slack.com/services/T000/B000/abcdefgh", "abcdefgh"),
    "signed url": ("https://b.s3.amazonaws.com/k?a=b&X-Amz-Signature=0123abcd", "0123abcd"),
    "url with a slash in its password": ("postgresql://me:pa/ssw0rd@host/db", "ssw0rd"),
    "url with its password behind": ("postgresql://host/db?user=u&password=ssw0rdXX", "ssw0rd"),
    "url within a url": ("postgresql%3A%2F%2Fu%3Assw0rdXXabc%40h", "ssw0rd"),
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
    "connection in braces": ("UID=sa;PWD={abcdefgh;12345}", "12345"),
    "camel case": ("clientSecret: abcdefgh12345", "abcdefgh"),
    "token": ("token: ssw0rdXXabc", "ssw0rd"),
    "token of the environment": ("WANDB_TOKEN=correcthorse", "correcthorse"),
    "npm": ("//registry.npmjs.org/:_authToken=ssw0rdXXabc", "ssw0rd"),
    "passphrase": ("passphrase: correcthorse", "correcthorse"),
    "passphrase with blanks": ("passphrase: 'correct horse battery'", "battery"),
    "private key": ("private_key: correcthorse", "correcthorse"),
    "credentials": ("credentials=correcthorse", "correcthorse"),
    "header of its own": ("x-api-key: correcthorse", "correcthorse"),
    "flag": ("--password correcthorse --x", "correcthorse"),
    "flag with a hyphen": ("--api-key correcthorse", "correcthorse"),
    "flag in a list": ("['--hub-token', 'correcthorse']", "correcthorse"),
    "curl": ("curl -s -u bob:correcthorse https://h", "correcthorse"),
    "netrc": ("machine h login u password correcthorse", "correcthorse"),
    "short header": ("Authorization: Basic dTpzc3cwcmQ=", "dTpzc3"),
    "header in a dict": ("{'Authorization': 'Bearer ssw0rdXX'}", "ssw0rd"),
    "json in json": ('{\\"password\\": \\"correct horse\\"}', "horse"),
    "shared access": ("SharedAccessSignature=correcthorse", "correcthorse"),
}
CORPUS = SHAPES | NAMED
VALUE = "correct-horse/battery"  # of a variable whose name says secret


def params(names: dict[str, tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("text", "secret"), names.values(), ids=names.keys())
