"""`setup()`: one line, said twice, and every setting with an effect on what a real receiver gets."""

from __future__ import annotations

import contextvars
import os
import time
from threading import enumerate as all_threads

import logfire
import pytest
from opentelemetry import _logs, baggage, context, metrics, trace
from starlette.applications import Starlette

from tldr_observability import ConfigurationError, ObservabilitySettings, _setup, setup
from tldr_observability.context import add_user_context
from tldr_observability.settings import PRESETS


def record_one_of_each():
    """Record a span, a log record and a metric through OpenTelemetry's API."""
    with trace.get_tracer("shop").start_as_current_span("checkout"):
        _logs.get_logger("shop").emit(_logs.LogRecord(body="paid", severity_number=_logs.SeverityNumber.INFO))
    metrics.get_meter("shop").create_counter("orders").add(2, {"place": "north"})


def test_one_line_exports_traces_logs_and_metrics(otlp_receiver, start):
    """After setup() what OpenTelemetry's API records reaches the backend, with the token in the header."""
    observability = start()
    record_one_of_each()
    assert observability.flush()
    assert [span.name for span in otlp_receiver.spans] == ["checkout"]
    assert [log.body for log in otlp_receiver.logs] == ["paid"]
    assert otlp_receiver.logs[0].trace_id == otlp_receiver.spans[0].trace_id
    assert otlp_receiver.total("orders", {"place": "north"}) == 2
    assert {request.headers["authorization"] for request in otlp_receiver.requests} == {"test-token"}


def test_the_same_set_up_again_is_no_news(start):
    """A second setup() returns the first one's handle, whether it repeats the settings or says nothing."""
    first = start(batch_size=7)
    assert setup() is first
    assert setup(batch_size=7) is first
    assert setup(first.settings) is first


def test_another_setting_than_the_one_in_force_is_refused(start):
    """A second setup() with other settings names each difference."""
    start(batch_size=7)
    with pytest.raises(ConfigurationError) as caught:
        setup(batch_size=8, sample_rate=0.5)
    assert list(caught.value.problems) == [
        "batch_size: setup() ran before with 7, now it is given 8",
        "sample_rate: setup() ran before with 1.0, now it is given 0.5",
    ]


def test_settings_made_beforehand_can_be_overridden(otlp_receiver, start):
    """setup(settings, name=value) takes the rest from the settings."""
    made = ObservabilitySettings(service_name="made", batch_size=9)
    settings = start(settings=made, service_name="overridden").settings
    assert (settings.service_name, settings.batch_size) == ("overridden", 9)


def test_disabled_means_no_thread_no_network_no_span(otlp_receiver, start, monkeypatch):
    """LOGFIRE_ENABLED=false: nothing runs and nothing is sent."""
    monkeypatch.setenv("LOGFIRE_ENABLED", "false")
    observability = start()
    assert observability.flush()
    assert observability.shutdown()
    assert not [thread for thread in all_threads() if thread.name.startswith("tldr-observability")]
    assert not otlp_receiver.requests
    assert [(status.part, status.on) for status in observability.report()] == [("everything", False)]


def test_without_a_token_nothing_is_sent_and_nothing_fails(otlp_receiver, start):
    """No token: spans are made, nobody is asked to take them, and the report says what to set."""
    observability = start(token=None)
    record_one_of_each()
    assert observability.flush()
    assert not otlp_receiver.requests
    status = observability.report()[0]
    assert not status.on
    assert "LOGFIRE_TOKEN" in status.detail


def test_a_developers_token_sends_nothing_of_tests(otlp_receiver, monkeypatch):
    """Under pytest a token in the environment is not used unless LOGFIRE_SEND_TO_LOGFIRE says so."""
    monkeypatch.setenv("LOGFIRE_TOKEN", "of-the-developer")
    monkeypatch.setenv("LOGFIRE_BASE_URL", otlp_receiver.url)
    for said in (None, "true"):
        if said:
            monkeypatch.setenv("LOGFIRE_SEND_TO_LOGFIRE", said)
        _setup.reset()
        observability = setup()
        record_one_of_each()
        assert observability.flush()
        assert bool(otlp_receiver.spans) is bool(said)
        assert observability.report()[0].on is bool(said)
    _setup.reset()


def test_the_switch_of_logfire_keeps_everything_at_home(otlp_receiver, start, monkeypatch):
    """LOGFIRE_SEND_TO_LOGFIRE=false sends nothing although there is a token."""
    monkeypatch.setenv("LOGFIRE_SEND_TO_LOGFIRE", "false")
    observability = start()
    record_one_of_each()
    assert observability.flush()
    assert not otlp_receiver.requests


RESOURCES = {
    "LOGFIRE_SERVICE_NAME": ("till", {"service.name": "till"}),
    "OTEL_SERVICE_NAME": ("till", {"service.name": "till"}),
    "LOGFIRE_SERVICE_VERSION": ("1.2.3", {"service.version": "1.2.3"}),
    "LOGFIRE_ENVIRONMENT": ("qa", {"deployment.environment.name": "qa"}),
    "LOGFIRE_PROJECT_NAME": ("market", {"service.namespace": "market", "service.name": "market"}),
}


@pytest.mark.parametrize("variable", RESOURCES)
def test_names_arrive_as_resource_attributes(otlp_receiver, start, monkeypatch, variable):
    """The names of service, version, environment and project describe everything that is exported."""
    value, expected = RESOURCES[variable]
    monkeypatch.setenv(variable, value)
    observability = start()
    record_one_of_each()
    assert observability.flush()
    for item in (otlp_receiver.spans[0], otlp_receiver.logs[0], otlp_receiver.metrics[0]):
        assert expected.items() <= item.resource.items()


def test_an_environment_that_nobody_named_is_not_claimed(otlp_receiver, start):
    """Without LOGFIRE_ENVIRONMENT the telemetry does not say that it comes from production."""
    observability = start()
    record_one_of_each()
    assert observability.flush()
    assert "deployment.environment.name" not in otlp_receiver.spans[0].resource


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({"LOGFIRE_TOKEN": "a token"}, "a token"),
        ({"LOGFIRE_TOKEN": "", "LOGFIRE_API_KEY": "a key"}, "a key"),
        ({"LOGFIRE_TOKEN": "a token", "LOGFIRE_API_KEY": "a key"}, "a token"),
    ],
)
def test_where_to_and_with_what_come_from_the_environment(otlp_receiver, start, monkeypatch, variables, sent):
    """LOGFIRE_BASE_URL says where, LOGFIRE_TOKEN with what, and LOGFIRE_API_KEY only where there is no token."""
    monkeypatch.setenv("LOGFIRE_BASE_URL", otlp_receiver.url + "/")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    observability = start()
    record_one_of_each()
    assert observability.flush()
    assert {request.headers["authorization"] for request in otlp_receiver.requests} == {sent}


@pytest.mark.parametrize("environment", list(PRESETS))
def test_a_preset_has_its_effect(otlp_receiver, start, monkeypatch, capsys, environment):
    """LOGFIRE_ENVIRONMENT decides about the console, and about log records below info."""
    monkeypatch.setenv("LOGFIRE_ENVIRONMENT", environment)
    monkeypatch.setenv("LOGFIRE_CONSOLE_ENABLED", "")  # no default of the fixture's
    observability = start()
    with logfire.span("shown"):
        _logs.get_logger("shop").emit(_logs.LogRecord(body="fine", severity_number=_logs.SeverityNumber.DEBUG))
    assert observability.flush()
    assert ("shown" in capsys.readouterr().out) is PRESETS[environment]["console_enabled"]
    assert bool(otlp_receiver.logs) is (PRESETS[environment]["log_level"] == "debug")
    assert observability.settings.flush_interval == PRESETS[environment]["flush_interval"]


def test_another_environment_brings_its_own_preset(start):
    """setup(settings, environment=...) takes nothing of the preset of the settings' environment along."""
    made = ObservabilitySettings(environment="production", batch_size=9)
    settings = start(settings=made, environment="development").settings
    assert (settings.log_level, settings.flush_interval, settings.batch_size) == ("debug", 1.0, 9)


def test_everything_that_is_wrong_is_said_at_once(monkeypatch):
    """One ConfigurationError lists bad settings of ours and bad variables of OpenTelemetry's."""
    monkeypatch.setenv("LOGFIRE_BATCH_SIZE", "lots")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "often")
    with pytest.raises(ConfigurationError) as caught:
        setup()
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "LOGFIRE_BATCH_SIZE",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_METRIC_EXPORT_INTERVAL",
    ]


@pytest.mark.parametrize("headers", ["x-team=%E2%82%AC", "x-team=a%0D%0Ab"])
def test_a_header_that_can_not_be_sent_is_refused_at_set_up(start, monkeypatch, headers):
    """OTEL_EXPORTER_OTLP_HEADERS is checked before the first export, and its values are not shown."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_HEADERS: expected visible ASCII"):
        start()


def test_an_app_in_the_place_of_settings_is_noticed():
    """setup(app) where setup(app=app) was meant gets a hint, and sets nothing up."""
    with pytest.raises(ConfigurationError, match=r"got Starlette; did you mean setup\(app=...\)\?"):
        setup(Starlette())
    assert _setup._current is None


def test_several_tokens_send_to_several_projects(otlp_receiver, start, monkeypatch):
    """LOGFIRE_TOKEN=a,b exports everything once for each."""
    observability = start(token="one,two")
    record_one_of_each()
    assert observability.flush()
    tokens = sorted(r.headers["authorization"] for r in otlp_receiver.requests if r.path == "/v1/traces")
    assert tokens == ["one", "two"]


def test_an_otlp_endpoint_of_ones_own_gets_everything_once(otlp_receiver, start, monkeypatch):
    """OTEL_EXPORTER_OTLP_ENDPOINT and _HEADERS work without a token, through the same room."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop%20floor")
    observability = start(token=None)
    record_one_of_each()
    assert observability.flush()
    assert [span.name for span in otlp_receiver.spans] == ["checkout"]
    assert {request.headers["x-team"] for request in otlp_receiver.requests} == {"shop floor"}
    assert next(m for m in otlp_receiver.metrics if m.name == "orders").temporality == "cumulative"
    assert os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == otlp_receiver.url


def test_a_bad_otlp_endpoint_is_refused_at_set_up(start, monkeypatch):
    """What can't work is said at once, with the variable's name."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError) as caught:
        start()
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ]


def test_the_console_shows_spans_when_it_is_on(start, capsys, monkeypatch):
    """LOGFIRE_CONSOLE_ENABLED=true prints what happens, and false does not."""
    monkeypatch.setenv("LOGFIRE_CONSOLE_ENABLED", "true")
    start()
    with logfire.span("on the console"):
        pass
    assert "on the console" in capsys.readouterr().out
    monkeypatch.setenv("LOGFIRE_CONSOLE_ENABLED", "false")
    start(environment="development")
    with logfire.span("not there"):
        pass
    assert "not there" not in capsys.readouterr().out


def test_the_log_level_holds_for_logs_and_levelled_spans(otlp_receiver, start, monkeypatch):
    """LOGFIRE_LOG_LEVEL=warn: what is below is neither a log record nor a span."""
    monkeypatch.setenv("LOGFIRE_LOG_LEVEL", "warn")
    observability = start()
    logger = _logs.get_logger("shop")
    logger.emit(_logs.LogRecord(body="low", severity_number=_logs.SeverityNumber.INFO))
    logger.emit(_logs.LogRecord(body="high", severity_number=_logs.SeverityNumber.ERROR))
    logfire.info("low")
    logfire.error("high")
    with logfire.span("no level of its own"):
        pass
    assert observability.flush()
    assert [log.body for log in otlp_receiver.logs] == ["high"]
    assert [span.name for span in otlp_receiver.spans] == ["high", "no level of its own"]


def test_sampling_keeps_whole_traces_and_every_measurement(otlp_receiver, start, monkeypatch):
    """LOGFIRE_SAMPLE_RATE=0.5 leaves out traces as a whole, and no metric and no log record."""
    monkeypatch.setenv("LOGFIRE_SAMPLE_RATE", "0.5")
    observability = start()
    tracer, counter = trace.get_tracer("shop"), metrics.get_meter("shop").create_counter("sampled.orders")
    for _ in range(200):
        with tracer.start_as_current_span("parent"):
            for _ in range(2):
                with tracer.start_as_current_span("child"):
                    counter.add(1)
            _logs.get_logger("shop").emit(_logs.LogRecord(body="noted"))
    assert observability.flush()
    sizes = {}
    for span in otlp_receiver.spans:
        sizes[span.trace_id] = sizes.get(span.trace_id, 0) + 1
    assert set(sizes.values()) == {3}
    assert 50 < len(sizes) < 150
    assert otlp_receiver.total("sampled.orders") == 400
    assert len(otlp_receiver.logs) == 200


def test_a_sample_rate_of_nothing_sends_no_span(otlp_receiver, start):
    """sample_rate=0 leaves metrics and logs alone."""
    observability = start(sample_rate=0)
    record_one_of_each()
    assert observability.flush()
    assert not otlp_receiver.spans
    assert otlp_receiver.logs
    assert otlp_receiver.total("orders") == 2


def test_the_batch_size_sizes_the_batches(otlp_receiver, start, monkeypatch):
    """LOGFIRE_BATCH_SIZE=7: no request carries more, and seven waiting spans are sent without a flush."""
    monkeypatch.setenv("LOGFIRE_BATCH_SIZE", "7")
    observability = start(flush_interval=3600)
    tracer = trace.get_tracer("shop")
    for number in range(20):
        tracer.start_span(f"span {number}").end()
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) >= 14)
    assert observability.flush()
    sizes = [request.items for request in otlp_receiver.requests if request.path == "/v1/traces"]
    assert max(sizes) == 7
    assert sum(sizes) == 20


def test_the_flush_interval_times_the_batches(otlp_receiver, start, monkeypatch):
    """LOGFIRE_FLUSH_INTERVAL=0.3: a lonely span leaves after about that time, without a flush."""
    monkeypatch.setenv("LOGFIRE_FLUSH_INTERVAL", "0.3")
    start()
    otlp_receiver.wait_for(lambda _: True)
    before = time.monotonic()
    trace.get_tracer("shop").start_span("lonely").end()
    otlp_receiver.wait_for(lambda receiver: receiver.spans)
    assert time.monotonic() - before < 3
    otlp_receiver.clear()
    start(flush_interval=3600)
    trace.get_tracer("shop").start_span("waits").end()
    time.sleep(0.5)
    assert not otlp_receiver.spans


def test_the_metric_interval_is_opentelemetrys(otlp_receiver, start, monkeypatch):
    """OTEL_METRIC_EXPORT_INTERVAL=200 collects about that often, whatever the flush interval."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
    start(flush_interval=3600)
    metrics.get_meter("shop").create_counter("ticks").add(1)
    otlp_receiver.wait_for(lambda receiver: receiver.total("ticks") == 1)
    otlp_receiver.wait_for(lambda r: len([x for x in r.requests if x.path == "/v1/metrics"]) >= 3)


def test_a_bad_metric_interval_is_refused(start, monkeypatch):
    """OTEL_METRIC_EXPORT_INTERVAL is checked like our own variables."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "often")
    with pytest.raises(ConfigurationError, match="OTEL_METRIC_EXPORT_INTERVAL: expected milliseconds"):
        start()


def test_the_shutdown_timeout_bounds_a_flush_that_names_none(otlp_receiver, start, monkeypatch):
    """LOGFIRE_SHUTDOWN_TIMEOUT=0.4 is what flush() takes in front of a backend that hangs."""
    monkeypatch.setenv("LOGFIRE_SHUTDOWN_TIMEOUT", "0.4")
    observability = start()
    otlp_receiver.hang()
    record_one_of_each()
    before = time.monotonic()
    assert observability.flush() is False
    assert 0.3 < time.monotonic() - before < 1.5


def test_baggage_never_becomes_an_attribute(otlp_receiver, start):
    """Identity does not come in by baggage: what a caller puts there is on no span and no log record."""
    observability = start()
    token = context.attach(baggage.set_baggage("user.id", "mallory"))
    record_one_of_each()
    context.detach(token)
    assert observability.flush()
    assert "user.id" not in otlp_receiver.spans[0].attributes
    assert "user.id" not in otlp_receiver.logs[0].attributes


def test_the_context_is_on_every_later_span_and_log_record(otlp_receiver, start):
    """add_user_context() reaches spans of any origin: OpenTelemetry's, Logfire's and log records."""

    def work():
        add_user_context(organization_id="org-1", user_id=7, api_key_id="key-3")
        record_one_of_each()
        with logfire.span("of logfire"):
            pass

    observability = start()
    contextvars.copy_context().run(work)
    record_one_of_each()
    assert observability.flush()
    expected = {"tldr.organization.id": "org-1", "user.id": "7", "tldr.api_key.id": "key-3"}
    marked = [(span.name, expected.items() <= span.attributes.items()) for span in otlp_receiver.spans]
    assert sorted(marked) == [("checkout", False), ("checkout", True), ("of logfire", True)]
    assert [expected.items() <= log.attributes.items() for log in otlp_receiver.logs] == [True, False]
