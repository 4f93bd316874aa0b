"""Events: log records written by a call or by a decorated function, whatever becomes of the trace."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from tldr_observability import ConfigurationError, _record, guard, log_event, span


class Logs:
    """What a logger provider exported."""

    def __init__(self, monkeypatch):
        self.exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", provider)

    @property
    def records(self):
        """All log records."""
        return [data.log_record for data in self.exporter.get_finished_logs()]

    @property
    def one(self):
        """The only log record."""
        (only,) = self.records
        return only


pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def logs(monkeypatch):
    """A real SDK logger provider as the program's own."""
    return Logs(monkeypatch)


def test_a_call_writes_at_once(logs):
    """Called with a text, it writes one record with name, severity, time, place and attributes, and gives None."""
    assert log_event("stream.started", stream_id="1", rows=[1]) is None
    record = logs.one
    assert (record.event_name, record.body) == ("stream.started", "stream.started")
    assert (record.severity_number.value, record.severity_text) == (9, "INFO")
    assert record.timestamp > 0
    attributes = dict(record.attributes)
    assert attributes.pop("code.lineno") > 0
    assert json.loads(attributes.pop("logfire.json_schema"))["properties"]["rows"] == {"type": "array"}
    assert attributes == {
        "stream_id": "1",
        "rows": "[1]",
        "code.filepath": "tests/test_log_event.py",
        "code.function": "test_a_call_writes_at_once",
    }
    assert logs.exporter.get_finished_logs()[0].instrumentation_scope.name == "tldr_observability"


def test_a_call_takes_level_message_and_dotted_attributes(logs):
    """Level and text can be given, attributes as a mapping, and any other keyword is an attribute, also `name`."""
    log_event("x", level="warn", message="Something", attributes={"a.b": 1}, name="n", event="e", frame="f")
    record = logs.one
    assert (record.severity_number.value, record.severity_text, record.body) == (13, "WARN", "Something")
    assert {"a.b": 1, "name": "n", "event": "e", "frame": "f"}.items() <= dict(record.attributes).items()


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("stream {stream.id} has {rows} and {missing}", "stream 7 has [1] and {missing}"),
        ({"a": 1}, '{"a":1}'),
        (ValueError("no {rows}"), "no {rows}"),
        (5, "5"),
        ("", ""),
    ],
)
def test_a_message_shows_values_and_is_text(logs, message, body):
    """`{key}` in a message shows an attribute, as in a span's, and a message of another type becomes text."""
    log_event("x", message=message, attributes={"stream.id": 7}, rows=[1])
    assert logs.one.body == body


def test_a_hostile_message_is_named(logs):
    """No code of an object runs to make it a message."""

    class Trap:
        def __str__(self):
            raise AssertionError

        __repr__ = __str__

    log_event("x", message=Trap())
    assert logs.one.body.endswith("Trap object>")


def test_a_decorators_message_shows_arguments(logs):
    """`{key}` in a decorator's message shows a captured argument as it was passed, or an attribute."""

    @log_event(message="{rows} for {team}, {other}", capture_args=["rows"], attributes={"team": "north"})
    def start(rows, other):
        rows.append(2)

    start([1], 5)
    assert logs.one.body == "[1] for north, {other}"


@pytest.mark.parametrize("options", [{"level": "loud"}, {"level": []}, {"attributes": 3}])
def test_a_wrong_call_does_not_fail_the_host(logs, options):
    """At run time a wrong level or mapping costs at most the record."""
    guard.set_strict(False)
    assert log_event("x", **options) is None


def test_an_event_belongs_to_the_current_span(logs, monkeypatch):
    """The record carries the trace and span that it was written in."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    with span("block") as block:
        log_event("x")
    assert (logs.one.trace_id, logs.one.span_id) == (
        block.get_span_context().trace_id,
        block.get_span_context().span_id,
    )


def test_sampling_does_not_touch_events(logs, monkeypatch):
    """In a trace that isn't kept, events are written nevertheless."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    with span("block"):
        log_event("x")
    assert logs.one.event_name == "x"


def test_without_a_provider_and_with_a_late_one(monkeypatch):
    """Without a logger provider nothing happens; one that is set later gets the next event."""
    monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", None)
    log_event("early")
    logs = Logs(monkeypatch)
    log_event("late")
    assert logs.one.event_name == "late"
    again = Logs(monkeypatch)
    log_event("later")
    assert again.one.event_name == "later"


def test_disabled(logs):
    """After `setup(enabled=False)` no event is written."""
    _record.record.enabled = False
    log_event("x")
    assert not logs.records


def test_a_bare_decorator_writes_when_the_function_returns(logs):
    """Nothing is written at decoration, one event named as the function per call, after its work."""

    @log_event
    def started():
        assert not logs.records
        return 1

    assert not logs.records
    assert started() == 1
    record = logs.one
    assert (record.event_name, record.severity_number.value) == ("started", 9)
    assert record.attributes["code.function"].endswith("started")
    assert "tldr.outcome" not in record.attributes


def test_decorator_options(logs):
    """Name, level, text, attributes, arguments and result are as asked for, and the arguments as they were passed."""

    @log_event(
        name="stream.started",
        level="notice",
        message="A stream",
        attributes={"team": "north"},
        capture_args=["rows"],
        capture_result=True,
    )
    def start(rows):
        rows.append(2)
        return rows

    start([1])
    record = logs.one
    assert (record.event_name, record.body, record.severity_number.value) == ("stream.started", "A stream", 10)
    attributes = record.attributes
    assert (attributes["team"], attributes["rows"], attributes["tldr.result"]) == ("north", "[1]", "[1,2]")
    assert set(json.loads(attributes["logfire.json_schema"])["properties"]) == {"team", "rows", "tldr.result"}


def test_a_failure_is_an_error_event(logs):
    """When the function raises, the event is an error with the exception's attributes, and the exception passes."""
    error = ValueError("no")

    @log_event(name="job")
    async def job():
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        asyncio.run(job())
    assert caught.value is error
    record = logs.one
    assert (record.event_name, record.severity_number.value) == ("job", 17)
    assert record.attributes["tldr.outcome"] == "failed"
    assert (record.attributes["exception.type"], record.attributes["exception.message"]) == ("ValueError", "no")


def test_a_cancellation_is_no_error_event(logs):
    """A function that is cancelled writes its event at its own level, with outcome cancelled."""

    @log_event(level="debug")
    def numbers():
        yield 1

    iterator = numbers()
    next(iterator)
    iterator.close()
    assert (logs.one.severity_number.value, logs.one.attributes["tldr.outcome"]) == (5, "cancelled")
    assert "exception.type" not in logs.one.attributes


def test_methods_of_every_kind(logs):
    """Methods, classmethods and staticmethods write events too, without their receivers."""

    class Host:
        @log_event(capture_args=True)
        def method(self, a):
            return a

        @log_event(capture_args=True)
        @classmethod
        def build(cls, a):
            return a

        @staticmethod
        @log_event(capture_args=True)
        def plain(a):
            return a

    assert Host().method(1) + Host.build(2) + Host.plain(3) == 6
    assert [record.attributes["a"] for record in logs.records] == [1, 2, 3]
    assert not [record for record in logs.records if {"self", "cls"} & set(record.attributes)]


def test_a_slow_call_writes_a_second_event(logs):
    """A decorated function over its threshold is told of as any other slow call."""
    log_event(slow_threshold=0.0)(lambda: 1)()
    assert [record.event_name for record in logs.records] == ["<lambda>", "tldr.slow_call"]


def test_bad_decorator_options_are_refused():
    """A level or option that doesn't exist is an error when decorating."""
    with pytest.raises(ConfigurationError, match=r"level must be one of trace, debug, .* got 'loud'"):
        log_event(level="loud")(lambda: 1)
    with pytest.raises(TypeError, match="unexpected options for a decorator: stream_id"):
        log_event(stream_id="1")


def test_a_text_is_no_decorator_option(logs):
    """Writing `@log_event("x")` by mistake fails at once instead of decorating nothing."""
    with pytest.raises(TypeError):

        @log_event("x")
        def work():
            """Do nothing."""


def test_with_logfire(tmp_path):
    """Logfire's own logger provider gets the events, with the trace they belong to."""
    script = """
        import logfire
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
        from tldr_observability import guard, log_event, span

        guard.set_strict(True)
        log_event("early")
        exporter = InMemoryLogRecordExporter()
        logfire.configure(send_to_logfire=False, console=False, sampling=logfire.SamplingOptions(head=0),
                          advanced=logfire.AdvancedOptions(log_record_processors=[SimpleLogRecordProcessor(exporter)]))
        with span("block") as block:
            log_event("x", a=1)
        (data,) = exporter.get_finished_logs()
        assert data.log_record.event_name == "x", data
        assert data.log_record.trace_id == block.get_span_context().trace_id
    """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(script))
    ran = subprocess.run([sys.executable, path], check=False, capture_output=True, text=True, timeout=50)
    assert ran.returncode == 0, ran.stderr
