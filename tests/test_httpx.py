"""httpx: a span and a measurement for each request, one trace across services, and who learns the correlation id."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from servers import free_port

from tldr_observability import ConfigurationError, ObservabilityMiddleware, context, span
from tldr_observability.integrations import httpx as integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tldr_observability.testing import OTLPReceiver

DURATION = "http.client.request.duration"
SECRET = "s3cr3t-value"


class Handler(BaseHTTPRequestHandler):
    """Answers with the headers that it was sent, redirects, fails or streams, as the path says."""

    def do_GET(self) -> None:
        path, _, where = self.path.partition("?to=")
        if path == "/redirect":
            self.send_response(302)
            self.send_header("location", where)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        body = json.dumps({key.lower(): value for key, value in self.headers.items()}).encode()
        self.send_response(500 if path == "/broken" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A server on all loopback names; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


class Seen:
    """What the backend got."""

    def __init__(self, observability: Any, receiver: OTLPReceiver) -> None:
        self.observability, self.receiver = observability, receiver

    def flush(self) -> OTLPReceiver:
        assert self.observability.flush(5)
        return self.receiver

    @property
    def clients(self) -> list[Any]:
        return [each for each in self.flush().spans if each.kind == "client"]

    def count(self, **attributes: Any) -> float:
        return self.flush().total(DURATION, {key.replace("__", "."): value for key, value in attributes.items()})


@pytest.fixture
def seen(start: Callable[..., Any], otlp_receiver: OTLPReceiver) -> Iterator[Seen]:
    """A set-up with the integration on."""
    observability = start()
    integration.uninstrument()
    integration.instrument(propagate_to=["127.0.0.1", "*.friends.test"])
    yield Seen(observability, otlp_receiver)
    integration.uninstrument()


def by_httpx(url: str, **options: Any) -> Any:
    with httpx.Client(**options) as client:
        return client.get(url)


def by_async_httpx(url: str, **options: Any) -> Any:
    async def ask() -> Any:
        async with httpx.AsyncClient(**options) as client:
            return await client.get(url)

    return asyncio.run(ask())


def by_httpx2(url: str, **options: Any) -> Any:
    with httpx2.Client(**options) as client:
        return client.get(url)


def by_async_httpx2(url: str, **options: Any) -> Any:
    async def ask() -> Any:
        async with httpx2.AsyncClient(**options) as client:
            return await client.get(url)

    return asyncio.run(ask())


CLIENTS = [by_httpx, by_async_httpx, by_httpx2, by_async_httpx2]
Ask = Any


@contextmanager
def request_of(correlation_id: str) -> Iterator[None]:
    """The context of a request that came in."""
    token = context.begin_unit(correlation_id)
    try:
        yield
    finally:
        context.end_unit(token)


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_request_is_one_client_span_and_one_measurement(ask: Ask, seen: Seen, server: int) -> None:
    """A request stands in the trace of its caller under the stable names, and the server is told of the trace."""
    with span("request"):
        sent = ask(f"http://127.0.0.1:{server}/things?page=2").json()

    (found,) = seen.clients
    parent = next(each for each in seen.receiver.spans if each.name == "request")
    assert (found.name, found.parent_id, found.status) == ("GET", parent.span_id, "unset")
    assert found.attributes["http.request.method"] == "GET"
    assert found.attributes["http.response.status_code"] == 200
    assert found.attributes["server.address"] == "127.0.0.1"
    assert found.attributes["url.full"] == f"http://127.0.0.1:{server}/things?page=2"
    assert sent["traceparent"] == f"00-{found.trace_id}-{found.span_id}-01"
    assert seen.count(http__request__method="GET", server__address="127.0.0.1", http__response__status_code=200) == 1
    assert seen.count() == 1
    (metric,) = [each for each in seen.receiver.metrics if each.name.startswith("http.client.")]
    assert (metric.name, metric.unit) == (DURATION, "s")


def test_one_trace_across_two_services(seen: Seen, server: int) -> None:
    """The span of the service that is called is a child of the caller's client span."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/inner")
    def inner() -> str:
        return context.get_correlation_id() or ""

    port = free_port()
    service = uvicorn.Server(uvicorn.Config(ObservabilityMiddleware(app), port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        while not service.started:
            thread.join(0.01)
        with request_of("order-7"), span("outer"):
            assert httpx.get(f"http://127.0.0.1:{port}/inner").json() == "order-7"
    finally:
        service.should_exit = True
        thread.join()

    (client,) = seen.clients
    (served,) = [each for each in seen.receiver.spans if each.kind == "server"]
    assert (served.trace_id, served.parent_id) == (client.trace_id, client.span_id)


@pytest.mark.parametrize("ask", CLIENTS)
def test_only_hosts_on_the_list_are_told_the_correlation_id(ask: Ask, seen: Seen, server: int) -> None:
    """The correlation id goes to the hosts that were named, and to no other."""
    with request_of("order-7"):
        friend = ask(f"http://127.0.0.1:{server}/").json()
        stranger = ask(f"http://localhost:{server}/").json()

    assert friend["x-request-id"] == "order-7"
    assert "x-request-id" not in stranger
    assert "traceparent" in stranger


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_redirect_to_a_stranger_takes_no_correlation_id_along(ask: Ask, seen: Seen, server: int) -> None:
    """A friend that redirects to a stranger hands the correlation id on to nobody; each hop is a span."""
    with request_of("order-7"):
        answer = ask(f"http://127.0.0.1:{server}/redirect?to=http://localhost:{server}/", follow_redirects=True)

    assert "x-request-id" not in answer.json()
    assert [each.attributes["http.response.status_code"] for each in seen.clients] == [302, 200]
    assert seen.count() == 2


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_correlation_id_of_the_callers_stands(ask: Ask, seen: Seen, server: int) -> None:
    """Who sets the header of a request sends what was set."""
    with request_of("order-7"):
        sent = ask(f"http://127.0.0.1:{server}/", headers={"X-Request-Id": "mine"}).json()

    assert sent["x-request-id"] == "mine"


def test_subdomains_by_a_star(seen: Seen) -> None:
    """`*.friends.test` means every host below, in any case, and neither the domain itself nor a look-alike."""
    assert integration._may_know("api.friends.test")
    assert integration._may_know("eu.api.friends.test")
    assert not integration._may_know("friends.test")
    assert not integration._may_know("evilfriends.test")
    assert not integration._may_know("api.friends.test.evil.example")


def test_without_a_correlation_id_none_is_made_up(seen: Seen, server: int) -> None:
    """Outside of any request there is nothing to tell, and no baggage is written either."""
    sent = by_httpx(f"http://127.0.0.1:{server}/").json()

    assert "x-request-id" not in sent
    assert "baggage" not in sent


def test_the_hosts_own_baggage_is_its_own(seen: Seen, server: int) -> None:
    """What a program itself puts into W3C baggage is neither dropped nor added to."""
    token = otel_context.attach(baggage.set_baggage("shop", "tea"))
    with request_of("order-7"):
        sent = by_httpx(f"http://127.0.0.1:{server}/").json()
    otel_context.detach(token)

    assert sent["baggage"] == "shop=tea"


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_server_that_is_away(ask: Ask, seen: Seen) -> None:
    """A refused connection is a failed span and a measurement by the exception's name; the exception is the host's."""
    with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
        ask(f"http://127.0.0.1:{free_port()}/")

    (found,) = seen.clients
    assert (found.status, found.attributes["error.type"]) == ("error", "ConnectError")
    assert found.events[0].attributes["exception.type"].endswith(".ConnectError")
    assert seen.count(error__type="ConnectError") == seen.count() == 1


def test_an_answer_of_failure(seen: Seen, server: int) -> None:
    """A status of 500 is a failed span, and counted by it."""
    assert by_httpx(f"http://127.0.0.1:{server}/broken").status_code == 500

    (found,) = seen.clients
    assert (found.status, found.attributes["error.type"]) == ("error", "500")
    assert seen.count(error__type="500", http__response__status_code=500) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_streams_and_bodies_pass(is_async: bool, seen: Seen, server: int) -> None:
    """A streamed answer arrives whole, and a body that is sent to a host on the list does too."""
    url = f"http://127.0.0.1:{server}/"

    async def by_async() -> bytes:
        async with httpx.AsyncClient() as client, client.stream("POST", url, content=b"tea") as answer:
            return b"".join([chunk async for chunk in answer.aiter_bytes()])

    def by_sync() -> bytes:
        with httpx.Client() as client, client.stream("POST", url, content=iter([b"t", b"ea"])) as answer:
            return b"".join(answer.iter_bytes())

    with request_of("order-7"):
        sent = json.loads(asyncio.run(by_async()) if is_async else by_sync())

    assert sent["x-request-id"] == "order-7"
    assert sent.get("content-length") == "3" or sent["transfer-encoding"] == "chunked"
    assert [each.name for each in seen.clients] == ["POST"]


def test_a_client_made_before_is_observed(start: Callable[..., Any], otlp_receiver: OTLPReceiver, server: int) -> None:
    """It doesn't matter whether a client was made before or after the set-up."""
    with httpx.Client() as client:
        observability = start()
        integration.instrument()
        try:
            client.get(f"http://127.0.0.1:{server}/")
        finally:
            integration.uninstrument()

    assert len(Seen(observability, otlp_receiver).clients) == 1


def test_the_callers_request_is_not_changed(seen: Seen, server: int) -> None:
    """The request that the answer refers to is the caller's object, without the header that was added."""
    with request_of("order-7"), httpx.Client() as client:
        request = client.build_request("GET", f"http://127.0.0.1:{server}/")
        answer = client.send(request)

    assert answer.request is request
    assert "x-request-id" not in request.headers


def test_secrets_of_the_address_are_not_exported(seen: Seen, server: int) -> None:
    """Neither userinfo nor signed query parameters leave the process."""
    by_httpx(f"http://clerk:{SECRET}@127.0.0.1:{server}/a?Signature={SECRET}&sig={SECRET}&page=2")

    assert len(seen.clients) == 1
    receiver = seen.receiver
    assert SECRET not in repr((receiver.spans, receiver.pending_spans, receiver.metrics))


def test_made_up_methods_make_no_series(seen: Seen, server: int) -> None:
    """A method that nobody knows is counted as _OTHER."""
    with httpx.Client() as client:
        client.request("BREW", f"http://127.0.0.1:{server}/")

    assert seen.count(http__request__method="_OTHER") == 1


def test_suppressed_requests_leave_nothing(seen: Seen, server: int) -> None:
    """Within OpenTelemetry's `suppress_instrumentation` there is neither span nor measurement."""
    with suppress_instrumentation():
        by_httpx(f"http://127.0.0.1:{server}/")

    assert seen.clients == []
    assert seen.count() == 0


def test_observing_twice_and_undoing(start: Callable[..., Any]) -> None:
    """A second set-up patches nothing twice, and the tests' reset leaves both libraries as they were."""

    def patched() -> list[Any]:
        return [
            vars(getattr(library, transport))[method]
            for library in (httpx, httpx2)
            for transport, method in (
                ("HTTPTransport", "handle_request"),
                ("AsyncHTTPTransport", "handle_async_request"),
            )
        ]

    start()  # OpenTelemetry's instrumentation decides once a process which names it writes
    integration.uninstrument()
    before = patched()
    assert integration.instrument() == "the requests of httpx and httpx2"
    once = patched()
    said = integration.instrument(propagate_to=["api.example.com"])

    assert said == "the requests of httpx and httpx2; api.example.com told the correlation id"
    assert patched() == once
    assert all(new is not old for new, old in zip(once, before, strict=True))
    integration.uninstrument()
    integration.uninstrument()
    assert patched() == before


@pytest.mark.parametrize("wrong", ["https://api.example.com", "api.example.com:443", "*", "*.", "a.*.com", "", "a b"])
def test_what_is_no_host_is_refused(wrong: str) -> None:
    """A URL or a port in the list of hosts is refused with what belongs there."""
    with pytest.raises(ConfigurationError, match="PROPAGATE_CONTEXT_TO: expected hosts such as"):
        integration.instrument(propagate_to=[wrong])


@pytest.mark.parametrize(
    "imports",
    [
        "import httpx",
        "import httpx2, httpx",
        "import opentelemetry.instrumentation.httpx",
        "import logfire; logfire.instrument_httpx()",
    ],
)
def test_whichever_import_comes_first_after_the_set_up(
    imports: str, program: Callable[..., Any], otlp_receiver: OTLPReceiver, server: int
) -> None:
    """Requests are observed whichever library a service imports first, each by one span."""
    service = program(
        f"""
        from tldr_observability import setup
        observability = setup()
        {imports}
        import httpx
        (status,) = [each for each in observability.report() if each.part == "httpx"]
        assert status.on, status
        httpx.get("http://127.0.0.1:{server}/"), httpx.get("http://127.0.0.1:{server}/")
        """
    )

    assert service.finish() == 0, service.output
    assert [each.name for each in otlp_receiver.spans] == ["GET", "GET"]


def test_threads_that_import_at_once(program: Callable[..., Any], otlp_receiver: OTLPReceiver, server: int) -> None:
    """Threads that import both libraries and OpenTelemetry's instrumentation at once neither fail nor lose spans."""
    service = program(
        f"""
        import sys, threading
        from tldr_observability import setup
        observability = setup()
        failures = []
        barrier = threading.Barrier(3)
        def load(name):
            barrier.wait()
            try:
                __import__(name)
            except BaseException as error:
                failures.append(error)
        names = ("httpx", "httpx2", "opentelemetry.instrumentation.httpx")
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        [each.start() for each in threads]
        [each.join() for each in threads]
        (status,) = [each for each in observability.report() if each.part == "httpx"]
        assert status.on and not failures, (status, failures)
        for name in names[:2]:
            sys.modules[name].get("http://127.0.0.1:{server}/")
        """
    )

    assert service.finish() == 0, service.output
    assert "deadlock" not in service.output
    assert [each.name for each in otlp_receiver.spans] == ["GET", "GET"]
