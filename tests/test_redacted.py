"""Where redaction stands: in front of every exporter, the console and a program's own pipeline, for whole items."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import logfire
import pytest
from opentelemetry import metrics as otel_metrics
from opentelemetry import trace

from tldr_observability import LogHandler, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tldr_observability.testing import OTLPReceiver

SECRET = "Zq8vLm2pXw"  # nothing but a name tells that it is one


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger whose records are exported, and nothing else happens to them."""
    logger, handler = logging.getLogger("test_redacted"), LogHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)


def record_everywhere(logger: logging.Logger) -> None:
    """Use a secret under its name, and its value where no name tells of it."""
    logfire.info("hi {password}", password=SECRET)
    with logfire.span("login {api_key}", api_key=SECRET), span("again {token}", token=SECRET):
        pass
    with trace.get_tracer("x").start_as_current_span(f"s {SECRET}", attributes={"token": SECRET}) as current:
        current.add_event(f"e {SECRET}", {"what": f"text {SECRET}"})
        current.record_exception(ValueError(f"bad {SECRET}"))
        current.set_status(trace.StatusCode.ERROR, f"bad {SECRET}")
    logger.info("login %(password)s", {"password": SECRET})
    logger.info("login", extra={"password": SECRET})


@pytest.mark.parametrize("console", [False, True])
def test_a_value_that_is_withheld_is_nowhere_else_in_its_item(
    start: Callable, otlp_receiver: OTLPReceiver, logger: logging.Logger, capfd: pytest.CaptureFixture, console: bool
) -> None:
    """Messages, names, events, errors and the console don't show what an attribute of the same item is withheld for."""
    observability = start(console_enabled=console)
    record_everywhere(logger)
    observability.flush()

    assert len(otlp_receiver.spans) == 4
    assert len(otlp_receiver.logs) == 2
    assert SECRET not in repr([*otlp_receiver.spans, *otlp_receiver.logs])
    assert "again [redacted]" in repr(otlp_receiver.spans)
    printed = "".join(capfd.readouterr())
    assert SECRET not in printed
    assert ("login" in printed) is console


PROGRAM = """
import logging, sys
sys.path.insert(0, {tests!r})
import logfire
from test_redacted import SECRET, record_everywhere
from tldr_observability import setup
{before}
observability = setup(console_enabled=False)
record_everywhere(logging.getLogger("x"))
observability.flush()
print("seen:", len(seen()), "leaked:", SECRET in repr(seen()))
"""
HOSTS = {
    "logfire": """
from logfire.testing import TestExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
exporter = TestExporter()
logfire.configure(send_to_logfire=False, additional_span_processors=[SimpleSpanProcessor(exporter)])
seen = exporter.exported_spans_as_dict
""",
    "opentelemetry": """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
seen = lambda: [each.to_json() for each in exporter.get_finished_spans()]
""",
}


@pytest.mark.parametrize("host", HOSTS)
def test_the_exporters_of_a_joined_program_see_no_secrets_either(program: Callable, host: str) -> None:
    """Who set up Logfire or OpenTelemetry before setup() exports and prints spans without secrets from then on."""
    running = program(PROGRAM.format(tests=str(__file__.rpartition("/")[0]), before=HOSTS[host]))

    assert running.finish() == 0
    assert "leaked: False" in running.output
    assert "seen: 0" not in running.output
    assert SECRET not in running.output


def test_series_that_differ_in_a_secret_only_stay_apart(start: Callable, otlp_receiver: OTLPReceiver) -> None:
    """Two tokens as metric attributes are two series that add up, and neither token is exported."""
    observability = start()
    counter = otel_metrics.get_meter("x").create_counter("calls", description=f"Calls with password={SECRET}")
    counter.add(1, {"token": SECRET, "shop": "north"})
    counter.add(2, {"token": "other" + SECRET, "shop": "north"})
    observability.flush()

    (metric,) = [each for each in otlp_receiver.metrics if each.name == "calls"]
    assert SECRET not in repr(metric)
    assert [point.attributes["token"] for point in metric.points] == ["[redacted]"] * 2
    assert len({point.attributes["tldr.redacted"] for point in metric.points}) == 2
    assert otlp_receiver.total("calls") == 3


def test_what_was_dropped_is_still_counted(start: Callable, program: Callable) -> None:
    """A span that loses a secret keeps its counts of dropped attributes and events."""
    running = program(
        f"""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from tldr_observability import setup
        trace.set_tracer_provider(TracerProvider(span_limits=SpanLimits(max_attributes=2, max_events=1)))
        setup()
        exporter = InMemorySpanExporter()
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
        tracer = trace.get_tracer("x")
        with tracer.start_as_current_span("s", attributes={{"a": 1, "b": 2, "token": "{SECRET}"}}) as span:
            span.add_event("one")
            span.add_event("two", {{"password": "{SECRET}"}})
        (done,) = exporter.get_finished_spans()
        print(done.dropped_attributes, done.dropped_events, dict(done.attributes), dict(done.events[0].attributes))
        """
    )

    assert running.finish() == 0
    assert running.output.splitlines()[-1] == "1 1 {'b': 2, 'token': '[redacted]'} {'password': '[redacted]'}"


def test_redaction_can_be_turned_off(start: Callable, otlp_receiver: OTLPReceiver) -> None:
    """With LOGFIRE_REDACTION_ENABLED=false values leave as they are."""
    observability = start(redaction_enabled=False)
    with span("s", password=SECRET):
        pass
    observability.flush()

    assert otlp_receiver.spans[0].attributes["password"] == SECRET


def test_patterns_and_callback_decide(start: Callable, otlp_receiver: OTLPReceiver) -> None:
    """A pattern of one's own is withheld, and the callback may keep or mark what was found."""
    observability = start(
        redaction_patterns=["acme-[0-9]+"], redaction_callback=lambda match: "kept" if match.key == "token" else None
    )
    with span("s", note="ours is acme-17", token=SECRET):
        pass
    observability.flush()

    assert otlp_receiver.spans[0].attributes["note"] == "ours is [redacted]"
    assert otlp_receiver.spans[0].attributes["token"] == "kept"
