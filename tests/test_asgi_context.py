"""Correlation id and identity: in, out, on the span, and never in another request."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import pytest
from asgi_probe import hello, http_scope, request, run, serve, telemetry, ws_scope  # noqa: F401
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace

from tldr_observability import add_user_context, context, get_correlation_id, set_correlation_id
from tldr_observability.asgi import ObservabilityMiddleware

REQUESTS = 1000


def leaky_app(telemetry, seen):  # noqa: F811
    """Every way in which a request learns and shows who it is for."""
    app = FastAPI()

    def look(where, who):
        with telemetry.tracer.start_as_current_span(where) as span:
            seen.append((who, where, dict(context.attributes()), span.get_span_context().trace_id))

    def authenticate(who: str):
        add_user_context(organization_id=f"org-{who}", user_id=who)

    @app.get("/sync/{who}")
    def sync(who: str, tasks: BackgroundTasks, _: Annotated[None, Depends(authenticate)]):
        look("sync", who)
        tasks.add_task(look, "background", who)

    @app.get("/async/{who}")
    async def asynchronous(who: str, tasks: BackgroundTasks):
        await asyncio.sleep(random.random() / 50)
        authenticate(who)
        await asyncio.sleep(random.random() / 50)
        await asyncio.gather(asyncio.to_thread(look, "thread", who), child(who))

        async def later():
            await asyncio.sleep(random.random() / 50)
            look("background", who)

        tasks.add_task(later)

    async def child(who):
        await asyncio.sleep(0)
        look("child", who)

    return app


def test_a_thousand_interleaved_requests_share_nothing(telemetry):  # noqa: F811
    """Threads, tasks and background work of a thousand concurrent requests see their own identity and no other's."""
    seen = []
    app = telemetry.wrap(leaky_app(telemetry, seen))

    async def one(number):
        who = f"u{number}"
        kind = "sync" if number % 3 == 0 else "async"
        headers = [(b"x-request-id", f"id-{who}".encode())] if number % 2 else []
        response = await serve(app, http_scope(f"/{kind}/{who}", headers=headers))
        assert not context.attributes()
        assert not trace.get_current_span().get_span_context().is_valid
        return who, response.header(b"x-request-id").decode()

    async def go():
        answers = await asyncio.gather(*(one(number) for number in range(REQUESTS)))
        assert not context.attributes()
        return dict(answers)

    ids = asyncio.run(go())
    assert len(set(ids.values())) == REQUESTS
    servers = {span.attributes["user.id"]: span for span in telemetry.servers}
    assert len(servers) == REQUESTS
    assert len(seen) == sum(2 if number % 3 == 0 else 3 for number in range(REQUESTS))
    for who, _, attributes, trace_id in seen:
        assert attributes == {
            "tldr.correlation.id": ids[who], "tldr.organization.id": f"org-{who}", "user.id": who,
        }  # fmt: skip
        assert trace_id == servers[who].context.trace_id
    for who, span in servers.items():
        assert span.attributes["tldr.correlation.id"] == ids[who]
        assert span.attributes["tldr.organization.id"] == f"org-{who}"


@pytest.mark.parametrize(("sent", "echoed"), [
    ([(b"x-request-id", b"order-1")], b"order-1"),
    ([(b"x-correlation-id", b"order-2")], b"order-2"),
    ([(b"x-correlation-id", b"second"), (b"X-Request-ID", b"first")], b"first"),
    ([(b"x-request-id", b"a b\r\nset-cookie: x=1\xff\x00")], b"abset-cookie:x=1"),
    ([(b"x-request-id", b"x" * 70_000)], b"x" * 128),
    ([(b"x-request-id", b"one"), (b"x-request-id", b"two")], b"one"),
    ([(b"x-request-id", b""), (b"x-correlation-id", b"there")], b"there"),
])  # fmt: skip
def test_a_callers_correlation_id_comes_back_clean(telemetry, sent, echoed):  # noqa: F811
    """The caller's id is on the span and in the answer, without anything that could break a header."""
    response = run(telemetry.wrap(hello), http_scope(headers=sent))
    assert response.header(b"x-request-id") == echoed
    assert telemetry.server.attributes["tldr.correlation.id"] == echoed.decode()


@pytest.mark.parametrize("sent", [b"", b"   ", b"\r\n", b"\xff\xfe", b"\x00" * 70_000, " \u00e9".encode()])
def test_an_empty_correlation_id_is_replaced_by_the_trace_id(telemetry, sent):  # noqa: F811
    """Where nothing sensible came, the id is the trace's, so that it can be searched for."""
    response = run(telemetry.wrap(hello), http_scope(headers=[(b"x-request-id", sent)]))
    assert response.header(b"x-request-id") == f"{telemetry.server.context.trace_id:032x}".encode()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=300))
def test_no_correlation_id_can_break_the_response(telemetry, value):  # noqa: F811
    """Whatever comes in, what goes out is one line of visible ASCII within 128 characters."""
    response = run(telemetry.wrap(hello), http_scope(headers=[(b"x-request-id", value)]))
    echoed = response.header(b"x-request-id")
    assert 1 <= len(echoed) <= 128
    assert all(0x21 <= byte <= 0x7E for byte in echoed)
    assert response.header(b"traceresponse")


def test_an_id_that_the_app_sets_goes_out(telemetry):  # noqa: F811
    """A correlation id set by the endpoint replaces the one that came in, in the answer and on the span."""
    app = FastAPI()

    @app.get("/")
    def endpoint():
        set_correlation_id("from-the-app")

    response = request(telemetry.wrap(app), "/", headers={"x-request-id": "from-outside"})
    assert response.headers["x-request-id"] == "from-the-app"
    assert telemetry.server.attributes["tldr.correlation.id"] == "from-the-app"


def test_headers_that_the_app_sets_stay(telemetry):  # noqa: F811
    """An app that sends its own request id or traceresponse is not contradicted."""

    async def app(scope, receive, send):
        headers = [(b"X-Request-ID", b"mine"), (b"traceresponse", b"also mine")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        assert headers == [(b"X-Request-ID", b"mine"), (b"traceresponse", b"also mine")]

    assert run(telemetry.wrap(app)).headers == [(b"X-Request-ID", b"mine"), (b"traceresponse", b"also mine")]


def test_the_apps_own_message_is_not_changed(telemetry):  # noqa: F811
    """A response start that the app keeps and sends again has the app's headers only."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

    async def app(scope, receive, send):
        await send(start)

    app = telemetry.wrap(app)
    assert len(run(app).headers) == len(run(app).headers) == 3
    assert start["headers"] == [(b"a", b"b")]


def test_a_websocket_has_its_context_to_the_end(telemetry):  # noqa: F811
    """Identity that a websocket learns late is on its span."""
    app = FastAPI()

    @app.websocket("/")
    async def chat(websocket: WebSocket):
        await websocket.accept()
        add_user_context(user_id=await websocket.receive_text())
        await websocket.close()

    incoming = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "ada"}]
    response = run(telemetry.wrap(app), ws_scope(headers=[(b"x-request-id", b"w1")]), incoming)
    assert response.header(b"x-request-id") == b"w1"
    assert telemetry.server.attributes["user.id"] == "ada"


def test_baggage_travels_on_but_says_nothing_about_us(telemetry):  # noqa: F811
    """A caller's baggage is there for the services further down and becomes neither attribute nor identity."""
    seen = {}

    async def app(scope, receive, send):
        seen.update(baggage.get_all(), ours=get_correlation_id())
        await hello(scope, receive, send)

    headers = [
        (b"baggage", b"user.id=mallory, tldr.organization.id=evil;prop=1"),
        (b"baggage", b"tldr.correlation.id=evil,k=%20v"),
    ]
    run(telemetry.wrap(app), http_scope(headers=headers))
    assert seen.pop("ours") == f"{telemetry.server.context.trace_id:032x}"
    assert seen == {
        "user.id": "mallory", "tldr.organization.id": "evil;prop=1", "tldr.correlation.id": "evil", "k": "v",
    }  # fmt: skip
    assert not {"user.id", "tldr.organization.id"} & set(telemetry.server.attributes)
    assert telemetry.server.attributes["tldr.correlation.id"] != "evil"
    assert not baggage.get_all()


def test_hostile_baggage_is_dropped_without_a_word(telemetry, caplog):  # noqa: F811
    """Too much or malformed baggage is ignored, and nothing of it is logged."""
    sizes = []

    async def app(scope, receive, send):
        sizes.append(len(baggage.get_all()))

    wrapped = telemetry.wrap(app)
    for value in (
        b"a=b," * 2000,
        b"k" * 9000,
        b"=,;==,\xff=1,a b=c,ok=1",
        b",".join(b"k%d=1" % i for i in range(1000)),
    ):
        run(wrapped, http_scope(headers=[(b"baggage", value)]))
    run(wrapped, http_scope(headers=[(b"baggage", b"k%d=1" % i) for i in range(5000)]))
    assert sizes == [1, 0, 1, 180, 0]
    assert not caplog.records


def test_a_context_from_before_the_request_does_not_come_in_and_is_back_afterwards(telemetry):  # noqa: F811
    """What a test or a server had set around a request isn't seen inside it, and is untouched after it."""
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(context.attributes()))
        add_user_context(user_id="inner")

    token = context.begin_unit("outer")
    try:
        run(telemetry.wrap(app), http_scope(headers=[(b"x-request-id", b"inner-id")]))
        assert context.get_correlation_id() == "outer"
    finally:
        context.end_unit(token)
    assert seen == [{"tldr.correlation.id": "inner-id"}]


def test_a_request_that_is_abandoned_leaves_the_collectors_context_alone(telemetry, caplog):  # noqa: F811
    """A coroutine closed by somebody else, in another context, restores nothing there and logs nothing."""

    async def never(scope, receive, send):
        await asyncio.Event().wait()

    coroutine = telemetry.wrap(never)(http_scope(), None, None)

    async def start():
        coroutine.send(None)

    asyncio.run(start())
    with ThreadPoolExecutor(1) as pool:
        pool.submit(coroutine.close).result()
    assert telemetry.server.attributes["tldr.outcome"] == "cancelled"
    assert not caplog.records


def test_another_propagator_is_asked_where_there_is_no_traceparent(telemetry, monkeypatch):  # noqa: F811
    """With a further format in OTEL_PROPAGATORS, its header is understood; a valid traceparent comes first."""
    from opentelemetry import propagate
    from opentelemetry.propagators.aws import AwsXRayPropagator

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(AwsXRayPropagator())
    try:
        xray = (b"X-Amzn-Trace-Id", b"Root=1-aaaaaaaa-" + b"c" * 24 + b";Parent=" + b"d" * 16 + b";Sampled=1")
        w3c = (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")
        for headers in ([xray], [xray, w3c], [xray, (b"traceparent", b"nonsense")], []):
            run(ObservabilityMiddleware(hello, **telemetry.options), http_scope(headers=headers))
        traces = [f"{span.context.trace_id:032x}" for span in telemetry.servers]
        assert traces[:3] == ["a" * 8 + "c" * 24, "a" * 32, "a" * 8 + "c" * 24]
        assert telemetry.servers[3].parent is None
    finally:
        propagate.set_global_textmap(before)


def test_a_service_that_trusts_no_caller_starts_its_own_traces(telemetry):  # noqa: F811
    """`logfire.configure(distributed_tracing=False)` keeps callers out of our traces."""
    from logfire.propagate import NoExtractTraceContextPropagator
    from opentelemetry import propagate

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(NoExtractTraceContextPropagator(before))
    try:
        run(
            telemetry.wrap(hello),
            http_scope(headers=[(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")]),
        )
    finally:
        propagate.set_global_textmap(before)
    assert telemetry.server.parent is None
