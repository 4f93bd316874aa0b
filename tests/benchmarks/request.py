"""What observing a request costs, against bare FastAPI, Logfire's and OpenTelemetry's own instrumentation.

    python tests/benchmarks/request.py [--quick]

The application is called in this process, by raw ASGI: no sockets, no server. README.md beside this file says what the
peers and the columns are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import measure
from traced_call import batching, discarding

if TYPE_CHECKING:
    from collections.abc import Callable

BARE, OURS, DISABLED = "bare FastAPI", "ours", "ours (disabled)"
LOGFIRE, LOGFIRE_TOKEN = "logfire.instrument_fastapi", "logfire.instrument_fastapi, token"
CONTRIB, CONTRIB_LEAN = "otel-instrumentation-fastapi", "the same, no send/receive"

CALLS = 100
"""In one run. What is recorded must fit into every peer's queue."""

HEADERS = [
    (b"host", b"api.example.com"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
]
SAMPLED_OUT = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")


class Peer(NamedTuple):
    """An application as it is observed, and what delivers the telemetry."""

    app: Any
    flush: Callable[[], object]


def application() -> Any:
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Order(BaseModel):
        name: str
        count: int

    app = FastAPI()

    async def read(order: int) -> dict[str, int]:
        return {"order": order}

    async def create(order: Order) -> Order:
        return order

    # Not by decorator: the annotation of `create` can only be resolved as the class itself.
    create.__annotations__ = {"order": Order, "return": Order}
    app.get("/orders/{order}")(read)
    app.post("/orders")(create)
    return app


# The peers


def bare(_: str) -> Peer:
    return Peer(application(), lambda: None)


def ours(sink: str) -> Peer:
    from tldr_observability import setup

    app = application()
    return Peer(app, setup(app=app, token="benchmark", base_url=sink).flush)


def ours_disabled(_: str) -> Peer:
    from tldr_observability import setup

    app = application()
    return Peer(app, setup(app=app, enabled=False).flush)


def logfire_without_token(_: str) -> Peer:
    from logfire import MetricsOptions
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return _logfire(
        send_to_logfire=False,
        additional_span_processors=[batching(discarding())],
        metrics=MetricsOptions(additional_readers=[InMemoryMetricReader()]),
    )


def logfire_with_token(sink: str) -> Peer:
    from logfire import AdvancedOptions

    return _logfire(send_to_logfire=True, token="benchmark", advanced=AdvancedOptions(base_url=sink))


def _logfire(**configuration: Any) -> Peer:
    import logfire

    logfire.configure(console=False, **configuration)
    app = application()
    logfire.instrument_fastapi(app)
    return Peer(app, logfire.force_flush)


def contrib(**options: Any) -> Peer:
    from opentelemetry import metrics, trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(batching(discarding()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    app = application()
    FastAPIInstrumentor.instrument_app(app, **options)
    return Peer(app, provider.force_flush)


PEERS: dict[str, Callable[[str], Peer]] = {
    BARE: bare,
    CONTRIB: lambda _: contrib(),
    CONTRIB_LEAN: lambda _: contrib(exclude_spans=["send", "receive"]),
    LOGFIRE: logfire_without_token,
    LOGFIRE_TOKEN: logfire_with_token,
    OURS: ours,
    DISABLED: ours_disabled,
}
# The stable conventions, as ours has them; and Logfire shall not warn of the caller's trace.
SAME_TERMS = {"OTEL_SEMCONV_STABILITY_OPT_IN": "http", "LOGFIRE_DISTRIBUTED_TRACING": "true"}
VARIABLES = {peer: {} if peer in (BARE, OURS, DISABLED) else SAME_TERMS for peer in PEERS}


# The cases


def requests(app: Any, method: str, path: str, body: bytes, *more: tuple[bytes, bytes]) -> Callable[[int], object]:
    headers = [*HEADERS, *more]
    if body:
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    statuses = set()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    async def run(calls: int) -> None:
        for _ in range(calls):
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "root_path": "",
                "headers": list(headers),
                "client": ("192.0.2.1", 51234),
                "server": ("192.0.2.2", 8000),
                "state": {},
            }
            await app(scope, receive, send)
        assert statuses == {200}, statuses

    loop = asyncio.new_event_loop()
    return lambda calls: loop.run_until_complete(run(calls))


def cases(app: Any) -> dict[str, Callable[[int], object]]:
    return {
        "GET /orders/{order}": requests(app, "GET", "/orders/17", b""),
        "POST /orders": requests(app, "POST", "/orders", b'{"name": "north", "count": 3}'),
        "GET, sampled out by its caller": requests(app, "GET", "/orders/17", b"", SAMPLED_OUT),
    }


CASES = ("GET /orders/{order}", "POST /orders", "GET, sampled out by its caller")


def main() -> None:
    """Measure, and print a table a case."""
    options = measure.options(__doc__)
    if options.peer:
        peer = PEERS[options.peer](options.sink)
        measure.serve(cases(peer.app), peer.flush)
        return
    figures = measure.compare(__file__, VARIABLES, dict.fromkeys(CASES, CALLS), options)
    for case in filter(figures.__contains__, CASES):
        table = measure.Table(case, "call us", "added us", "/ bare", "/ contrib", "/ logfire", "cpu added us")
        for peer in PEERS:
            call = figures.added(case, peer, "call", None)
            if peer == BARE:
                table.row(peer, call)
                continue
            table.row(
                peer,
                call,
                figures.added(case, peer, "call", BARE),
                figures.ratio(case, peer, BARE, "call", None),
                figures.ratio(case, peer, CONTRIB, "call", BARE),
                figures.ratio(case, peer, LOGFIRE, "call", BARE),
                figures.added(case, peer, "cpu", BARE),
            )


if __name__ == "__main__":
    main()
