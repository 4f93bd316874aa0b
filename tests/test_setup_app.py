"""`setup(app=app)`: an application observed by one line, and the settings that concern it."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tldr_observability import (
    ConfigurationError,
    add_user_context,
    get_correlation_id,
    log_event,
    setup,
    traced_service_method,
)


@traced_service_method
def look_up(item: int) -> int:
    return item


def authenticate() -> None:
    """A synchronous dependency, which FastAPI runs in a thread of its own."""
    add_user_context(organization_id="org-1", user_id=7)


def make_app(**options) -> FastAPI:
    app = FastAPI(**options)

    @app.get("/items/{item}", dependencies=[Depends(authenticate)])
    def item(item: int) -> dict[str, int]:
        return {"item": look_up(item)}

    @app.get("/slow")
    @traced_service_method
    async def slow() -> str:
        await asyncio.sleep(0.06)
        return "done"

    @app.get("/missing")
    async def missing() -> None:
        raise HTTPException(404)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("broken")

    @app.get("/health/live")
    async def live() -> str:
        look_up(1)
        return "fine"

    @app.post("/echo")
    async def echo(body: dict[str, str]) -> dict[str, str]:
        log_event("echoed")
        return body

    return app


def ask(app, method, path, **options) -> httpx.Response:
    """One request to the application, without a socket."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.request(method, path, **options)

    return asyncio.run(go())


def server_spans(receiver):
    return [span for span in receiver.spans if span.kind == "server"]


@pytest.mark.parametrize("how", ["middleware", "contrib"])
def test_one_line_gives_one_server_span_with_everything_below_it(otlp_receiver, start, monkeypatch, how):
    """One SERVER span a request, whoever makes it; identity reaches it and all that is below, from a thread as well."""
    monkeypatch.setenv("LOGFIRE_FASTAPI_INSTRUMENTATION", how)
    app = make_app()
    observability = start(app=app)
    assert ask(app, "GET", "/items/5").json() == {"item": 5}
    assert observability.flush()
    (server,) = server_spans(otlp_receiver)
    assert server.name == "GET /items/{item}"
    assert server.scope_name == (
        "tldr_observability" if how == "middleware" else "opentelemetry.instrumentation.fastapi"
    )
    (child,) = [span for span in otlp_receiver.spans if span.name == "look_up"]
    assert child.trace_id == server.trace_id
    for span in (server, child):
        assert span.attributes["tldr.organization.id"] == "org-1"
        assert span.attributes["user.id"] == "7"
        assert span.attributes["tldr.correlation.id"]
    assert not [span for span in otlp_receiver.spans if span.scope_name == "fastapi"]
    assert next(status for status in observability.report() if status.part == "fastapi").on


def test_the_correlation_id_comes_in_and_goes_out_on_errors_too(otlp_receiver, start):
    """X-Request-ID is continued, and is on the response to an unhandled exception as well."""
    app = make_app()
    start(app=app)
    response = ask(app, "GET", "/broken", headers={"X-Request-ID": "mine-1"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "mine-1"
    assert response.headers["traceresponse"].startswith("00-")
    assert get_correlation_id() is None


def test_an_unhandled_exception_is_on_the_span_and_a_404_is_no_error(otlp_receiver, start):
    """5xx is an error with its stack trace; 4xx is the client's affair and a warning."""
    app = make_app()
    observability = start(app=app)
    ask(app, "GET", "/broken")
    ask(app, "GET", "/missing")
    assert observability.flush()
    by_name = {span.name: span for span in server_spans(otlp_receiver)}
    broken, missing = by_name["GET /broken"], by_name["GET /missing"]
    assert (broken.status, broken.attributes["http.response.status_code"]) == ("error", 500)
    assert "RuntimeError: broken" in broken.events[0].attributes["exception.stacktrace"]
    assert (missing.status, missing.attributes["logfire.level_num"]) == ("unset", 13)


@pytest.mark.parametrize("how", ["middleware", "contrib"])
def test_excluded_paths_leave_no_span_and_no_orphan(otlp_receiver, start, monkeypatch, how):
    """LOGFIRE_EXCLUDED_PATHS: neither the request nor what happens below it is traced or counted."""
    monkeypatch.setenv("LOGFIRE_FASTAPI_INSTRUMENTATION", how)
    monkeypatch.setenv("LOGFIRE_EXCLUDED_PATHS", "/health")
    app = make_app()
    observability = start(app=app)
    assert ask(app, "GET", "/health/live").status_code == 200
    assert observability.flush()
    assert not otlp_receiver.spans
    assert otlp_receiver.total("http.server.request.duration") == 0


@pytest.mark.parametrize("wanted", [True, False])
def test_headers_are_captured_when_asked_for(otlp_receiver, start, monkeypatch, wanted):
    """LOGFIRE_CAPTURE_HEADERS puts headers on the span, without the values of sensitive ones."""
    monkeypatch.setenv("LOGFIRE_CAPTURE_HEADERS", str(wanted))
    app = make_app()
    observability = start(app=app)
    ask(app, "GET", "/items/1", headers={"X-Color": "green", "Authorization": "Bearer very-secret"})
    assert observability.flush()
    (server,) = server_spans(otlp_receiver)
    assert (server.attributes.get("http.request.header.x-color") == ["green"]) is wanted
    assert "very-secret" not in str(server)


@pytest.mark.parametrize("wanted", [True, False])
def test_bodies_are_captured_when_asked_for(otlp_receiver, start, monkeypatch, wanted):
    """LOGFIRE_CAPTURE_BODY puts the beginnings of textual bodies on the span."""
    monkeypatch.setenv("LOGFIRE_CAPTURE_BODY", str(wanted))
    app = make_app()
    observability = start(app=app)
    assert ask(app, "POST", "/echo", json={"tea": "green"}).json() == {"tea": "green"}
    assert observability.flush()
    (server,) = server_spans(otlp_receiver)
    assert any("green" in str(value) for value in server.attributes.values()) is wanted


def test_slow_calls_are_marked_and_logged(otlp_receiver, start, monkeypatch):
    """LOGFIRE_SLOW_THRESHOLD=0.05: a decorated call that takes longer is marked on its span and in the log."""
    monkeypatch.setenv("LOGFIRE_SLOW_THRESHOLD", "0.05")
    app = make_app()
    observability = start(app=app)
    ask(app, "GET", "/slow")
    ask(app, "GET", "/items/1")
    assert observability.flush()
    marked = {span.name: span.attributes.get("tldr.slow") for span in otlp_receiver.spans}
    assert (marked["slow"], marked["look_up"]) == (True, None)
    (log,) = otlp_receiver.logs
    assert log.event_name == "tldr.slow_call"
    assert log.trace_id == next(span.trace_id for span in otlp_receiver.spans if span.name == "slow")


def test_request_metrics_are_exact_whatever_is_sampled(otlp_receiver, start):
    """With no trace kept, every request is still counted, by method, route and status."""
    app = make_app()
    observability = start(app=app, sample_rate=0)
    for _ in range(5):
        ask(app, "GET", "/items/1")
    ask(app, "GET", "/missing")
    assert observability.flush()
    assert not otlp_receiver.spans
    route = {"http.route": "/items/{item}", "http.response.status_code": 200, "http.request.method": "GET"}
    assert otlp_receiver.total("http.server.request.duration", route) == 5
    assert otlp_receiver.total("http.server.request.duration", {"http.response.status_code": 404}) == 1


def test_log_events_of_a_sampled_out_request_are_kept(otlp_receiver, start):
    """Sampling leaves out traces, not events."""
    app = make_app()
    observability = start(app=app, sample_rate=0)
    ask(app, "POST", "/echo", json={})
    assert observability.flush()
    assert [log.event_name for log in otlp_receiver.logs] == ["echoed"]


def test_an_app_that_serves_already_is_observed_from_then_on(otlp_receiver, start):
    """setup(app=app) in a lifespan or later works from the next request on."""
    app = make_app()
    ask(app, "GET", "/items/1")
    observability = start(app=app)
    ask(app, "GET", "/items/2")
    assert observability.flush()
    assert len(server_spans(otlp_receiver)) == 1


def test_the_same_app_twice_is_one_middleware_and_another_app_is_added(otlp_receiver, start):
    """setup(app=app) again is a no-op; setup(app=other) observes the other as well."""
    app, other = make_app(), make_app()
    observability = start(app=app)
    setup(app=app)
    setup(app=other)
    ask(app, "GET", "/items/1")
    ask(other, "GET", "/items/2")
    assert observability.flush()
    assert len(server_spans(otlp_receiver)) == 2


def test_a_mounted_app_shares_its_parents_span_and_has_the_full_route(otlp_receiver, start):
    """A sub-application set up as well makes no second span; the route has the prefix."""
    app, inner = FastAPI(), make_app()
    app.mount("/shops/{shop}", inner)
    observability = start(app=app)
    setup(app=inner)
    assert ask(app, "GET", "/shops/north/items/3").status_code == 200
    assert observability.flush()
    (server,) = server_spans(otlp_receiver)
    assert server.name == "GET /shops/{shop}/items/{item}"


def test_a_starlette_app_is_observed_too(otlp_receiver, start):
    """Starlette's applications need nothing of FastAPI."""
    app = Starlette(routes=[Route("/hello/{name}", lambda request: PlainTextResponse("hi"))])
    observability = start(app=app)
    assert ask(app, "GET", "/hello/ada").text == "hi"
    assert observability.flush()
    assert [span.name for span in server_spans(otlp_receiver)] == ["GET /hello/{name}"]


def test_something_that_is_no_app_is_refused(start):
    """A callable that can't be wrapped in place is refused with the line to write instead."""
    with pytest.raises(ConfigurationError, match=r"app = ObservabilityMiddleware\(app\)"):
        start(app=lambda scope, receive, send: None)


def test_a_disabled_service_serves_untouched(otlp_receiver, start):
    """LOGFIRE_ENABLED=false: no span, no header, no metric."""
    app = make_app()
    start(app=app, enabled=False)
    response = ask(app, "GET", "/items/1")
    assert response.json() == {"item": 1}
    assert "x-request-id" not in response.headers
    assert not otlp_receiver.requests


def test_requests_are_not_delayed_by_a_backend_that_hangs(otlp_receiver, start):
    """Twenty requests in front of a hanging backend take no longer than they would."""
    app = make_app()
    start(app=app, batch_size=1, flush_interval=0.01)
    otlp_receiver.hang()
    before = time.monotonic()
    for _ in range(20):
        assert ask(app, "GET", "/items/1").status_code == 200
    assert time.monotonic() - before < 3


def test_the_last_word_on_identity_counts(otlp_receiver, start):
    """What a later dependency finds out, in a thread of its own, replaces what an earlier one assumed."""
    app = FastAPI()

    async def assume() -> None:
        add_user_context(organization_id="assumed", user_id="anonymous")

    def verify() -> None:
        add_user_context(user_id="ada")

    @app.get("/me", dependencies=[Depends(assume), Depends(verify)])
    async def me() -> int:
        return look_up(1)

    observability = start(app=app)
    ask(app, "GET", "/me")
    assert observability.flush()
    assert {span.attributes["user.id"] for span in otlp_receiver.spans} == {"ada"}
    assert {span.attributes["tldr.organization.id"] for span in otlp_receiver.spans} == {"assumed"}


def test_credentials_in_a_query_string_are_withheld(otlp_receiver, start):
    """The values of parameters that hold credentials by their names are not exported; harmless ones stay."""
    app = make_app()
    observability = start(app=app)
    ask(app, "GET", "/items/1?api_key=s3cret&access%5Ftoken=s3cret&author=ada&code=s3cret&page=2&flag")
    assert observability.flush()
    (server,) = server_spans(otlp_receiver)
    assert server.attributes["url.query"] == (
        "api_key=[redacted]&access%5Ftoken=[redacted]&author=ada&code=[redacted]&page=2&flag"
    )
    assert "s3cret" not in str(otlp_receiver.spans)


def test_contrib_counts_requests_under_the_stable_name(otlp_receiver, program):
    """With contrib, too, the metric is http.server.request.duration, and no caller can choose its attributes."""
    running = program(
        """
import asyncio, httpx
from fastapi import FastAPI
from tldr_observability import setup

app = FastAPI()
setup(app=app)

@app.get("/items/{item}")
async def item(item: int) -> int:
    return item

async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        await client.get("/items/1", headers={"Host": "chosen-by-a-caller"})

asyncio.run(ask())
""",
        env={"LOGFIRE_FASTAPI_INSTRUMENTATION": "contrib"},
    )
    assert running.finish() == 0, running.output
    assert otlp_receiver.total("http.server.request.duration", {"http.route": "/items/{item}"}) == 1
    assert "chosen-by-a-caller" not in str(otlp_receiver.metrics)
    assert [span.name for span in server_spans(otlp_receiver)] == ["GET /items/{item}"]


def test_contrib_for_an_app_that_serves_already_is_refused(start):
    """What can't work any more is said, with what to do instead."""
    app = make_app()
    ask(app, "GET", "/items/1")
    with pytest.raises(ConfigurationError, match="serves already"):
        start(app=app, fastapi_instrumentation="contrib")
