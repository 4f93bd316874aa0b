"""One connection to the receiver: its requests read, taken apart and answered as told."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
import zlib
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from tldr_observability.testing.behaviour import Behaviour
from tldr_observability.testing.decode import REQUESTS, Batch, decode

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from tldr_observability.testing.server import Server

__all__ = ["RESET_ON_CLOSE", "Exchange", "Handler"]

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""The linger option with which closing a connection resets it."""
_MAX_LINE = 65_536


@dataclass(slots=True, eq=False)
class Exchange:
    """A request as it arrived and how it was answered."""

    method: str
    path: str
    headers: dict[str, str]
    """The names are in lower case."""
    body: bytes = field(repr=False)
    """Without transfer and content encoding (as it came, where the encoding is unknown or broken)."""
    received: float
    """`time.monotonic()` when the body was complete."""
    items: int = 0
    """Spans (placeholders too), log records or metric points in the body."""
    status: int | None = None
    """None until it is answered, and for good where the connection ended first."""


class Handler(BaseHTTPRequestHandler):
    """Answers what http.server reads off one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer Logfire's question which project a token belongs to."""
        exchange = self._exchange(b"")
        if exchange.path == "/v1/info":
            info = {"project_name": "test", "project_url": f"{self.server.url}/test"}
            self._handle(exchange, None, Behaviour(body=json.dumps(info).encode()))
        else:
            self._handle(exchange, None, Behaviour(status=404))

    def do_POST(self) -> None:
        """Take an OTLP request."""
        try:
            exchange = self._exchange(self._read_body())
        except ValueError:
            self.send_error(400, "broken framing")
            self.close_connection = True
            return
        batch, healthy = None, Behaviour()
        try:
            exchange.body = _decompressed(exchange.body, exchange.headers.get("content-encoding", "identity"))
            batch = decode(exchange.path, exchange.body, as_json=self._speaks_json())
            exchange.items = batch.items
        except LookupError as error:
            healthy = Behaviour(status=404 if exchange.path not in REQUESTS else 415, body=str(error).encode())
        except ValueError as error:
            healthy = Behaviour(status=400, body=str(error).encode())
        self._handle(exchange, batch, healthy)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in http.server
        """Keep the access log off the test's standard error."""

    def handle_expect_100(self) -> bool:
        """Tell a waiting client to go on, now rather than with the answer."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def _exchange(self, body: bytes) -> Exchange:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return Exchange(self.command, self.path.partition("?")[0], headers, body, time.monotonic())

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(iter(self._read_chunk, b""))
        return self._read_exactly(int(self.headers.get("Content-Length", 0)))

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline(_MAX_LINE).partition(b";")[0], 16)
        chunk = self._read_exactly(size)
        if chunk:
            self.rfile.readline(_MAX_LINE)
        while not chunk and self.rfile.readline(_MAX_LINE).strip():
            pass  # trailers
        return chunk

    def _read_exactly(self, size: int) -> bytes:
        data = self.rfile.read(max(size, 0))
        if len(data) < size:
            raise ConnectionAbortedError("the client went away within a body")
        return data

    def _handle(self, exchange: Exchange, batch: Batch | None, healthy: Behaviour) -> None:
        behaviour, released = self.server.script.take(exchange.path)
        self.server.note(exchange)
        if behaviour.kind == "reset":
            self._reset()
            return
        if behaviour.kind == "hang" or (behaviour.kind == "answer" and behaviour.delay):
            released.wait(None if behaviour.kind == "hang" else behaviour.delay)
            if self.server.script.closed or self._client_is_gone():
                self.close_connection = True
                return
        answer = _answer(behaviour, healthy)
        if batch is not None and _succeeds(answer):
            self.server.accept(batch)
        exchange.status = answer.status
        try:
            self._start(answer)
            if behaviour.kind == "drip":
                self._drip(behaviour.delay, released)
            else:
                self._finish(answer.body if answer.body is not None else b"{}" if self._speaks_json() else b"")
        except OSError:
            exchange.status = None
            raise

    def _start(self, answer: Behaviour) -> None:
        self.send_response(answer.status)
        names = {name.lower() for name in answer.headers}
        if "content-type" not in names:
            json_answer = self.command == "GET" or self._speaks_json()
            self.send_header("Content-Type", "application/json" if json_answer else "application/x-protobuf")
        for name, value in answer.headers.items():
            self.send_header(name, value)

    def _finish(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _drip(self, interval: float, released: threading.Event) -> None:
        self.close_connection = True
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        while not released.wait(interval):
            self.wfile.write(b"1\r\n\0\r\n")
            self.wfile.flush()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def _speaks_json(self) -> bool:
        return self.headers.get_content_type() == "application/json"

    def _client_is_gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True


def _answer(behaviour: Behaviour, healthy: Behaviour) -> Behaviour:
    """A failure asked for outranks what is wrong with the request, which outranks a success asked for."""
    if not _succeeds(behaviour):
        return behaviour
    if not _succeeds(healthy):
        return healthy
    return replace(behaviour, body=healthy.body) if behaviour.body is None else behaviour


def _succeeds(behaviour: Behaviour) -> bool:
    return 200 <= behaviour.status < 300  # noqa: PLR2004 - HTTP's successes


def _decompressed(body: bytes, encoding: str) -> bytes:
    try:
        return _DECODERS[encoding.strip().lower()](body)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not a {encoding} body: {error}") from error


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}
