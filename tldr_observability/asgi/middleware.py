"""The ASGI middleware: one SERVER span, the request metrics and a context of its own for every request."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

from opentelemetry.context import Context

from tldr_observability import semconv
from tldr_observability._record import record
from tldr_observability.asgi import headers as h
from tldr_observability.asgi import inbound, server_span
from tldr_observability.asgi.attributes import OTHER, known_method, known_scheme, request_attributes
from tldr_observability.asgi.exchange import Options, Start, Wire
from tldr_observability.asgi.excluded import DEFAULT, ExcludedPaths
from tldr_observability.asgi.http_exchange import HttpExchange
from tldr_observability.asgi.http_metrics import HttpMetrics
from tldr_observability.asgi.isolation import Isolation
from tldr_observability.asgi.lifespan import flushing
from tldr_observability.asgi.route import Entry, RouteTable
from tldr_observability.asgi.websocket_exchange import WebSocketExchange
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from tldr_observability.asgi.types import App, Receive, Scope, Send

__all__ = ["ObservabilityMiddleware"]


class ObservabilityMiddleware:
    """Gives every request and websocket of an ASGI app its server span, request metrics and correlation id.

    The span is named `METHOD /full/route/{template}` (`WEBSOCKET /route` for websockets, `HTTP /route` for methods that
    HTTP doesn't know) and ends with the response; it stays current for what the app does afterwards, so that background
    tasks are in the trace. Where a server span exists already, it is used and no second one is made.

    Args:
        app: any ASGI app.
        excluded_paths: paths that leave no telemetry, together with all that is below them; a trailing `*` matches
            every path that begins so. None: what `setup()` was told, else the usual health and metrics paths.
        capture_headers: put headers on the span. None: what `setup()` was told, else no.
        capture_body: put the first 10 kB of textual bodies on the span. None: what `setup()` was told, else no.
        tracer_provider: None: OpenTelemetry's global one, as it is when a request comes in.
        meter_provider: the same for metrics.
    """

    def __init__(  # noqa: PLR0913 - the public options of the middleware, each with a default
        self,
        app: App,
        *,
        excluded_paths: Iterable[str] | None = None,
        capture_headers: bool | None = None,
        capture_body: bool | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self.app = app
        self._excluded = ExcludedPaths(DEFAULT if excluded_paths is None else excluded_paths)
        self._excluded_by_settings = excluded_paths is None
        self._capture_headers = capture_headers
        self._capture_body = capture_body
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._tracer: tuple[TracerProvider, Tracer] | None = None
        self._metrics: tuple[MeterProvider, HttpMetrics] | None = None
        self._routes = RouteTable(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        kind = scope["type"]
        if not record.enabled or kind not in ("http", "websocket", "lifespan"):
            await self.app(scope, receive, send)
        elif kind == "lifespan":
            await self.app(scope, receive, flushing(send))
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: HttpExchange | WebSocketExchange | _Excluded | None = None
        with guarded("beginning a request"):
            exchange = self._exchange(Wire(scope, receive, send))
            if exchange is not None:
                exchange.open()
        if exchange is None:
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            with guarded("recording a request's exception"):
                exchange.failed(error)
            raise
        finally:
            with guarded("ending a request"):
                exchange.close()

    def _exchange(self, wire: Wire) -> HttpExchange | WebSocketExchange | _Excluded | None:
        """What stands between server and app for one connection; None when nothing is left to do."""
        scope = wire.scope
        options = self._options_now()
        if (outer := scope.get(server_span.MARK)) is not None:
            options = Options(options.headers and not outer.headers, options.bodies and not outer.bodies)
            if not any(options):
                return None
        is_http = scope["type"] == "http"
        headers = h.pick(scope.get("headers") or (), h.REQUEST)
        entry = Entry.of(scope)
        span = server_span.joined(scope)
        is_foreign = span is not None or scope.get("fastapi.telemetry") is not None
        method = known_method(scope) if is_http else "GET"
        verb = ("HTTP" if method is OTHER else method) if is_http else "WEBSOCKET"
        correlation_id = inbound.correlation_id(headers)
        if span is None:
            parent = inbound.parent(headers, scope)
            base = inbound.baggage(headers, Context())
            if scope.get("path") in self._excluded_now():
                server_span.claim(scope, Options(headers=True, bodies=True))
                return _Excluded(wire, server_span.unrecorded(parent, base), correlation_id)
            scheme = known_scheme(scope, "http" if is_http else "ws")
            attributes = request_attributes(scope, headers, method, verb, scheme)
            span = server_span.made(self._tracer_now(), verb, parent, base, attributes)
        if not span.nested:
            server_span.claim(scope, options)
        own = span.span.get_span_context()
        if correlation_id is None and own.is_valid:
            correlation_id = f"{own.trace_id:032x}"
        start = Start(span, self._routes, entry, headers, options, verb, correlation_id or token_hex(16))
        if is_http:
            return HttpExchange(wire, start, None if is_foreign else self._metrics_now())
        return WebSocketExchange(wire, start)

    def _excluded_now(self) -> ExcludedPaths:
        settings = record.settings
        if self._excluded_by_settings and settings is not None and settings.excluded_paths != self._excluded.patterns:
            self._excluded = ExcludedPaths(settings.excluded_paths)
        return self._excluded

    def _options_now(self) -> Options:
        settings = record.settings
        headers, bodies = self._capture_headers, self._capture_body
        if settings is not None:
            headers = settings.capture_headers if headers is None else headers
            bodies = settings.capture_body if bodies is None else bodies
        return Options(headers=bool(headers), bodies=bool(bodies))

    def _tracer_now(self) -> Tracer:
        provider = self._tracer_provider
        if provider is None:
            from opentelemetry.trace import get_tracer_provider

            provider = get_tracer_provider()
        if self._tracer is None or self._tracer[0] is not provider:
            self._tracer = provider, provider.get_tracer(semconv.SCOPE_NAME)
        return self._tracer[1]

    def _metrics_now(self) -> HttpMetrics:
        provider = self._meter_provider
        if provider is None:
            from opentelemetry.metrics import get_meter_provider

            provider = get_meter_provider()
        if self._metrics is None or self._metrics[0] is not provider:
            self._metrics = provider, HttpMetrics(provider)
        return self._metrics[1]


class _Excluded:
    """A request without telemetry: nothing is looked at, and nothing inside it starts a trace."""

    __slots__ = ("_context", "_correlation_id", "_isolation", "receive", "send")

    def __init__(self, wire: Wire, unrecorded: Context, correlation_id: str | None) -> None:
        self._isolation = Isolation()
        self._context, self._correlation_id = unrecorded, correlation_id
        self.receive, self.send = wire.receive, wire.send

    def open(self) -> None:
        """Attach a context in which nothing is sampled."""
        self._isolation.enter(self._context, self._correlation_id)

    def failed(self, error: BaseException) -> None:
        """Nothing to note."""

    def close(self) -> None:
        """Restore the context from before."""
        self._isolation.leave()
