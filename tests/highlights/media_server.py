"""An HTTP server on loopback that serves video as the internet does: well, badly, slowly, half, or not at all."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MediaServer", "media_server"]


class MediaServer(ThreadingHTTPServer):
    """`answers` has bytes or a function for each path; `asked` what was asked for; `connections` the open ones."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.connections: set[Any] = set()
        self.ended = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def serve(self, directory: Path, at: str = "") -> None:
        """All files of a directory."""
        for path in directory.iterdir():
            self.answers[f"{at}/{path.name}"] = path.read_bytes()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away; that's what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MediaServer

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        answer = self.server.answers.get(path)
        if answer is None:
            self.give(b"no such thing", status=404)
        elif callable(answer):
            answer(self)
        else:
            self.give(answer)

    def give(
        self, body: bytes, *, status: int = 200, ranges: bool = True, cut: int | None = None, **headers: str
    ) -> None:
        """Answer; with `cut` the connection breaks after so many bytes of the body."""
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if ranges and asked and status == 200:
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            self.server.ranges.append(asked[0])
            if first >= len(body):
                status, body = 416, b""
                headers["Content-Range"] = "bytes */0"
            else:
                headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
                status, body = 206, body[first : last + 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def media_server() -> Iterator[MediaServer]:
    """Run one."""
    server = MediaServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
