"""What MLflow raises, in our terms."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from nertrail.tracking.mlflow_backend import MlflowBackend
from nertrail.tracking.mlflow_client import Unauthorised, translated
from nertrail.tracking.protocol import Rejected, RunStart, Unreachable


class Answers(BaseHTTPRequestHandler):
    """Gives every request the same answer."""

    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")

    def do_GET(self) -> None:
        status, headers, body = self.answer
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()


def raised_by(server: str) -> Exception:
    """What starting a run raises there."""
    with pytest.raises((Unreachable, Rejected)) as caught:
        MlflowBackend(server).start(RunStart("u" * 32, "r", "e", 1))
    return caught.value


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(("wish", "seconds"), [("7", 7.0), ("0.5", 0.5), (None, None), ("soon", None)])
def test_the_servers_wish_to_be_left_alone_is_read(
    status: int, wish: str | None, seconds: float | None, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Retry-After": wish} if wish else {}
    monkeypatch.setattr(Answers, "answer", (status, headers, b"not now"))
    error = raised_by(server)
    assert isinstance(error, Unreachable) and error.retry_after == seconds


def test_a_date_is_a_wish_too(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    headers = {"Retry-After": formatdate(time.time() + 100, usegmt=True)}
    monkeypatch.setattr(Answers, "answer", (503, headers, b""))
    error = raised_by(server)
    assert isinstance(error, Unreachable) and error.retry_after is not None and 90 < error.retry_after <= 100


@pytest.mark.parametrize("body", [b"who are you?", json.dumps({"error_code": "UNAUTHENTICATED"}).encode(), b""])
def test_unknown_credentials_are_asked_for_again(body: bytes, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking._tracking_service.utils import _get_store

    backend = MlflowBackend(server)
    before = (backend._client(), _get_store(server))
    monkeypatch.setattr(Answers, "answer", (401, {}, body))
    with pytest.raises(Unauthorised):
        backend.run_id("x")
    assert backend._client() is not before[0] and _get_store(server) is not before[1]


@pytest.mark.parametrize("status", [400, 403, 404, 405])
@pytest.mark.parametrize("body", [b"<html>no such page</html>", b'{"error_code": "ENDPOINT_NOT_FOUND"}'])
def test_a_place_that_is_no_mlflow_server_refuses_us_and_not_a_record(
    status: int, body: bytes, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "answer", (status, {}, body))
    error = raised_by(server)
    assert isinstance(error, Unreachable) and "does not look like an MLflow server" in str(error)


@pytest.mark.parametrize("status", [403, 404, 405])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>no such page</html>", Unreachable),
        (b'{"message": "no route"}', Unreachable),
        (b"", Unreachable),
        (b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}', Rejected),
        (b'{"error_code": "PERMISSION_DENIED", "message": "not yours"}', Rejected),
    ],
)
def test_only_mlflows_own_words_refuse_a_record(
    status: int, body: bytes, kind: type[Exception], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(Answers, "answer", (status, {}, body))
    with pytest.raises(kind), translated():
        MlflowClient(server).set_tag("r", "a", "1")


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_server_behind_a_closed_door_takes_no_writes(
    status: int, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = MlflowBackend(server)
    backend._experiments["e"] = "1"
    monkeypatch.setattr(Answers, "answer", (status, {}, b"not here"))
    assert not backend.takes_writes("e")


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ValueError("A string literal cannot contain NUL (0x00) characters."), Rejected),
        (UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates not allowed"), Rejected),
        (ConnectionResetError("gone"), Unreachable),
        (json.JSONDecodeError("cut off", "{", 1), Unreachable),
        (KeyError("x"), Unreachable),
    ],
)
def test_what_a_database_cannot_hold_is_told_from_one_that_is_away(cause: Exception, kind: type[Exception]) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(kind), translated():
        try:
            raise cause
        except Exception as error:
            raise MlflowException("MLflow's own failure, as it says") from error
