"""What a request and a websocket have in common while they last.

`receive` and `send` stand in for the server's. They hand every message on as it comes, at once and untouched, but for
the headers that are added to the response's start; only the message that ends a response is waited for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.trace import StatusCode

from tldr_observability import context, semconv
from tldr_observability.asgi import headers as h
from tldr_observability.asgi import w3c
from tldr_observability.asgi.capture_http import header_attributes
from tldr_observability.asgi.isolation import Isolation
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.trace import Span

    from tldr_observability.asgi.route import Entry, RouteTable
    from tldr_observability.asgi.server_span import ServerSpan
    from tldr_observability.asgi.types import Message, Receive, Scope, Send

__all__ = ["DISCONNECTED", "SERVER_ERROR", "Exchange", "Options", "Start", "Wire"]

DISCONNECTED = "disconnected"
"""The outcome of a request whose client went away before the answer was complete."""

CLIENT_ERROR, SERVER_ERROR = 400, 500
_GONE = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})
"""What Starlette and uvicorn raise inside the app when the client has gone."""


class Options(NamedTuple):
    """What is captured besides the span itself."""

    headers: bool
    bodies: bool


class Wire(NamedTuple):
    """What the server handed over."""

    scope: Scope
    receive: Receive
    send: Send


class Start(NamedTuple):
    """What the middleware has found out about a request before it lets it in."""

    server_span: ServerSpan
    routes: RouteTable
    entry: Entry
    headers: h.Headers
    options: Options
    verb: str
    """What the span's name begins with."""
    correlation_id: str | None
    """The one in force until the app sets another."""


class Exchange(ABC):
    """What requests and websockets have in common: a span, a context of their own, an end."""

    __slots__ = (
        "_correlation_id",
        "_entry",
        "_isolation",
        "_options",
        "_outcome",
        "_route",
        "_routes",
        "_scope",
        "_server_receive",
        "_server_send",
        "_server_span",
        "_verb",
        "disconnected",
        "ended_at",
        "error",
        "span",
        "status",
    )

    def __init__(self, wire: Wire, start: Start) -> None:
        self._scope, self._server_receive, self._server_send = wire
        self._server_span = start.server_span
        self.span: Span = start.server_span.span
        self._routes, self._entry = start.routes, start.entry
        self._options = start.options
        self._verb = start.verb
        self._correlation_id = start.correlation_id
        self._isolation = Isolation()
        self._route: str | None = None
        self._outcome: str | None = None
        self.disconnected = False
        self.ended_at: int | None = None
        self.error: BaseException | None = None
        self.status: int | None = None
        if start.options.headers and self.span.is_recording():
            self.span.set_attributes(header_attributes("http.request.header", wire.scope.get("headers") or ()))

    def open(self) -> None:
        """Make the span current and open the request's context."""
        if self._server_span.nested:
            return
        self._isolation.enter(self._server_span.context, self._correlation_id)
        if self._correlation_id is not None and self.span.is_recording():
            self.span.set_attribute(semconv.TLDR_CORRELATION_ID, self._correlation_id)

    def failed(self, error: BaseException) -> None:
        """Note the exception that leaves the app."""
        self.error = error
        if self._is_disconnect(error):
            self._outcome = DISCONNECTED
            self.error = None
            return
        from tldr_observability.tracing import failures

        if failures.outcome(error) == failures.CANCELLED:
            self._outcome = failures.CANCELLED
            self.error = None
        elif self._server_span.takes_exceptions:
            failures.record(self.span, error)
            if (status := getattr(self.span, "status", None)) is not None and status.is_unset:
                # What is an answer to the client elsewhere is a failure where nobody has made an answer of it.
                self.span.set_status(StatusCode.ERROR)

    def close(self) -> None:
        """Finish the span and restore the context from before; the last thing that happens."""
        try:
            with guarded("finishing a request"):
                self._finish()
        finally:
            if self._server_span.owned:
                self.span.end(self.ended_at)
            self._isolation.leave()

    @abstractmethod
    def _finish(self) -> None:
        """Put on the span and into the metrics what is known at the end."""

    def _is_disconnect(self, error: BaseException) -> bool:
        return type(error).__name__ in _GONE or (self.disconnected and isinstance(error, OSError))

    def _describe(self) -> None:
        """Put on the span what is known only now."""
        span = self.span
        if not span.is_recording():
            return
        attributes: dict[str, Any] = {**context.attributes()} if not self._server_span.nested else {}
        if self._outcome is not None:
            attributes[semconv.TLDR_OUTCOME] = self._outcome
        if self._server_span.owned:
            self._find_route()
            if self._route is not None:
                span.update_name(f"{self._verb} {self._route}")
                attributes[http_attributes.HTTP_ROUTE] = self._route
            self._describe_status(attributes)
        span.set_attributes(attributes)

    def _describe_status(self, attributes: dict[str, Any]) -> None:
        status = self.status
        if status is not None:
            attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = status
        if (kind := self.error_type()) is not None:
            attributes[error_attributes.ERROR_TYPE] = kind
            attributes[semconv.LOGFIRE_LEVEL_NUM] = semconv.LEVELS["error"]
            if self.error is None:
                self.span.set_status(StatusCode.ERROR)
        elif status is not None and status >= CLIENT_ERROR:
            attributes[semconv.LOGFIRE_LEVEL_NUM] = semconv.LEVELS["warn"]

    def error_type(self) -> str | None:
        """What went wrong, from a bounded set of words; None when nothing did."""
        if self.error is not None:
            kind = type(self.error)
            return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return str(self.status) if self.status is not None and self.status >= SERVER_ERROR else None

    def _find_route(self) -> None:
        if self._route is None:
            with guarded("finding a request's route"):
                self._route = self._routes.template(self._scope, self._entry)

    def _response_start(self, message: Message, headers: Iterable[tuple[bytes, bytes]], known: h.Headers) -> Message:
        """The start of a response, with the correlation id and the span that answers added to a copy of it."""
        if self._options.headers and self.span.is_recording():
            self.span.set_attributes(header_attributes("http.response.header", headers))
        if self._server_span.nested:
            return message
        added = []
        if h.REQUEST_ID not in known and (own := context.get_correlation_id() or self._correlation_id):
            added.append((h.REQUEST_ID, own.encode("ascii", "ignore")))
        span = self.span.get_span_context()
        if h.TRACERESPONSE not in known and span.is_valid and not span.is_remote:
            added.append((h.TRACERESPONSE, w3c.format_traceresponse(span)))
        return {**message, "headers": [*headers, *added]}
