"""The pytest fixtures that users get with the package."""

from __future__ import annotations

import asyncio
import textwrap

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, get_logger

from tldr_observability import guard, setup, traced

pytest_plugins = ["pytester"]

tracer = trace.get_tracer("shop")


@pytest.fixture
def run(pytester):
    """Run test code in a pytest of its own, as a user does."""

    def run(code, *arguments):
        pytester.makepyfile(textwrap.dedent(code))
        return pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", *arguments)

    return run


def test_spans_are_there_as_soon_as_they_are_asked_for(telemetry):
    """A span can be looked at right after its block, without a flush or a wait."""
    with tracer.start_as_current_span("request"):
        with tracer.start_as_current_span("load", attributes={"rows": 3}):
            pass
        with tracer.start_as_current_span("reply"):
            pass
    assert telemetry.span("load").attributes["rows"] == 3
    assert telemetry.span("load").parent_id == telemetry.span("request").span_id
    assert telemetry.tree() == "request\n  load\n  reply"
    assert len(telemetry.spans) == 3


def test_asking_for_a_span_that_is_not_there_names_the_others(telemetry):
    """`span(name)` fails unless there is exactly one such span, and says which there are."""
    for name in ("a", "b", "b"):
        tracer.start_span(name).end()
    with pytest.raises(AssertionError, match=r"one span named 'c', found 0 among \['a', 'b', 'b'\]"):
        telemetry.span("c")
    with pytest.raises(AssertionError, match="one span named 'b', found 2"):
        telemetry.span("b")


def test_open_spans_are_pending(telemetry):
    """A span that is still open shows as a placeholder, and as a span once it has ended."""
    with tracer.start_as_current_span("open"):
        assert [span.name for span in telemetry.pending_spans] == ["open"]
        assert telemetry.spans == []
    assert telemetry.span("open").name == "open"


def test_metrics_add_up_over_flushes(telemetry):
    """`total` is the sum since the test began, however often it is asked for."""
    counter = metrics.get_meter("shop").create_counter("orders", unit="{order}")
    counter.add(1, {"shop": "a"})
    assert telemetry.total("orders") == 1
    counter.add(2, {"shop": "b"})
    assert telemetry.total("orders") == 3
    assert telemetry.total("orders", shop="b") == 2
    assert {metric.unit for metric in telemetry.metrics if metric.name == "orders"} == {"{order}"}


def test_log_records_are_plain_values(telemetry):
    """A log record written within a span carries the span's ids."""
    with tracer.start_as_current_span("request"):
        get_logger("shop").emit(LogRecord(body="sold", event_name="order.sold"))
    (log,) = telemetry.logs
    assert (log.body, log.event_name) == ("sold", "order.sold")
    assert log.span_id == telemetry.span("request").span_id


def test_clear_begins_anew(telemetry):
    """After `clear` only what follows is seen, also of what was not flushed yet."""
    tracer.start_span("before").end()
    telemetry.clear()
    tracer.start_span("after").end()
    assert [span.name for span in telemetry.spans] == ["after"]


def test_the_apps_own_setup_joins(telemetry):
    """A `setup()` in the code under test neither conflicts nor exports anything twice."""
    setup()
    tracer.start_span("once").end()
    assert telemetry.span("once").resource["deployment.environment.name"] == "development"


def test_an_app_under_test_is_traced(telemetry):
    """A FastAPI app that calls `setup(app=app)` itself shows its requests in the fixture."""
    app = FastAPI()

    @app.get("/orders/{order_id}")
    def order(order_id: int):
        tracer.start_span("load").end()
        return order_id

    async def request():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            return await client.get("/orders/7")

    setup(app=app)
    assert asyncio.run(request()).json() == 7
    assert telemetry.tree() == "GET /orders/{order_id}\n  load"
    assert telemetry.span("GET /orders/{order_id}").kind == "server"


class TestWithSettings:
    """Code under test that gives settings to its own `setup()`."""

    @pytest.fixture
    def telemetry_settings(self):
        """The settings that the code under test gives."""
        return {"service_name": "shop"}

    def test_the_settings_of_the_fixture_can_be_chosen(self, telemetry):
        """`telemetry_settings` overridden with the app's own settings lets its `setup()` join."""
        assert setup(service_name="shop") is telemetry.observability
        tracer.start_span("sale").end()
        assert telemetry.span("sale").resource["service.name"] == "shop"


def test_a_bug_of_ours_surfaces(telemetry):
    """What the guard would log in production is raised in a test."""
    with pytest.raises(ZeroDivisionError), guard.guarded("dividing"):
        _ = 1 / 0


def test_a_failing_backend_can_be_rehearsed(telemetry):
    """The receiver of the fixture can refuse: what it refused is not seen, and nothing is raised."""
    telemetry.receiver.respond(400)
    tracer.start_span("refused").end()
    assert telemetry.spans == []
    telemetry.receiver.recover()
    tracer.start_span("accepted").end()
    assert [span.name for span in telemetry.spans] == ["accepted"]


def test_one_test_sees_nothing_of_another(run):
    """Each test has telemetry of its own, and after it the process is as before."""
    result = run(
        """
        import pytest
        from opentelemetry import metrics, trace
        from tldr_observability import guard, span

        tracer = trace.get_tracer("shop")
        counter = metrics.get_meter("shop").create_counter("orders")

        @pytest.mark.parametrize("number", [1, 2, 3])
        def test_number(telemetry, number):
            tracer.start_span(f"otel {number}").end()
            with span(f"own {number}"):
                counter.add(number)
            assert telemetry.tree() == f"otel {number}\\nown {number}"
            assert telemetry.total("orders") == number
            tracer.start_span("never asked for").end()

        def test_after():
            with guard.guarded("dividing"):
                1 / 0
            with span("to nowhere"):
                pass
        """
    )
    result.assert_outcomes(passed=4)
    assert result.duration < 20


def test_a_test_with_an_event_loop_can_use_it(telemetry):
    """Asking from within a running event loop works."""

    @traced
    async def work():
        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(work(), work())
        return telemetry.spans

    assert [span.name for span in asyncio.run(main())] == ["work", "work"]


def test_the_plugin_costs_nothing_where_it_is_not_used(run):
    """A pytest run that does not ask for the fixtures loads neither Logfire nor the SDK nor the receiver."""
    result = run(
        """
        import sys

        def test_nothing_loaded():
            names = ("logfire", "pydantic", "opentelemetry", "google.protobuf", "http.server")
            assert "tldr_observability.testing.plugin" in sys.modules
            loaded = [name for name in (*names, "tldr_observability.testing.receiver") if name in sys.modules]
            assert not loaded
        """,
        "-p",
        "no:logfire",
    )
    result.assert_outcomes(passed=1)


def test_a_receiver_alone_sets_nothing_up(run):
    """`otlp_receiver` is only a backend: it does not load the SDK."""
    result = run(
        """
        import sys
        import urllib.request

        def test_receiver(otlp_receiver):
            assert urllib.request.urlopen(otlp_receiver.url + "/v1/info").status == 200
            assert len(otlp_receiver.requests) == 1
            assert "opentelemetry.sdk" not in sys.modules
            assert "logfire" not in sys.modules
        """,
        "-p",
        "no:logfire",
    )
    result.assert_outcomes(passed=1)


def test_whatever_traces_the_test_run_is_nobodys_parent(run):
    """A plugin that makes each test a span, sampled or not, neither hides nor adopts what the test records."""
    result = run(
        """
        import pytest
        from opentelemetry import trace
        from tldr_observability import span

        @pytest.fixture(autouse=True, scope="module")
        def traced_run():
            around = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))
            with trace.use_span(around):
                yield

        def test_span(traced_run, telemetry):
            with span("mine"):
                pass
            assert telemetry.span("mine").parent_id is None
        """
    )
    result.assert_outcomes(passed=1)


def test_metrics_of_a_second_test_are_seen_as_well(run):
    """Instruments outlive the set-up of one test: ad-hoc ones, `timed` and the middleware's count in each test."""
    run(
        """
        import asyncio
        import httpx, pytest
        from fastapi import FastAPI
        from tldr_observability import metrics, setup, timed

        app = FastAPI()
        orders = metrics.counter("orders")

        @app.get("/")
        @timed(name="root")
        async def root() -> int:
            orders.add(1)
            return 1

        async def ask():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
                await client.get("/")

        @pytest.mark.parametrize("turn", [1, 2, 3])
        def test_turn(telemetry, turn):
            setup(app=app)
            asyncio.run(ask())
            assert telemetry.total("orders") == 1
            assert telemetry.total("tldr.function.duration", {"code.function": "root"}) == 1
            assert telemetry.total("http.server.request.duration") == 1
        """
    ).assert_outcomes(passed=3)
