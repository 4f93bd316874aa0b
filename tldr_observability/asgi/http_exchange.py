"""One HTTP request and its response."""

from __future__ import annotations

from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

from tldr_observability.asgi import headers as h
from tldr_observability.asgi.attributes import known_method, known_scheme, known_version
from tldr_observability.asgi.capture_http import Body
from tldr_observability.asgi.exchange import DISCONNECTED, SERVER_ERROR, Exchange
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tldr_observability.asgi.exchange import Start, Wire
    from tldr_observability.asgi.http_metrics import HttpMetrics
    from tldr_observability.asgi.types import Message

__all__ = ["HttpExchange"]

_REQUEST_BODY_SIZE = "http.request.body.size"
_RESPONSE_BODY_SIZE = "http.response.body.size"


class HttpExchange(Exchange):
    """One HTTP request and its response."""

    __slots__ = (
        "_counted",
        "_has_trailers",
        "_is_file",
        "_is_recorded",
        "_method",
        "_metrics",
        "_received",
        "_request_body",
        "_request_size",
        "_response_body",
        "_response_size",
        "_scheme",
        "_seconds",
        "_sent",
        "_started",
    )

    def __init__(self, wire: Wire, start: Start, metrics: HttpMetrics | None) -> None:
        super().__init__(wire, start)
        self._metrics = metrics
        self._request_size = h.body_size(start.headers)
        self._response_size: int | None = None
        self._received = self._sent = 0
        self._has_trailers = self._is_file = self._is_recorded = self._counted = False
        # Read once: an app may change its scope, and what was counted up must be counted down.
        self._method, self._scheme = known_method(self._scope), known_scheme(self._scope, "http")
        self._request_body = Body.of(start.headers) if self._options.bodies and self.span.is_recording() else None
        self._response_body: Body | None = None
        self._started, self._seconds = perf_counter(), 0.0

    def open(self) -> None:
        """Make the span current, open the context and count the request as active."""
        super().open()
        if self._metrics is not None:
            self._metrics.opened(self._method, self._scheme)
            self._counted = True

    async def receive(self) -> Message:
        """The server's next message."""
        message = await self._server_receive()
        with guarded("reading a request message"):
            kind = message.get("type")
            if kind == "http.request":
                body = message.get("body") or b""
                self._received += len(body)
                if self._request_body is not None:
                    self._request_body.feed(body)
            elif kind == "http.disconnect":
                # Once the answer is complete, this is all that a server has left to say.
                self.disconnected = self.ended_at is None
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Hand a message to the server; a plain function, for a stream's chunks pass here one by one."""
        is_last = False
        with guarded("reading a response message"):
            kind = message.get("type")
            if kind == "http.response.body":
                body = message.get("body") or b""
                self._sent += len(body)
                if self._response_body is not None:
                    self._response_body.feed(body)
                is_last = not message.get("more_body") and not self._has_trailers
            elif kind == "http.response.start":
                message = self._start(message)
            elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
                self._is_file = True
                is_last = not message.get("more_body") and not self._has_trailers
            elif kind == "http.response.trailers":
                is_last = not message.get("more_trailers")
        return self._send_last(message) if is_last and self.ended_at is None else self._server_send(message)

    def _start(self, message: Message) -> Message:
        if self.status is not None:
            return message
        self.status = int(message["status"])
        headers = list(message.get("headers") or ())
        known = h.pick(headers, h.RESPONSE)
        self._has_trailers = bool(message.get("trailers"))
        self._response_size = h.body_size(known)
        if self._options.bodies and self.span.is_recording():
            self._response_body = Body.of(known)
        return self._response_start(message, headers, known)

    async def _send_last(self, message: Message) -> None:
        if not self._server_span.owned:
            # Whose span it is may end it as soon as the message has passed.
            with guarded("describing a request"):
                self._describe()
        await self._server_send(message)
        with guarded("completing a request"):
            self._complete()

    def _complete(self) -> None:
        self.ended_at = time_ns()
        self._seconds = perf_counter() - self._started
        self._discount()
        # A failure's name may still be on its way: the exception handler answers first and raises afterwards.
        if self.status is None or self.status < SERVER_ERROR:
            self._measure()

    def _discount(self) -> None:
        if self._counted and self._metrics is not None:
            self._counted = False
            self._metrics.closed(self._method, self._scheme)

    def _measure(self) -> None:
        if self._is_recorded or self._metrics is None:
            return
        self._is_recorded = True
        self._find_route()
        self._metrics.answered(
            self._seconds,
            self._request_bytes(),
            self._response_bytes(),
            method=self._method,
            scheme=self._scheme,
            version=known_version(self._scope),
            route=self._route,
            status=self.status,
            error_type=self.error_type(),
        )

    def _finish(self) -> None:
        if self.status is None and self.error is not None:
            self.status = SERVER_ERROR  # what the server answers for an app that raised
        if self.ended_at is None:
            self._seconds = perf_counter() - self._started
            self._discount()
            if self.disconnected and self._outcome is None and self.error is None:
                self._outcome = DISCONNECTED
        with guarded("measuring a request"):
            self._measure()
        self._describe()

    def _describe_status(self, attributes: dict[str, Any]) -> None:
        super()._describe_status(attributes)
        if received := self._request_bytes():
            attributes[_REQUEST_BODY_SIZE] = received
        if (sent := self._response_bytes()) is not None:
            attributes[_RESPONSE_BODY_SIZE] = sent

    def _request_bytes(self) -> int:
        return self._request_size if self._request_size is not None else self._received

    def _response_bytes(self) -> int | None:
        if self._method == "HEAD":
            return 0  # the server keeps back what the app sends
        return self._response_size if self._is_file else self._sent

    def _describe(self) -> None:
        super()._describe()
        if self.span.is_recording():
            for body, prefix in (
                (self._request_body, "http.request.body"),
                (self._response_body, "http.response.body"),
            ):
                if body is not None and (captured := body.attributes(prefix)):
                    self.span.set_attributes(captured)
