"""`metrics`: instruments of a service's own."""

from __future__ import annotations

import pytest
from opentelemetry.metrics import Observation

from tldr_observability import ConfigurationError, instruments
from tldr_observability.catalogue import streams
from tldr_observability.instruments import Metrics


@pytest.fixture
def metrics():
    """A facade of the test's own, for names are kept as long as it lives."""
    return Metrics()


def test_every_kind_of_instrument_is_exported(telemetry, metrics):
    """Counters, up-down counters, histograms, gauges and callbacks arrive with their unit and description."""
    metrics.counter("m.counter", unit="{order}", description="Orders.").add(2, {"shop": "north"})
    metrics.up_down_counter("m.open").add(3)
    metrics.up_down_counter("m.open").add(-1)
    metrics.histogram("m.time", unit="s").record(0.5)
    metrics.gauge("m.temperature").set(21.5)
    metrics.register_callback("m.asked", lambda _: [Observation(7, {"of": "seven"})])
    found = {metric.name: metric for metric in telemetry.metrics}
    assert (found["m.counter"].unit, found["m.counter"].description) == ("{order}", "Orders.")
    assert found["m.counter"].points[0].attributes == {"shop": "north"}
    values = {name: found[name].points[0].value for name in ("m.counter", "m.open", "m.temperature", "m.asked")}
    assert values == {"m.counter": 2, "m.open": 2, "m.temperature": 21.5, "m.asked": 7}
    assert (found["m.time"].kind, found["m.time"].points[0].sum) == ("exponential_histogram", 0.5)


def test_the_same_name_is_the_same_instrument(metrics):
    """Asking again gives what was made before."""
    assert metrics.counter("again") is metrics.counter("again")


def test_a_name_keeps_its_kind_and_unit(metrics):
    """The same name with another kind or unit would be two metrics in one: it is refused."""
    metrics.counter("kept", unit="s")
    with pytest.raises(ValueError, match="'kept' is a counter in 's' already, not a histogram in 's'"):
        metrics.histogram("kept", unit="s")
    with pytest.raises(ValueError, match="'kept' is a counter in 's' already"):
        metrics.counter("kept", unit="By")


def test_a_second_callback_of_a_name_is_refused(metrics):
    """It would never be asked."""
    metrics.register_callback("asked", lambda _: [])
    with pytest.raises(ValueError, match="'asked' exists already with another callback"):
        metrics.register_callback("asked", lambda _: [])


def test_a_gauge_is_set_or_asked_for(metrics):
    """Both at once would be two values of one series."""
    metrics.register_callback("asked", lambda _: [])
    with pytest.raises(ValueError, match="'asked' exists already and has a callback"):
        metrics.gauge("asked")
    metrics.gauge("set")
    with pytest.raises(ValueError, match="'set' exists already and is set"):
        metrics.register_callback("set", lambda _: [])


def test_a_callback_is_asked_once_and_can_be_stopped(telemetry, metrics):
    """Registering it again changes nothing; what is returned stops it, and makes room for another."""

    def seven(_):
        return [Observation(7)]

    metrics.register_callback("m.stopped", seven)
    stop = metrics.register_callback("m.stopped", seven)
    assert telemetry.total("m.stopped") == 7
    stop()
    metrics.register_callback("m.stopped", lambda _: [Observation(8)])
    telemetry.clear()
    telemetry.receiver.clear()
    assert telemetry.total("m.stopped") == 8


@pytest.mark.parametrize("name", ["", "1st", "with space", "x" * 256])
def test_a_name_that_opentelemetry_does_not_allow_is_refused(metrics, name):
    """The message says what a name may look like."""
    with pytest.raises(ValueError, match="expected a letter"):
        metrics.counter(name)


def test_a_name_of_the_catalogue_is_refused_with_what_to_call(metrics):
    """A second metric of that name would be mixed with this package's own."""
    with pytest.raises(ConfigurationError, match=r"record it by metrics\.increment_stream_started\(\.\.\.\)"):
        metrics.counter("tldr.stream.started", unit="{stream}")
    with pytest.raises(ConfigurationError, match="asgi records it by itself, or choose another name"):
        metrics.up_down_counter("http.server.active_requests")


def test_the_calls_of_the_facade_arrive_as_the_catalogue_says(telemetry):
    """Users' calls are metrics with the catalogue's names, units, keys and kinds."""
    instruments.metrics.increment_stream_started(platform="twitch", organization_id="123")
    instruments.metrics.record_highlight_confidence(0.95, "b2b_agent", "youtube")
    instruments.metrics.set_task_queue_depth("default", 7)
    found = {metric.name: metric for metric in telemetry.metrics}
    started, confidence = found["tldr.stream.started"], found["tldr.highlight.confidence"]
    assert (started.kind, started.unit, started.temporality) == ("counter", "{stream}", "delta")
    assert started.points[0].attributes == {
        "tldr.platform": "twitch",
        "tldr.organization.id": "123",
        "tldr.stream.type": "live",
    }
    assert (confidence.kind, confidence.points[0].sum) == ("exponential_histogram", 0.95)
    assert telemetry.total("tldr.task.queue.depth", {"tldr.queue": "default"}) == 7


def test_a_handle_of_the_facade_and_its_method_are_one_series(telemetry):
    """`bind` takes the arguments that the method takes, and has its defaults."""
    handle = instruments.metrics.bind(streams.STARTED, platform="twitch", organization_id="1")
    handle.add(2)
    instruments.metrics.increment_stream_started("twitch", "1")
    (started,) = [metric for metric in telemetry.metrics if metric.name == "tldr.stream.started"]
    assert [point.value for point in started.points] == [3]
