"""A backend that takes everything and does nothing, in a process of its own so that its CPU time is nobody's.

python tests/benchmarks/sink.py    # prints its address; ends when its standard input does
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PROJECT = b'{"project_name": "benchmark", "project_url": "http://localhost/benchmark"}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer("application/x-protobuf", b"")

    def do_GET(self) -> None:
        self._answer("application/json", _PROJECT)

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response_only(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until nobody is there any more."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
