"""What customers are charged for by the call: who called what, how it was answered, and how long they waited."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from tldr_observability import metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Metering"]


class Metering:
    """A middleware that counts the calls made with a valid key.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            principal = scope.get("state", {}).get("principal")
            if principal is not None:
                milliseconds = 1000 * (perf_counter() - began)
                metrics.track_api_call_usage(
                    None, principal.organization_id, scope["route"].path, scope["method"], status, milliseconds
                )
