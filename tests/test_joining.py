"""Programs that set up Logfire or OpenTelemetry themselves: joined where possible, told what to change, sent once."""

from __future__ import annotations

import pytest

WORK = """
from opentelemetry import _logs, metrics, trace
from tldr_observability import add_user_context, setup
add_user_context(organization_id="org-1")
def work():
    with trace.get_tracer("shop").start_as_current_span("work"):
        _logs.get_logger("shop").emit(_logs.LogRecord(body="done"))
    metrics.get_meter("shop").create_counter("done").add(1)
"""


def finish(running):
    """End the program and return what it said."""
    assert running.finish() == 0, running.output
    return running.output


def test_a_logfire_that_sends_keeps_sending_and_we_send_nothing_twice(otlp_receiver, program):
    """logfire.configure() before setup(): its pipeline exports everything once, with our context on it."""
    output = finish(
        program(f"""{WORK}
import logfire
logfire.configure(console=False)
observability = setup(batch_size=7)
work()
assert observability.flush()
print([status for status in observability.report() if status.part == "export"])
""")
    )
    assert [span.name for span in otlp_receiver.spans] == ["work"]
    assert otlp_receiver.spans[0].attributes["tldr.organization.id"] == "org-1"
    assert otlp_receiver.logs[0].attributes["tldr.organization.id"] == "org-1"
    assert otlp_receiver.total("done") == 1
    assert {request.headers["user-agent"].split("/")[0] for request in otlp_receiver.requests} == {"logfire"}
    assert output.count("remove that call") == 2, output


def test_a_logfire_that_does_not_send_is_given_our_export(otlp_receiver, program):
    """logfire.configure(send_to_logfire=False) before setup(): traces, logs and metrics leave through us, once."""
    output = finish(
        program(f"""{WORK}
import logfire
from logfire.testing import TestExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
theirs = TestExporter()
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(theirs)])
setup()
work()
print("theirs:", [span.name for span in theirs.exported_spans])
""")
    )
    assert [span.name for span in otlp_receiver.spans] == ["work"]
    assert [log.body for log in otlp_receiver.logs] == ["done"]
    assert otlp_receiver.total("done") == 1
    assert "theirs: ['work'" in output
    assert output.count("setup() joined logfire.configure(), which does not send") == 1


def test_a_logfire_without_a_token_does_not_count_as_sending(otlp_receiver, program):
    """logfire.configure(send_to_logfire="if-token-present") without a token: our export is added."""
    finish(
        program(
            f"""{WORK}
import logfire
logfire.configure(send_to_logfire="if-token-present", console=False)
setup(token="given-to-setup")
work()
""",
            env={"LOGFIRE_TOKEN": ""},
        )
    )
    assert [span.name for span in otlp_receiver.spans] == ["work"]
    assert otlp_receiver.total("done") == 1


def test_an_opentelemetry_sdk_of_the_programs_own_is_joined(otlp_receiver, program):
    """Providers set before setup() stay; all three signals leave through us as well."""
    output = finish(
        program(f"""{WORK}
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
_logs.set_logger_provider(LoggerProvider())
setup()
work()
""")
    )
    assert [span.name for span in otlp_receiver.spans] == ["work"]
    assert otlp_receiver.spans[0].attributes["tldr.organization.id"] == "org-1"
    assert otlp_receiver.logs[0].attributes["tldr.organization.id"] == "org-1"
    assert otlp_receiver.total("done") == 1
    assert "call setup() first" in output


def test_what_a_program_has_no_provider_for_is_said(otlp_receiver, program):
    """With a tracer provider alone, traces are exported, and the report and one line say what is not and what to do."""
    output = finish(
        program(f"""{WORK}
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
for status in setup().report():
    print("report:", status.part, status.on)
work()
""")
    )
    assert [span.name for span in otlp_receiver.spans] == ["work"]
    assert "no provider for log records and metrics" in output
    assert "report: log records and metrics False" in output


def test_a_logfire_configured_afterwards_takes_over_and_it_is_said(otlp_receiver, program):
    """logfire.configure() after setup() replaces our pipeline: one line says so, nothing is sent twice."""
    output = finish(
        program(f"""{WORK}
import logfire
observability = setup(flush_interval=3600)
work()
logfire.configure(console=False)
work()
logfire.force_flush()
print("on:", observability.report()[0].on)
""")
    )
    assert [span.name for span in otlp_receiver.spans] == ["work", "work"]
    assert output.count("If it was a call of logfire.configure(), remove it") == 1
    assert "on: False" in output


@pytest.mark.parametrize("first", ["setup", "program"])
def test_an_otlp_endpoint_is_served_by_one_side_only(otlp_receiver, program, first):
    """OTEL_EXPORTER_OTLP_ENDPOINT: Logfire's own exporter or ours, never both."""
    order = (
        "setup()"
        if first == "setup"
        else "import logfire; logfire.configure(console=False, send_to_logfire=False); setup()"
    )
    finish(
        program(
            f"{WORK}\n{order}\nwork()\n",
            env={"LOGFIRE_TOKEN": "", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.url},
        )
    )
    assert [span.name for span in otlp_receiver.spans] == ["work"]
    assert otlp_receiver.total("done") == 1


def test_forks_of_a_joined_program_start_afresh_too(otlp_receiver, program):
    """The children of a program with providers of its own send their own counts and spans only."""
    finish(
        program(f"""{WORK}
import os
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
observability = setup(flush_interval=3600)
work()
if os.fork() == 0:
    work()
    observability.flush()
    os._exit(0)
os.wait()
""")
    )
    assert [span.name for span in otlp_receiver.spans] == ["work", "work"]
    assert otlp_receiver.total("done") == 2
