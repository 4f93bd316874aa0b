"""`metrics`: instruments of a service's own."""

from __future__ import annotations

import pytest
from opentelemetry.metrics import Observation

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
    with pytest.raises(ValueError, match="'asked' exists already"):
        metrics.register_callback("asked", lambda _: [])


@pytest.mark.parametrize("name", ["", "1st", "with space", "x" * 256])
def test_a_name_that_opentelemetry_does_not_allow_is_refused(metrics, name):
    """The message says what a name may look like."""
    with pytest.raises(ValueError, match="expected a letter"):
        metrics.counter(name)
