"""What the tests of the ASGI middleware share: real providers in memory, and a server that speaks ASGI by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tldr_observability import _record, guard
from tldr_observability.asgi import ObservabilityMiddleware


class Telemetry:
    """Real providers whose output can be looked at."""

    def __init__(self, sampler=None):
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(sampler=sampler)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.tracer_provider.get_tracer("test")
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader])

    def wrap(self, app, **options):
        """The app under our middleware, which reports here."""
        return ObservabilityMiddleware(app, **self.options, **options)

    @property
    def options(self):
        return {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider}

    @property
    def spans(self):
        return list(self._exporter.get_finished_spans())

    @property
    def servers(self):
        return [span for span in self.spans if span.kind is SpanKind.SERVER]

    @property
    def server(self):
        """The one server span; fails when there is another number of them."""
        (span,) = self.servers
        return span

    def named(self, name):
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def clear(self):
        self._exporter.clear()

    def points(self, name):
        """The data points of a metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry():
    """Fresh providers; a bug of ours raises instead of being logged, and the process's record is blank."""
    before = guard.set_strict(True)
    _record.reset()
    yield Telemetry()
    _record.reset()
    guard.set_strict(before)


@dataclass
class Response:
    """What the app sent."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self):
        return next(m["status"] for m in self.messages if m["type"].endswith("response.start"))

    @property
    def headers(self):
        kinds = ("http.response.start", "websocket.accept")
        return [tuple(pair) for m in self.messages if m["type"] in kinds for pair in m.get("headers", ())]

    def header(self, name):
        (value,) = [value for key, value in self.headers if key == name]
        return value

    @property
    def body(self):
        return b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body")


def http_scope(path="/", method="GET", headers=(), **more):
    """A scope as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("203.0.113.7", 4711),
        "server": ("127.0.0.1", 8000),
        "state": {},
        **more,
    }


def ws_scope(path="/", **more):
    """The scope of a websocket's handshake."""
    scope = http_scope(path, **{"scheme": "ws", "subprotocols": [], **more})
    del scope["method"]
    return {**scope, "type": "websocket"}


async def serve(app, scope, incoming=None, response=None):
    """Let an app handle one connection; it hears a disconnect when `incoming` is used up."""
    response = Response() if response is None else response
    queue = list(incoming) if incoming is not None else [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if queue:
            return queue.pop(0)
        if scope["type"] == "websocket":
            return {"type": "websocket.disconnect", "code": 1001}
        return {"type": "http.disconnect"}

    async def send(message):
        response.messages.append(message)

    await app(scope, receive, send)
    return response


def run(app, scope=None, incoming=None):
    """The same, in an event loop of its own."""
    return asyncio.run(serve(app, http_scope() if scope is None else scope, incoming))


def request(app, path, method="GET", **more):
    """A request through httpx, as an answer to which anything may come."""

    async def go():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
            return await client.request(method, path, **more)

    return asyncio.run(go())


async def hello(scope, receive, send):
    """The smallest app."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})
