"""Run the shop, order something, and show what was really exported: trace, metrics, events.

    python examples/quickstart/run.py

The service runs as a process of its own and exports over HTTP to a receiver in this one. The exit status is 0 only if
the whole story has arrived.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tldr_observability.testing import OTLPReceiver, tree

HERE = Path(__file__).parent


def main() -> int:
    """Tell the story and judge it."""
    with OTLPReceiver() as receiver, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = {**os.environ, "LOGFIRE_TOKEN": "any-token", "LOGFIRE_BASE_URL": receiver.url}
        command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "warning"]
        service = subprocess.Popen(command, cwd=HERE, env=environment)  # noqa: S603 - our own command
        try:
            print(f"POST /orders/tea        -> {post(port, 'tea')}")
            print(f"POST /orders/porcelain  -> {post(port, 'porcelain')}")
        finally:
            service.terminate()  # the service sends what it has, then ends
            service.wait(timeout=10)
        print(f"\nThe traces, as the backend got them:\n\n{tree(receiver.spans)}")
        print("\nThe metrics:\n")
        for name in ("http.server.request.duration", "shop.orders"):
            print(f"  {name}: {receiver.total(name):g}")
        print("\nThe events:\n")
        for log in receiver.logs:
            print(f"  {log.event_name} {json.dumps(log.attributes)}")
        arrived = {span.name for span in receiver.spans} >= {"POST /orders/{item}", "reserve"}
        complete = arrived and receiver.total("shop.orders") == 2 and len(receiver.logs) == 2  # noqa: PLR2004
    print("\nNext: set LOGFIRE_TOKEN to see this in Logfire; `tldr-obs doctor` says what is configured.")
    return 0 if complete else 1


def post(port: int, item: str) -> str:
    """Order something; wait for the service to come up first."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/orders/{item}", method="POST")
    for _ in range(200):
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
                return f"{response.status}, correlation id {response.headers['x-request-id']}"
        except urllib.error.URLError:
            time.sleep(0.1)
    raise SystemExit("the service does not answer")


if __name__ == "__main__":
    sys.exit(main())
