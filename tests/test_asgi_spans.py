"""The server span: one a request, its name, its attributes, how it ends."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from types import SimpleNamespace

import fastapi
import pytest
from asgi_probe import Response, hello, http_scope, request, run, serve, telemetry, ws_scope  # noqa: F401
from fastapi import APIRouter, BackgroundTasks, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute

from tldr_observability import _record
from tldr_observability.asgi import ObservabilityMiddleware
from tldr_observability.errors import ConfigurationError

# FastAPI's own telemetry speaks to the process's providers, which other test modules may have set.
FastAPI = partial(fastapi.FastAPI, telemetry={"tracing": False, "metrics": False, "logs": False})


async def echo(request):
    return PlainTextResponse("ok")


@pytest.fixture(autouse=True)
def nobody_has_set_up(monkeypatch):
    """What other test modules set up in this process is not there for this one."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)


def fastapi_app():
    app = FastAPI()
    inner, outer, plain = APIRouter(), APIRouter(prefix="/outer"), APIRouter()

    @inner.get("/items/{item}")
    def item(item: str):
        return item

    plain.add_route("/plain/{x}", echo)

    outer.include_router(inner, prefix="/inner")
    app.include_router(outer, prefix="/v1")
    app.include_router(outer, prefix="/v2")
    app.include_router(plain, prefix="/deep")

    tenant = FastAPI()

    @tenant.get("/orders/{order}")
    async def order(order: str):
        return order

    app.mount("/tenants/{tenant}", tenant)

    @app.get("/files/{name:path}")
    async def file(name: str):
        return name

    @app.get("/")
    async def root():
        return 1

    return app


def starlette_app():
    class Endpoint(HTTPEndpoint):
        async def get(self, request):
            return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/class/{x}", Endpoint),
            Mount("/a/{a}", routes=[Mount("/b/{b}", routes=[Route("/c/{c}", echo), Route("/", echo)])]),
            Mount("/static", StaticFiles(directory="tests", check_dir=False)),
            Host("{sub}.service.test", app=Starlette(routes=[Route("/by-host/{y}", echo)])),
            Route("/same/{x}", echo),
        ]
    )


ROUTES = [
    (fastapi_app, "/", "GET /"),
    (fastapi_app, "/v1/outer/inner/items/7", "GET /v1/outer/inner/items/{item}"),
    (fastapi_app, "/v2/outer/inner/items/7", "GET /v2/outer/inner/items/{item}"),
    (fastapi_app, "/deep/plain/1", "GET /deep/plain/{x}"),
    (fastapi_app, "/tenants/acme/orders/9", "GET /tenants/{tenant}/orders/{order}"),
    (fastapi_app, "/tenants/acme/nothing", "GET /tenants/{tenant}/{path}"),
    (fastapi_app, "/files/a/b/c.txt", "GET /files/{name}"),
    (fastapi_app, "/docs", "GET /docs"),
    (fastapi_app, "/nothing/here", "GET"),
    (starlette_app, "/class/1", "GET /class/{x}"),
    (starlette_app, "/a/1/b/2/c/3", "GET /a/{a}/b/{b}/c/{c}"),
    (starlette_app, "/a/1/b/2/", "GET /a/{a}/b/{b}/"),
    (starlette_app, "/static/missing.txt", "GET /static/{path}"),
    (starlette_app, "/same/1", "GET /same/{x}"),
    (starlette_app, "/nothing", "GET"),
]


@pytest.mark.parametrize("place", ["around", "added"])
@pytest.mark.parametrize(("make", "path", "name"), ROUTES)
def test_the_name_is_the_full_route_template(telemetry, make, path, name, place):  # noqa: F811
    """A span is named after the whole template, mounts and prefixes included, wherever the middleware was put."""
    app = make()
    if place == "around":
        app = telemetry.wrap(app)
    else:
        app.add_middleware(ObservabilityMiddleware, **telemetry.options)
    request(app, path)
    assert telemetry.server.name == name
    assert telemetry.server.attributes.get("http.route") == (name.removeprefix("GET").strip() or None)
    assert telemetry.server.attributes["logfire.msg"] == f"GET {path}"


def test_a_route_behind_a_host_is_named(telemetry):  # noqa: F811
    """A route chosen by the request's host has its template in the name."""
    request(telemetry.wrap(starlette_app()), "/by-host/1", headers={"host": "eu.service.test"})
    assert telemetry.server.name == "GET /by-host/{y}"


def test_a_route_added_later_is_found(telemetry):  # noqa: F811
    """A route that was added after the first requests is named, its mount and prefix included, within a second."""
    app = fastapi_app()
    router = APIRouter()
    router.add_api_route("/late/{x}", lambda x: x)
    wrapped = telemetry.wrap(app)
    request(wrapped, "/")
    app.include_router(router, prefix="/sub")
    end = time.monotonic() + 5
    while not telemetry.servers or telemetry.servers[-1].name != "GET /sub/late/{x}":
        assert time.monotonic() < end, telemetry.servers[-1].name
        request(wrapped, "/sub/late/1")
        time.sleep(0.02)


@pytest.mark.parametrize(
    "app",
    [
        lambda t: Starlette(routes=[Mount("/tenants/{tenant}", t.wrap(fastapi_app()))]),
        lambda t: t.wrap(Starlette(routes=[Mount("/tenants/{tenant}", t.wrap(fastapi_app()))])),
    ],
    ids=["inner-only", "both"],
)
def test_a_middleware_on_a_mounted_app_knows_where_it_is(telemetry, app):  # noqa: F811
    """Around a mounted app the name has the mount's template; two middlewares make one span."""
    request(app(telemetry), "/tenants/acme/v1/outer/inner/items/7")
    assert telemetry.server.name == "GET /tenants/{tenant}/v1/outer/inner/items/{item}"


def test_the_root_path_is_part_of_the_route(telemetry):  # noqa: F811
    """Behind a prefix that the server was told of, the route has it, as the conventions say."""
    scope = http_scope("/api/v1/outer/inner/items/7", root_path="/api")
    run(telemetry.wrap(fastapi_app()), scope)
    assert telemetry.server.name == "GET /api/v1/outer/inner/items/{item}"


def test_a_root_path_that_callers_choose_stays_bounded(telemetry):  # noqa: F811
    """Where a proxy lets callers choose the root path, the number of names has an end."""
    app = telemetry.wrap(fastapi_app())
    for number in range(200):
        run(app, http_scope(f"/r{number}/docs", root_path=f"/r{number}"))
    assert len({span.name for span in telemetry.servers}) == 65


def test_attributes_follow_the_stable_conventions(telemetry):  # noqa: F811
    """What is known of a request is there under the conventions' names."""
    headers = [(b"host", b"shop.example:8443"), (b"user-agent", b"curl/8"), (b"content-length", b"3")]
    scope = http_scope("/docs", query_string=b"a=1&b=%20", scheme="https", headers=headers)
    run(telemetry.wrap(fastapi_app()), scope)
    attributes = dict(telemetry.server.attributes)
    size = attributes.pop("http.response.body.size")
    assert size > 100
    assert attributes.pop("tldr.correlation.id") == f"{telemetry.server.context.trace_id:032x}"
    assert attributes == {
        "logfire.msg": "GET /docs",
        "http.request.method": "GET",
        "http.request.body.size": 3,
        "http.response.status_code": 200,
        "http.route": "/docs",
        "url.path": "/docs",
        "url.query": "a=1&b=%20",
        "url.scheme": "https",
        "network.protocol.version": "1.1",
        "server.address": "shop.example",
        "server.port": 8443,
        "client.address": "203.0.113.7",
        "client.port": 4711,
        "user_agent.original": "curl/8",
    }
    assert telemetry.server.kind is SpanKind.SERVER
    assert telemetry.server.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("host", "scheme", "address", "port"), [
    (b"shop.example", "https", "shop.example", 443), (b"[2001:db8::1]:81", "http", "2001:db8::1", 81),
    (b"[2001:db8::1]", "http", "2001:db8::1", 80), (b"shop.example/path", "http", "127.0.0.1", 8000),
    (b"user:pw@shop.example", "http", "127.0.0.1", 8000), (b"", "http", "127.0.0.1", 8000),
])  # fmt: skip
def test_the_server_is_the_one_that_the_client_asked_for(telemetry, host, scheme, address, port):  # noqa: F811
    """The Host header names the server where it is well-formed, else the socket does."""
    run(telemetry.wrap(hello), http_scope(scheme=scheme, headers=[(b"host", host)]))
    attributes = telemetry.server.attributes
    assert (attributes["server.address"], attributes["server.port"]) == (address, port)


def test_an_unknown_method_does_not_become_a_name(telemetry):  # noqa: F811
    """A made-up method is `_OTHER` and its own word is kept apart, cut short."""
    run(telemetry.wrap(hello), http_scope(method="BREW" * 100))
    assert telemetry.server.name == "HTTP"
    assert telemetry.server.attributes["http.request.method"] == "_OTHER"
    assert telemetry.server.attributes["http.request.method_original"] == ("BREW" * 100)[:32]


@pytest.mark.parametrize(("status", "level", "code", "kind"), [
    (204, None, StatusCode.UNSET, None), (404, 13, StatusCode.UNSET, None), (503, 17, StatusCode.ERROR, "503"),
])  # fmt: skip
def test_the_status_sets_level_and_outcome(telemetry, status, level, code, kind):  # noqa: F811
    """A client's error is a warning, a server's is an error with its status as its type."""
    app = FastAPI()

    @app.get("/")
    async def answer():
        raise HTTPException(status)

    request(telemetry.wrap(app), "/")
    span = telemetry.server
    assert span.attributes["http.response.status_code"] == status
    assert span.attributes.get("logfire.level_num") == level
    assert span.attributes.get("error.type") == kind
    assert span.status.status_code is code


class UnprintableError(Exception):
    """An exception whose text can't be had."""

    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error", [ValueError("bad"), UnprintableError(), KeyboardInterrupt()], ids=["tame", "broken", "interrupt"]
)
@pytest.mark.parametrize("when", ["before", "within", "after"])
def test_an_exception_is_recorded_and_leaves_as_it_came(telemetry, error, when):  # noqa: F811
    """The server gets the very exception; the span says what it was, and 500 only where that is what was answered."""

    async def app(scope, receive, send):
        if when != "before":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": when == "within"})
        raise error

    with pytest.raises(type(error)) as caught:
        run(telemetry.wrap(app))
    assert caught.value is error
    span = telemetry.server
    (event,) = [event for event in span.events if event.name == "exception"]
    assert event.attributes["exception.type"].endswith(type(error).__name__)
    assert span.attributes["error.type"].endswith(type(error).__name__)
    assert span.attributes["http.response.status_code"] == (500 if when == "before" else 200)
    assert span.attributes["logfire.level_num"] == 17
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("place", ["around", "added"])
def test_an_exception_of_an_endpoint_is_recorded_once(telemetry, place):  # noqa: F811
    """FastAPI answers 500 and raises on: one event, one error type, whether the answer was seen or not."""
    app = FastAPI()

    @app.get("/boom")
    async def boom():
        raise LookupError("gone")

    if place == "added":
        app.add_middleware(ObservabilityMiddleware, **telemetry.options)
    response = request(app if place == "added" else telemetry.wrap(app), "/boom")
    assert response.status_code == 500
    assert [event.attributes["exception.message"] for event in telemetry.server.events] == ["gone"]
    assert telemetry.server.attributes["error.type"] == "LookupError"
    (point,) = telemetry.points("http.server.request.duration")
    assert (point.attributes["error.type"], point.attributes["http.response.status_code"]) == ("LookupError", 500)


def test_a_cancelled_request_is_no_error(telemetry):  # noqa: F811
    """A cancelled request is cancelled for its server too; its span says so and is no error."""
    started = asyncio.Event()

    async def slow(scope, receive, send):
        started.set()
        await asyncio.sleep(10)

    async def go():
        task = asyncio.ensure_future(serve(telemetry.wrap(slow), http_scope()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert telemetry.server.attributes["tldr.outcome"] == "cancelled"
    assert telemetry.server.status.status_code is StatusCode.UNSET
    assert not telemetry.server.events
    (active,) = telemetry.points("http.server.active_requests")
    assert active.value == 0


def test_a_client_that_goes_away_is_no_error(telemetry):  # noqa: F811
    """A disconnect while the body is read or the answer is streamed is an outcome, not an error."""

    async def reading(scope, receive, send):
        from starlette.requests import Request

        await Request(scope, receive).body()

    async def streaming(scope, receive, send):
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    from starlette.requests import ClientDisconnect

    with pytest.raises(ClientDisconnect):
        run(telemetry.wrap(reading), incoming=[])
    run(telemetry.wrap(streaming), incoming=[])
    for span in telemetry.servers:
        assert span.attributes["tldr.outcome"] == "disconnected"
        assert span.status.status_code is StatusCode.UNSET
        assert not span.events


def test_background_work_is_in_the_trace_but_not_in_the_duration(telemetry):  # noqa: F811
    """The span ends with the response; the background task's span is below it all the same."""
    app = FastAPI()

    above = []

    def later():
        current = trace.get_current_span()
        # Where another module has used contrib's instrumentation, its span of the task stands in between for good.
        above.extend((current.get_span_context(), getattr(current, "parent", None)))
        with telemetry.tracer.start_as_current_span("later"):
            time.sleep(0.1)

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        tasks.add_task(later)

    request(telemetry.wrap(app), "/")
    server, background = telemetry.server, telemetry.named("later")
    assert background.parent.span_id == above[0].span_id
    assert server.context.span_id in {span.span_id for span in above if span}
    assert server.end_time <= background.start_time
    (point,) = telemetry.points("http.server.request.duration")
    assert point.sum == pytest.approx((server.end_time - server.start_time) / 1e9, abs=0.05)


def test_a_stream_is_one_span_and_every_chunk_passes_as_it_came(telemetry):  # noqa: F811
    """A stream of 500 chunks is one span; each chunk is the same object and passes before the next is made."""
    chunks = [b"%d" % number for number in range(500)]
    made = []
    response = Response()

    async def generate():
        for chunk in chunks:
            assert len(response.messages) == len(made) + 1
            made.append(chunk)
            yield chunk

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for chunk in generate():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    asyncio.run(serve(telemetry.wrap(app), http_scope(), response=response))
    assert [message["body"] for message in response.messages[1:-1]] == chunks
    assert all(a["body"] is b for a, b in zip(response.messages[1:-1], chunks, strict=True))
    assert telemetry.server.attributes["http.response.body.size"] == sum(map(len, chunks))
    assert len(telemetry.spans) == 1


@pytest.mark.parametrize("messages", [
    [{"type": "http.response.early_hint", "links": [b"</x>"]}, {"type": "http.response.start", "status": 200},
     {"type": "http.response.pathsend", "path": "/x"}],
    [{"type": "http.response.start", "status": 200, "trailers": True, "headers": []},
     {"type": "http.response.body", "body": b"a"},
     {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": True},
     {"type": "http.response.trailers", "headers": [(b"x", b"y")]}],
    [{"type": "http.response.debug", "info": {}}, {"type": "http.response.start", "status": 200, "headers": ()},
     {"type": "http.response.body"}],
    [{"type": "no.such.message"}],
])  # fmt: skip
def test_extensions_pass_untouched(telemetry, messages):  # noqa: F811
    """Early hints, path sends, trailers and what nobody knows reach the server as the app sent them."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    response = run(telemetry.wrap(app))
    for sent, arrived in zip(messages, response.messages, strict=True):
        if sent["type"] == "http.response.start":
            assert arrived.items() >= {k: v for k, v in sent.items() if k != "headers"}.items()
        else:
            assert arrived is sent
    assert telemetry.server


def test_a_response_with_trailers_ends_with_the_last_of_them(telemetry):  # noqa: F811
    """Until its trailers are sent, a response is not complete."""
    active = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True, "headers": []})
        await send({"type": "http.response.body", "body": b"a"})
        active.extend(point.value for point in telemetry.points("http.server.active_requests"))
        await send({"type": "http.response.trailers", "headers": []})
        active.extend(point.value for point in telemetry.points("http.server.active_requests"))

    run(telemetry.wrap(app))
    assert active == [1, 0]


@pytest.mark.parametrize("path", ["/health", "/health/live", "/healthz", "/internal/x", "/internal-too"])
def test_an_excluded_path_leaves_nothing(telemetry, path):  # noqa: F811
    """An excluded request makes no span, no metric and no parentless spans inside it, with or without a caller."""

    async def app(scope, receive, send):
        with telemetry.tracer.start_as_current_span("inside"):
            await hello(scope, receive, send)

    wrapped = telemetry.wrap(app, excluded_paths=["/health", "/healthz", "/internal*"])
    caller = (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")
    for headers in ([], [caller]):
        assert run(wrapped, http_scope(path, headers=headers)).messages[0]["headers"] == [
            (b"content-type", b"text/plain")
        ]
    assert telemetry.spans == []
    assert telemetry.points("http.server.request.duration") == []
    assert telemetry.points("http.server.active_requests") == []
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("path", ["/healthy", "/", "/api/health", "/intern"])
def test_a_path_that_only_looks_excluded_is_traced(telemetry, path):  # noqa: F811
    """Exclusion ends at a slash and begins at the path's start."""
    run(telemetry.wrap(hello, excluded_paths=["/health", "/internal*"]), http_scope(path))
    assert telemetry.server


def test_the_trace_of_an_excluded_request_goes_on_unsampled(telemetry):  # noqa: F811
    """Inside an excluded request the caller's trace id stays, without the sampled flag."""
    seen = []

    async def app(scope, receive, send):
        seen.append(trace.get_current_span().get_span_context())

    headers = [(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-03")]
    run(telemetry.wrap(app), http_scope("/health", headers=headers))
    assert (seen[0].trace_id, int(seen[0].trace_flags)) == (int("a" * 32, 16), 2)


def test_what_setup_decided_counts_at_the_time_of_the_request(telemetry):  # noqa: F811
    """A middleware made before `setup()` follows its settings; what was passed to it comes first."""
    follows, decided = telemetry.wrap(hello), telemetry.wrap(hello, excluded_paths=[], capture_headers=False)
    _record.record.settings = SimpleNamespace(excluded_paths=("/quiet",), capture_headers=True, capture_body=False)
    run(follows, http_scope("/quiet"))
    assert telemetry.spans == []
    run(follows, http_scope("/health"))
    assert "http.response.header.content-type" in telemetry.server.attributes
    telemetry.clear()
    run(decided, http_scope("/quiet"))
    assert "http.response.header.content-type" not in telemetry.server.attributes
    _record.record.enabled = False
    telemetry.clear()
    assert run(follows).headers == [(b"content-type", b"text/plain")]
    assert telemetry.spans == []


def test_unsampled_requests_are_counted_and_answered_alike(telemetry):  # noqa: F811
    """Sampling takes the span and nothing else: metrics, correlation id and traceresponse stay."""
    quiet = type(telemetry)(sampler=ParentBased(ALWAYS_OFF))
    response = run(quiet.wrap(hello))
    assert quiet.spans == []
    assert response.header(b"traceresponse").endswith(b"-02")
    assert response.header(b"x-request-id") == response.header(b"traceresponse").split(b"-")[1]
    (point,) = quiet.points("http.server.request.duration")
    assert point.count == 1


def test_without_any_provider_the_request_is_untouched_but_for_its_id():
    """Without a configured SDK there is a correlation id and no invented span."""
    response = run(ObservabilityMiddleware(hello))
    assert [name for name, _ in response.headers] == [b"content-type", b"x-request-id"]


def test_metrics_follow_the_conventions(telemetry):  # noqa: F811
    """Duration, active requests and body sizes carry the route, never the path."""
    app = telemetry.wrap(fastapi_app())
    for number in range(3):
        request(app, f"/v1/outer/inner/items/{number}")
    (point,) = telemetry.points("http.server.request.duration")
    assert point.count == 3
    assert point.explicit_bounds[:3] == (0.005, 0.01, 0.025)
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.route": "/v1/outer/inner/items/{item}",
        "http.response.status_code": 200,
    }
    (active,) = telemetry.points("http.server.active_requests")
    assert (active.value, dict(active.attributes)) == (0, {"http.request.method": "GET", "url.scheme": "http"})
    (sent,) = telemetry.points("http.server.response.body.size")
    assert sent.sum == 9
    (received,) = telemetry.points("http.server.request.body.size")
    assert received.sum == 0


def test_the_answer_to_a_head_request_has_no_body(telemetry):  # noqa: F811
    """What an app sends in answer to HEAD doesn't count, for the server keeps it back."""
    run(telemetry.wrap(hello), http_scope(method="HEAD"))
    assert telemetry.server.attributes["http.response.body.size"] == 0


def test_hostile_requests_make_no_new_series(telemetry):  # noqa: F811
    """Made-up methods, schemes, versions and paths all end in the same few series."""
    app = telemetry.wrap(hello)
    for number in range(100):
        run(app, http_scope(f"/{number}", method=f"M{number}", scheme=f"s{number}", http_version=f"{number}.7"))
    assert len(telemetry.points("http.server.request.duration")) == 1
    assert len(telemetry.points("http.server.active_requests")) == 1


def test_active_requests_rise_and_fall(telemetry):  # noqa: F811
    """While a request is handled it is active, also when the app rewrites its scope."""
    seen = []

    async def app(scope, receive, send):
        scope["method"] = "POST"
        seen.extend(point.value for point in telemetry.points("http.server.active_requests"))

    run(telemetry.wrap(app))
    assert seen == [1]
    assert [point.value for point in telemetry.points("http.server.active_requests")] == [0]


def test_a_websocket_is_one_span_from_handshake_to_close(telemetry):  # noqa: F811
    """A websocket's span has its route, its close code and the correlation id on the accept."""
    app = FastAPI()

    @app.websocket("/chat/{room}")
    async def chat(websocket: WebSocket, room: str):
        await websocket.accept()
        for _ in range(3):
            await websocket.send_text(await websocket.receive_text())
        await websocket.close(4000)

    incoming = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": "x"} for _ in range(3))]
    response = asyncio.run(serve(telemetry.wrap(app), ws_scope("/chat/7"), incoming))
    span = telemetry.server
    assert span.name == "WEBSOCKET /chat/{room}"
    assert response.header(b"x-request-id") == f"{span.context.trace_id:032x}".encode()
    expected = {"http.response.status_code": 101, "websocket.close_code": 4000, "url.scheme": "ws"}
    assert expected.items() <= dict(span.attributes).items()
    assert telemetry.points("http.server.request.duration") == []


def test_a_websocket_that_the_client_leaves_is_no_error(telemetry):  # noqa: F811
    """The client's close ends the span with its code, though Starlette raises."""
    app = FastAPI()

    @app.websocket("/")
    async def chat(websocket: WebSocket):
        await websocket.accept()
        await websocket.receive_text()

    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect):
        run(telemetry.wrap(app), ws_scope(), [{"type": "websocket.connect"}])
    assert telemetry.server.attributes["websocket.close_code"] == 1001
    assert telemetry.server.status.status_code is StatusCode.UNSET


def test_a_refused_websocket_is_a_warning(telemetry):  # noqa: F811
    """A close before the accept is what the client sees: 403."""

    async def app(scope, receive, send):
        await send({"type": "websocket.close", "code": 1008})

    run(telemetry.wrap(app), ws_scope())
    assert telemetry.server.attributes["http.response.status_code"] == 403
    assert telemetry.server.attributes["logfire.level_num"] == 13


def test_class_style_apps_work(telemetry):  # noqa: F811
    """An app that is a class whose instances are awaited is served and named like any other."""

    class App:
        def __init__(self, scope, receive, send):
            self.work = hello(scope, receive, send)

        def __await__(self):
            return self.work.__await__()

    class Echo(WebSocketEndpoint):
        encoding = "text"

        async def on_receive(self, websocket, data):
            await websocket.send_text(data)

    assert run(telemetry.wrap(App)).body == b"hello"
    telemetry.clear()
    app = telemetry.wrap(Starlette(routes=[WebSocketRoute("/ws/{x}", Echo)]))
    incoming = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "x"}]
    response = run(app, ws_scope("/ws/1"), incoming)
    assert [message["type"] for message in response.messages] == ["websocket.accept", "websocket.send"]
    assert telemetry.server.name == "WEBSOCKET /ws/{x}"
    telemetry.clear()
    run(telemetry.wrap(Echo), ws_scope("/"), [{"type": "websocket.connect"}])
    assert telemetry.server


def test_other_scope_types_pass_untouched(telemetry):  # noqa: F811
    """A scope type that nobody knows yet reaches the app with the server's own callables."""
    seen = []

    async def app(*args):
        seen.extend(args)

    args = {"type": "webtransport"}, object(), object()
    asyncio.run(telemetry.wrap(app)(*args))
    assert all(a is b for a, b in zip(seen, args, strict=True))
    assert telemetry.spans == []


def test_a_request_inside_a_request_has_a_span_of_its_own(telemetry):  # noqa: F811
    """An app that calls another one in the same process makes two server spans, not one shared."""

    async def outer(scope, receive, send):
        await serve(inner, http_scope("/inner"))
        await hello(scope, receive, send)

    inner = telemetry.wrap(hello)
    run(telemetry.wrap(outer), http_scope("/outer"))
    assert [span.attributes["url.path"] for span in telemetry.servers] == ["/inner", "/outer"]


def test_behind_base_http_middleware_nothing_is_lost(telemetry):  # noqa: F811
    """Starlette's task-hopping middleware further in changes neither the name nor the trace."""
    app = fastapi_app()

    async def dispatch(request, call_next):
        with telemetry.tracer.start_as_current_span("dispatch"):
            return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    request(telemetry.wrap(app), "/v1/outer/inner/items/1")
    assert telemetry.server.name == "GET /v1/outer/inner/items/{item}"
    assert telemetry.named("dispatch").parent.span_id == telemetry.server.context.span_id


def test_a_server_started_inside_a_span_does_not_put_requests_into_its_trace(telemetry):  # noqa: F811
    """A request's trace comes from its headers and from nowhere else."""
    with telemetry.tracer.start_as_current_span("main"):
        run(telemetry.wrap(hello))
    assert telemetry.server.parent is None


def test_a_streaming_response_names_its_route(telemetry):  # noqa: F811
    """A FastAPI streaming response is one named span."""
    app = FastAPI()

    @app.get("/stream/{x}")
    async def stream(x: str):
        return StreamingResponse(iter([b"a", b"b"]))

    assert request(telemetry.wrap(app), "/stream/1").content == b"ab"
    assert telemetry.server.name == "GET /stream/{x}"


@pytest.mark.parametrize("paths", ["/health", ["health"], [7], ["*"]])
def test_a_bad_excluded_path_is_refused_at_once(telemetry, paths):  # noqa: F811
    """What can't be a path is refused where the middleware is made, with what was given."""
    with pytest.raises(ConfigurationError, match=r"excluded_paths: expected .* got"):
        telemetry.wrap(hello, excluded_paths=paths)


def test_a_failing_background_task_after_the_answer_is_an_error(telemetry):  # noqa: F811
    """An OSError of background work is not taken for a client that went away, though the answer is complete."""

    async def app(scope, receive, send):
        await hello(scope, receive, send)
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        raise ConnectionRefusedError("no database")

    with pytest.raises(ConnectionRefusedError):
        run(telemetry.wrap(app))
    assert telemetry.server.attributes["error.type"] == "ConnectionRefusedError"
    assert telemetry.server.attributes["http.response.status_code"] == 200


def test_a_framework_that_names_endpoints_of_its_own_gets_bounded_names(telemetry):  # noqa: F811
    """An endpoint that hangs in no tree of routes leaves the method alone as the name."""

    async def app(scope, receive, send):
        scope["endpoint"] = app
        await hello(scope, receive, send)

    wrapped = telemetry.wrap(app)
    for number in range(3):
        run(wrapped, http_scope(f"/{number}"))
    assert {span.name for span in telemetry.servers} == {"GET"}
