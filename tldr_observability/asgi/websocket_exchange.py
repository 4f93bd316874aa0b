"""One websocket, from its handshake to its close."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any

from tldr_observability.asgi import headers as h
from tldr_observability.asgi.exchange import Exchange
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tldr_observability.asgi.exchange import Start, Wire
    from tldr_observability.asgi.types import Message

__all__ = ["WebSocketExchange"]

CLOSE_CODE = "websocket.close_code"
"""OpenTelemetry's conventions have no name for it yet."""

_SWITCHING_PROTOCOLS, _FORBIDDEN, _FAILED = 101, 403, 500
_NORMAL_CLOSURE, _NO_STATUS = 1000, 1005


class WebSocketExchange(Exchange):
    """One websocket; its span ends with the close, not with what the app does afterwards."""

    __slots__ = ("_code",)

    def __init__(self, wire: Wire, start: Start) -> None:
        super().__init__(wire, start)
        self._code: int | None = None

    async def receive(self) -> Message:
        """The server's next message."""
        message = await self._server_receive()
        with guarded("reading a websocket message"):
            if message.get("type") == "websocket.disconnect":
                self.disconnected = True
                self._closed(message.get("code", _NO_STATUS))
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Hand a message to the server."""
        with guarded("reading a websocket message"):
            kind = message.get("type")
            if kind == "websocket.close":
                self._closed(message.get("code", _NORMAL_CLOSURE))
            elif kind in ("websocket.accept", "websocket.http.response.start"):
                self.status = int(message.get("status", _SWITCHING_PROTOCOLS))
                headers = list(message.get("headers") or ())
                message = self._response_start(message, headers, h.pick(headers, h.RESPONSE))
        return self._server_send(message)

    def _closed(self, code: object) -> None:
        if self.ended_at is None:
            self.ended_at = time_ns()
            if self.status is None and not self.disconnected:
                self.status = _FORBIDDEN  # what the server answers to a close before the accept
            elif isinstance(code, int):
                self._code = code

    def _finish(self) -> None:
        if self.status is None and self.error is not None:
            self.status = _FAILED
        self._describe()

    def _describe_status(self, attributes: dict[str, Any]) -> None:
        super()._describe_status(attributes)
        if self._code is not None:
            attributes[CLOSE_CODE] = self._code
