"""The receiver's listening side: a thread a connection, an end to all of them, and nothing left to forked children."""

from __future__ import annotations

import os
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tldr_observability.testing.handler import RESET_ON_CLOSE, Handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.testing.behaviour import Script
    from tldr_observability.testing.decode import Batch
    from tldr_observability.testing.handler import Exchange

__all__ = ["Server"]

_CLOSE_SECONDS = 1.0


class Server(socketserver.ThreadingTCPServer):
    """Listens on loopback from the start, one thread a connection.

    Args:
        port: 0 for any free one.
        script: how to behave.
        note: called with each complete request, before it is answered.
        accept: called with what a request carried, just before it is answered with success.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, port: int, script: Script, note: Callable[[Exchange], None], accept: Callable[[Batch], None]
    ) -> None:
        self.script = script
        self.note = note
        self.accept = accept
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._abandoned = False
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        _servers.add(self)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="otlp-receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every connection, whatever it is waiting for."""
        if self._abandoned:
            return
        self.script.close()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._connections:
                _quietly(connection.shutdown, socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, _CLOSE_SECONDS)
        self._thread.join(_CLOSE_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a new connection, and remember the connection for `close`."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection, politely unless the handler asked for a reset."""
        if not _will_reset(request):
            _quietly(request.shutdown, socket.SHUT_WR)
        request.close()
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show bugs of the receiver, and nothing of clients that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def abandon(self) -> None:
        """Close the descriptors that a forked child inherited, so that only the parent holds port and connections."""
        self._abandoned = True
        for inherited in (self.socket, *self._connections):
            descriptor = inherited.detach()
            if descriptor >= 0:
                os.close(descriptor)


_servers: WeakSet[Server] = WeakSet()


def _abandon_all() -> None:
    for server in list(_servers):
        server.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def _will_reset(connection: socket.socket) -> bool:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(RESET_ON_CLOSE)) == RESET_ON_CLOSE
    except OSError:
        return False


def _quietly(call: Callable[[int], None], argument: int) -> None:
    with suppress(OSError):
        call(argument)
