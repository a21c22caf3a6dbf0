"""Which names say that their value is a secret."""

from __future__ import annotations

import pytest

from nertrail.tracking.secret_names import is_secret


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "apiKey", "APIKey", "x-api-key", "hub_token", "hfToken", "prompt/token", "token", "dbPassword",
        "DB_PASS", "db.pass", "passwords", "password_1", "passphrase", "clientsecret", "client_secret", "secret_key",
        "connection_string", "connectionString", "auth", "credentials", "aws_secret_access_key", "AWS_SESSION_TOKEN",
        "AccountKey", "private_key", "X-Amz-Signature", "SharedAccessSignature", "_authToken", "api_tokens",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name, "word")


@pytest.mark.parametrize(
    "name",
    [
        "pad_token", "mask_token", "tokenizer.eos_token", "tokenizer/bos_token", "unkToken", "cls_token", "sep_token",
        "additional_special_tokens", "max_tokens", "tokens_per_second", "num_tokens", "token_type", "tokenizer",
        "pad_token_id", "first_token", "n_token", "per_token", "primary_key", "key", "sort_key", "signature", "compass",
        "first_pass", "n_pass", "author", "design", "monkey", "keyword", "secretary", "password_file", "secret_name",
        "", "_", "123", "é",
    ],
)  # fmt: skip
def test_names_of_everything_else(name: str) -> None:
    assert not is_secret(name, "word")


@pytest.mark.parametrize(
    ("name", "value"),
    [("token", "[PAD]"), ("auth", "kerberos"), ("password", "None"), ("pwd", "/home/me"), ("api_key", "${API_KEY}")],
)
def test_values_that_are_no_secret_under_any_name(name: str, value: str) -> None:
    assert not is_secret(name, value)
