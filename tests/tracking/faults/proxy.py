"""A small proxy in front of a real server, which answers as it should, or not as it should."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP = ("connection", "transfer-encoding", "keep-alive", "content-length")


class Proxy:
    """Passes requests on to `target`. While `faults` is above 0, each request meets the fault, by `chance`.

    Faults: `answer 500` or another status, in no words of MLflow's, `hang` (no answer ever), `cut` (passed on, the
    answer is cut off in the middle), `reset` (the connection is reset before the request is passed on), `tear` (reset
    in the middle of what is sent, where something is), `lose` (passed on, no answer), `late` (passed on when the proxy
    heals), `slow` (passed on after a while), `login` (sent on to a page that anybody gets).
    """

    def __init__(self, target: str, seed: int = 0) -> None:
        self.target = target.removeprefix("http://")
        self.fault, self.faults, self.only = "", 0, ""  # `only`: part of the path or body of requests that may meet it
        self.chance, self.passed_on_late = 0.5, 0
        self.requests: list[tuple[float, str]] = []  # when, and what
        self.served: list[float] = []  # when a fault was met
        self.strangers = 0  # requests without the right credentials
        self.credentials = ""  # the Authorization header that is asked for, if any
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._healed = threading.Event()
        self._port = 0
        self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def listen(self) -> None:
        """Accept connections, always at the same port."""
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def refuse(self) -> None:
        """Listen no more: connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        """No more faults; those who hang are let go."""
        self.faults = 0
        self._healed.set()

    def next_fault(self, request: str, body: bytes) -> str:
        with self._lock:
            self.requests.append((time.monotonic(), request))
            meant = self.only in request or self.only.encode() in body
            if self.faults <= 0 or not meant or self._random.random() >= self.chance:
                return ""
            self.faults -= 1
            self.served.append(time.monotonic())
            return self.fault

    def wait(self, seconds: float) -> None:
        self._healed.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.proxy.fault == "tear" and length > 1 and self.proxy.next_fault(f"{self.command} {self.path}", b""):
            self.rfile.read(length // 2)
            return self.do_reset(b"")
        body = self.rfile.read(length)
        if self.proxy.credentials and self.headers.get("Authorization") != self.proxy.credentials:
            self.proxy.strangers += 1
            return self.answer(401, {"WWW-Authenticate": "Basic"}, b"who are you?")
        torn = self.proxy.fault == "tear"  # above, or not at all
        fault = [] if torn else self.proxy.next_fault(f"{self.command} {self.path}", body).split()
        with contextlib.suppress(OSError):
            getattr(self, f"do_{fault[0]}" if fault else "pass_on")(body, *fault[1:])
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def pass_on(self, body: bytes) -> None:
        self.answer(*self.upstream(body))

    def do_answer(self, body: bytes, status: str) -> None:
        self.answer(int(status), {"Retry-After": "1"} if status == "429" else {}, b"not now")

    def do_login(self, body: bytes) -> None:
        self.answer(302, {"Location": "/health"}, b"who are you?")

    def do_hang(self, body: bytes) -> None:
        self.proxy.wait(60)
        self.close_connection = True

    def do_reset(self, body: bytes) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def do_cut(self, body: bytes) -> None:
        status, headers, content = self.upstream(body)
        self.answer(status, headers, content, sent=len(content) // 2)
        self.close_connection = True

    def do_lose(self, body: bytes) -> None:
        self.upstream(body)
        self.close_connection = True

    def do_late(self, body: bytes) -> None:
        self.proxy.wait(100)
        self.do_lose(body)
        self.proxy.passed_on_late += 1

    def do_slow(self, body: bytes) -> None:
        self.proxy.wait(0.3)
        self.pass_on(body)

    def upstream(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.proxy.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in (*_HOP, "host")}
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def answer(self, status: int, headers: dict[str, str], content: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in (*_HOP, "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent])

    def log_message(self, *args: Any) -> None:
        """Nothing: the tests keep what they want to know."""


def connections_of(thread: int, seen: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that notes every connection that this thread opens."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and threading.get_ident() == thread:
            seen.append(str(arguments[1]))

    return hook
