"""One SERVER span a request, whoever else wants to make one."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from asgi_probe import hello, http_scope, request, run, telemetry  # noqa: F401
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware as StarletteMiddleware

from tldr_observability import add_user_context
from tldr_observability.asgi import ObservabilityMiddleware

CALLER = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}


@pytest.fixture(autouse=True)
def contrib_undone():
    """The contrib instrumentor patches Starlette's background tasks for the whole process."""
    yield
    FastAPIInstrumentor.uninstrument_app(FastAPI())


def service(**options):
    app = FastAPI(**options)

    @app.get("/items/{item}")
    async def item(item: str):
        add_user_context(organization_id="acme", user_id=item)
        return item

    @app.get("/boom")
    async def boom():
        raise LookupError("gone")

    return app


def native_off(**more):
    return service(telemetry={"tracing": False, "metrics": False, "logs": False, **more})


def native_on(t):
    return {"tracer_provider": t.tracer_provider, "meter_provider": t.meter_provider}


def outside_native(t):
    return t.wrap(service(telemetry=native_on(t)))


def inside_native(t):
    app = service(telemetry=native_on(t))
    app.add_middleware(ObservabilityMiddleware, **t.options)
    return app


def outside_starlette(t):
    app = native_off()
    app.add_middleware(StarletteMiddleware, **t.options)
    return t.wrap(app)


def inside_starlette(t):
    app = native_off()
    app.add_middleware(ObservabilityMiddleware, **t.options)
    app.add_middleware(StarletteMiddleware, **t.options)
    return app


def inside_contrib(t):
    app = native_off()
    app.add_middleware(ObservabilityMiddleware, **t.options)
    FastAPIInstrumentor.instrument_app(app, **t.options, exclude_spans=["receive", "send"])
    return app


def around_contrib(t):
    app = native_off()
    FastAPIInstrumentor.instrument_app(app, **t.options, exclude_spans=["receive", "send"])
    return t.wrap(app)


def inside_bare_contrib(t):
    return ContribMiddleware(t.wrap(native_off()), **t.options, exclude_spans=["receive", "send"])


def everything(t):
    app = service(telemetry=native_on(t))
    app.add_middleware(ObservabilityMiddleware, **t.options)
    app.add_middleware(StarletteMiddleware, **t.options)
    app.add_middleware(ObservabilityMiddleware, **t.options)
    return t.wrap(app)


def twice(t):
    app = native_off()
    app.add_middleware(ObservabilityMiddleware, **t.options)
    return t.wrap(app)


COMBINATIONS = [
    outside_native, inside_native, outside_starlette, inside_starlette, inside_contrib, around_contrib,
    inside_bare_contrib, everything, twice,
]  # fmt: skip
JOINED = [inside_native, inside_starlette, inside_contrib, inside_bare_contrib]


@pytest.mark.parametrize("make", COMBINATIONS)
def test_there_is_one_server_span_with_our_facts(telemetry, make):  # noqa: F811
    """Whoever made it, the one server span is in the caller's trace and has correlation id, identity and headers."""
    app = make(telemetry)
    response = request(app, "/items/7", headers={**CALLER, "x-request-id": "order-1"})
    span = telemetry.server
    assert span.context.trace_id == int("a" * 32, 16)
    assert span.name == "GET /items/{item}" or make is inside_bare_contrib
    assert span.attributes["tldr.correlation.id"] == "order-1"
    assert span.attributes["tldr.organization.id"] == "acme"
    assert span.attributes["user.id"] == "7"
    assert response.headers["x-request-id"] == "order-1"
    assert response.headers["traceresponse"].split("-")[2] == f"{span.context.span_id:016x}"
    assert {s.context.trace_id for s in telemetry.spans} == {span.context.trace_id}


@pytest.mark.parametrize("make", COMBINATIONS)
def test_the_request_is_counted_once(telemetry, make):  # noqa: F811
    """Two sources of the span never make two counts of the request."""
    request(make(telemetry), "/items/7")
    points = [p for name in ("http.server.request.duration", "http.server.duration") for p in telemetry.points(name)]
    # Around the contrib instrumentor both count, each in a scope of its own.
    assert len(points) == (2 if make is around_contrib else 0 if make is inside_starlette else 1)


# The contrib middleware ends its span with the answer, and around the whole app the exception comes only afterwards.
@pytest.mark.parametrize("make", [make for make in COMBINATIONS if make is not inside_bare_contrib])
def test_an_exception_is_on_the_one_span(telemetry, make):  # noqa: F811
    """The exception is recorded where nobody else records it, and never twice."""
    assert request(make(telemetry), "/boom").status_code == 500
    events = [event for event in telemetry.server.events if event.name == "exception"]
    assert [event.attributes["exception.message"] for event in events] == ["gone"]


@pytest.mark.parametrize("make", JOINED)
def test_a_joined_span_that_is_sampled_out_stays_the_only_one(telemetry, make):  # noqa: F811
    """Where the other's span is sampled out, ours doesn't take its place; the correlation id still works."""
    quiet = type(telemetry)(sampler=ParentBased(ALWAYS_OFF))
    response = request(make(quiet), "/items/7")
    assert quiet.spans == []
    assert response.headers["x-request-id"] == response.headers["traceresponse"].split("-")[1]
    ours = [point for point in quiet.points("http.server.request.duration") if make is not inside_native]
    # The contrib instrumentor counts by itself, and nothing tells its bare middleware's span from a stranger's.
    assert ours == [] or make in (inside_contrib, inside_bare_contrib)


@pytest.mark.parametrize("make", [outside_native, outside_starlette, twice])
def test_an_excluded_request_silences_those_further_in(telemetry, make):  # noqa: F811
    """An excluded path makes no span of FastAPI's or Starlette's either."""
    request(make(telemetry), "/health")
    assert telemetry.spans == []


@pytest.mark.parametrize("make", [inside_native, inside_contrib, twice])
def test_captures_go_on_the_joined_span(telemetry, make):  # noqa: F811
    """Headers and bodies asked for are on the one span, though it is somebody else's."""
    app = make(telemetry)

    async def reading(scope, receive, send):
        await receive()
        await hello(scope, receive, send)

    captured = telemetry.wrap(reading, capture_headers=True, capture_body=True)
    app.mount("/captured", captured) if isinstance(app, FastAPI) else app.app.mount("/captured", captured)
    request(app, "/captured/x", "POST", content=b"hi", headers={"content-type": "text/plain"})
    attributes = telemetry.server.attributes
    assert attributes["http.request.body.text"] == "hi"
    assert attributes["http.response.body.text"] == "hello"
    assert attributes["http.request.header.content-type"] == ("text/plain",)


def test_the_native_telemetry_is_as_before_after_an_excluded_or_claimed_request(telemetry):  # noqa: F811
    """Claiming a request marks that request only."""
    app = service(telemetry=native_on(telemetry))
    request(telemetry.wrap(app), "/items/1")
    telemetry.clear()
    request(app, "/items/1")
    assert telemetry.server.instrumentation_scope.name == "fastapi"


def test_a_current_span_of_another_kind_is_not_taken_for_the_server_span(telemetry):  # noqa: F811
    """A client span around an in-process call is the caller's, and the request gets its own."""
    with telemetry.tracer.start_as_current_span("call", kind=SpanKind.CLIENT):
        run(telemetry.wrap(hello), http_scope())
    assert telemetry.server.name == "GET"


def test_spans_that_logfire_wraps_are_joined():
    """Under Logfire's provider, whose spans are wrappers, the native server span is found and joined as well."""
    code = """
    import asyncio, json, httpx, logfire
    from fastapi import FastAPI
    from logfire.testing import TestExporter
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from tldr_observability import add_user_context, guard
    from tldr_observability.asgi import ObservabilityMiddleware
    guard.set_strict(True)
    exporter = TestExporter()
    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)])
    def service(place):
        app = FastAPI()
        @app.get("/items/{item}")
        async def item(item: str):
            add_user_context(user_id=item)
            if item == "boom":
                raise LookupError("gone")
        if place == "added":
            app.add_middleware(ObservabilityMiddleware)
        return app if place == "added" else ObservabilityMiddleware(app)
    found = {}
    async def go(place, item):
        transport = httpx.ASGITransport(service(place), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            await client.get(f"/items/{item}")
        logfire.force_flush()
        found[f"{place} {item}"] = [
            [s.name, s.attributes.get("user.id"), s.attributes.get("logfire.level_num"), len(s.events)]
            for s in exporter.exported_spans
            if s.kind.name == "SERVER" and s.attributes.get("logfire.span_type") != "pending_span"
        ]
        exporter.clear()
    for place in ("around", "added"):
        for item in ("7", "boom"):
            asyncio.run(go(place, item))
    print(json.dumps(found))
    """
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    fine, bad = [["GET /items/{item}", "7", None, 0]], [["GET /items/{item}", "boom", 17, 1]]
    assert found == {"around 7": fine, "around boom": bad, "added 7": fine, "added boom": bad}
