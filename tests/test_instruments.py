"""The instruments: exact totals, bounded series, one owner a metric, and nothing of ours raised into the host."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import sys
import threading
import tracemalloc
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tldr_observability import ConfigurationError, _record, instruments
from tldr_observability.catalogue.bounds import REQUEST_SECONDS
from tldr_observability.catalogue.spec import Attribute, CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
from tldr_observability.export.otel import RoomMetricReader
from tldr_observability.instruments import MetricGroup, Metrics
from tldr_observability.instruments.registry import Registry
from tldr_observability.instruments.series import LIMIT
from tldr_observability.settings import ObservabilitySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.metrics.export import MetricReader

    from tldr_observability.testing import Telemetry

PLATFORM = Attribute("tldr.platform", "platform", "Where the stream comes from", optional=True)
OUTCOME = Attribute("tldr.outcome", "outcome", "How it went", values=("success", "failed"), optional=True)
SHOP = Attribute("shop", "shop", "Which one")
KIND = Attribute("kind", "kind", "Of thing", default="live")
MADE = CounterSpec("t.made", unit="{thing}", description="Things", attributes=(PLATFORM, OUTCOME), owner="celery")
OPEN = UpDownCounterSpec("t.open", unit="{thing}", description="Things", attributes=(PLATFORM,))
TOOK = HistogramSpec("t.took", unit="s", description="Time", attributes=(PLATFORM,), bounds=(0.1, 1.0, 10.0))
DEPTH = GaugeSpec("t.depth", unit="{thing}", description="Depth", attributes=(PLATFORM,))


class Bench:
    """A registry on a real provider, with a reader for each temporality."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.delta = RoomMetricReader(delta=True)
        provider = MeterProvider(metric_readers=[self.reader, self.delta], shutdown_on_exit=False)
        self.registry = Registry(provider)
        self.metrics = Metrics(self.registry)

    def points(self, name: str, reader: MetricReader | None = None) -> list[Any]:
        """The data points of a metric, as a reader is told them now."""
        data = reader.read() if isinstance(reader, RoomMetricReader) else self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def values(self, name: str) -> dict[tuple[Any, ...], Any]:
        """The value of each series, by the values of its attributes."""
        return {tuple(point.attributes.values()): point.value for point in self.points(name)}


@pytest.fixture
def bench(strict: None) -> Iterator[Bench]:
    yield Bench()
    instruments.reset()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the log of this package was told."""
    caplog.set_level(logging.WARNING, "tldr_observability")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "tldr_observability"]


# Exact, and for every reader


def test_every_reader_has_a_state_of_its_own(bench: Bench) -> None:
    """A cumulative reader is told the total and a delta reader what was added since it last asked."""
    counter = bench.metrics.counter("t.own")
    counter.add(2)
    assert [point.value for point in bench.points("t.own", bench.delta)] == [2]
    counter.add(3)
    assert [point.value for point in bench.points("t.own", bench.delta)] == [3]
    assert [point.value for point in bench.points("t.own")] == [5]


def test_a_histogram_has_the_buckets_of_its_specification(bench: Bench) -> None:
    """Readers without exponential histograms get the bounds that were declared."""
    bench.metrics.bind(TOOK, platform="twitch").record(0.5)
    bench.metrics.histogram("t.own", bounds=(1, 2)).record(1.5, {"a": "b"})
    (took,), (own,) = bench.points("t.took"), bench.points("t.own")
    assert (took.explicit_bounds, took.bucket_counts) == ((0.1, 1.0, 10.0), (0, 1, 0, 0))
    assert (own.explicit_bounds, own.bucket_counts, own.attributes) == ((1, 2), (0, 1, 0), {"a": "b"})


def test_totals_are_exact_under_threads(bench: Bench) -> None:
    """Eight threads that count at once, bound and unbound, lose nothing."""
    counter, open_now = bench.metrics.counter("t.own"), bench.metrics.up_down_counter("t.up")
    bound = counter.bind({"shop": "north"})
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def work() -> None:
            for number in range(2000):
                bound.add()
                counter.add(2, {"shop": "north"})
                counter.add(1, {"shop": str(number % 100)})
                open_now.add(1)
                open_now.add(-1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    values = bench.values("t.own")
    assert values["north",] == 8 * 2000 * 3
    assert sum(values.values()) == 8 * 2000 * 4
    assert bench.values("t.up") == {(): 0}


def test_an_order_of_attributes_is_no_series_of_its_own(bench: Bench) -> None:
    """The same attributes in another order are the same series; the same value of another type is another one."""
    counter = bench.metrics.counter("t.own")
    counter.add(1, {"a": "x", "b": 1})
    counter.add(1, {"b": 1, "a": "x"})
    counter.add(1, {"a": "x", "b": True})
    counter.add(1, {"a": "x", "b": 1.0})
    assert sorted(point.value for point in bench.points("t.own")) == [1, 1, 2]


def test_nothing_is_exported_of_what_was_only_bound(bench: Bench) -> None:
    """A handle that nobody has used is no series yet; a zero that was added is one."""
    bench.metrics.bind(MADE, platform="twitch")
    bench.metrics.bind(DEPTH)
    assert bench.points("t.made") == bench.points("t.depth") == []
    bench.metrics.bind(MADE, platform="twitch").add(0)
    assert bench.values("t.made") == {("twitch",): 0}


def test_a_gauge_is_reported_until_it_is_set_again(bench: Bench) -> None:
    """Each collection tells the last value, also when nothing was set since the one before."""
    gauge = bench.metrics.gauge("t.own")
    gauge.set(1)
    gauge.set(2.5)
    assert bench.values("t.own") == bench.values("t.own") == {(): 2.5}


# The cap


def test_beyond_two_thousand_series_the_rest_is_one(bench: Bench, said: Callable[[], list[str]]) -> None:
    """The total stays exact, the overflow series is OpenTelemetry's, and the log says so once."""
    counter = bench.metrics.counter("t.own")
    for number in range(LIMIT + 50):
        counter.add(2, {"id": number})
    counter.add(1, {"id": 7})
    counter.bind({"id": "late"}).add()
    points = bench.points("t.own")
    (overflow,) = [point for point in points if point.attributes == {"otel.metric.overflow": True}]
    assert len(points) == LIMIT + 1
    assert overflow.value == 2 * 50 + 1
    assert sum(point.value for point in points) == 2 * (LIMIT + 50) + 2
    assert said() == ["Metric 't.own': more than 2000 sets of attributes; the rest is counted as one."]


def test_callbacks_and_histograms_have_the_same_cap(bench: Bench) -> None:
    """What is asked for, and what OpenTelemetry aggregates, can't grow without bound either."""
    bench.metrics.register_callback("t.asked", lambda _: (Observation(1, {"id": n}) for n in range(LIMIT + 9)))
    histogram = bench.metrics.histogram("t.own")
    for number in range(LIMIT + 9):
        histogram.record(1, {"id": number})
    assert len(bench.points("t.asked")) == len(bench.points("t.own")) == LIMIT + 1


def test_a_million_attribute_sets_cost_little_memory(bench: Bench) -> None:
    """A service that counts by request id by mistake doesn't run out of memory; orders of attributes don't add up."""
    counter = bench.metrics.counter("t.own")
    counter.add(1, {"a": 0})
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(60_000):
            counter.add(1, {"request": f"{number:x}" + "x" * 300, "shop": "north", "n": number})
            counter.add(1, {"n": number % 500, "shop": "north", "request": "r"})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 16e6
    assert sum(point.value for point in bench.points("t.own")) == 120_001


# Nothing raises


class Hostile:
    """Fails whenever it is looked at."""

    def _fail(self, *_: object) -> Any:
        raise RuntimeError("hostile")

    __str__ = __repr__ = __hash__ = __eq__ = __float__ = __index__ = __lt__ = __iter__ = items = keys = values = _fail
    __len__ = __bool__ = _fail


class HostileText(str):
    """Fails whenever it is looked at, and is a text."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("hostile")

    def __getitem__(self, _: object) -> str:
        raise RuntimeError("hostile")


class HostileEnum(Enum):
    """A member whose value fails."""

    MEMBER = Hostile


BAD_AMOUNTS = [-1, -0.5, float("nan"), float("inf"), "5", b"5", None, [1], Hostile(), 10**400, 1j]


@pytest.mark.parametrize("amount", BAD_AMOUNTS, ids=lambda each: type(each).__name__)
def test_what_is_no_amount_is_dropped_and_said_once(bench: Bench, said: Callable[[], list[str]], amount: Any) -> None:
    """A counter can't go down, and neither text nor infinity can be counted; the service goes on."""
    counter, bound = bench.metrics.counter("t.own"), bench.metrics.bind(TOOK)
    counter.add(1)
    for _ in range(3):
        counter.add(amount)
        counter.bind().add(amount)
        bound.record(amount)
    assert bench.values("t.own") == {(): 1}
    assert bench.points("t.took") == []
    assert len(said()) == 2
    assert said()[0].startswith("Metric 't.own': expected a finite number that is not negative, got ")


def test_other_kinds_of_numbers_count(bench: Bench) -> None:
    """Decimals, numpy's scalars, booleans and integers beyond 64 bits are numbers too."""

    class Index:
        def __index__(self) -> int:
            return 3

    counter = bench.metrics.counter("t.own")
    for amount in (Decimal("0.5"), Index(), True, 2**70):
        counter.add(amount)  # type: ignore[arg-type]  # what a service may well do
    (point,) = bench.points("t.own")
    assert point.value == pytest.approx(2**70 + 4.5)


@pytest.mark.parametrize(
    "attributes",
    [
        Hostile(),
        "text",
        5,
        ["a"],
        {"a": Hostile()},
        {"a": [1, 2]},
        {"a": {"b": 1}},
        {"a": b"x"},
        {"a": HostileEnum.MEMBER},
        {"a": 2**64},
        {5: "x"},
        {("a",): "x"},
        {Ellipsis: Hostile()},
        {"": "x"},
        {"a": float("nan")},
    ],
)
def test_attributes_that_can_not_be_exported_are_dropped_and_said_once(
    bench: Bench, said: Callable[[], list[str]], attributes: Any
) -> None:
    """The measurement stays: it is counted without them."""
    counter = bench.metrics.counter("t.own")
    for _ in range(3):
        counter.add(1, attributes)
        counter.bind(attributes).add(1)
    assert bench.values("t.own") == {(): 6}
    assert len(said()) == 1


def test_attribute_values_are_plain_and_bounded(bench: Bench) -> None:
    """Texts are cut at 256 characters and can be encoded; a member of an enumeration is its value; None is absent."""

    class Shop(Enum):
        NORTH = "north"

    counter = bench.metrics.counter("t.own")
    counter.add(1, {"a": "x" * 10_000_000, "b": Shop.NORTH, "c": None, "d": "\ud800", "e": HostileText("text")})
    counter.add(1, {"a": "x" * 300, "b": "north", "d": "?", "e": "text"})
    (point,) = bench.points("t.own")
    assert point.attributes == {"a": "x" * 256, "b": "north", "d": "?", "e": "text"}
    assert [type(value) for value in point.attributes.values()] == [str] * 4


def test_a_wrong_attribute_of_a_specification_is_dropped_and_said_once(
    bench: Bench, said: Callable[[], list[str]]
) -> None:
    """An unknown key, and a value that is none of a closed set, are said once a key; the measurement stays."""
    automatic = bench.registry.automatic(MADE)
    for _ in range(2):
        automatic.add(1, {"tldr.platform": "twitch", "shop": "north", "tldr.outcome": "perhaps"})
    bench.metrics.counter("t.own", attributes=("shop",)).add(1, {"shop": "north", "shoe": 42})
    assert bench.values("t.made") == {("twitch",): 2}
    assert bench.values("t.own") == {("north",): 1}
    assert said() == [
        "Metric 't.made': it has no attribute 'shop' (it has: tldr.platform, tldr.outcome); it is dropped.",
        "Metric 't.made': attribute 'tldr.outcome': expected one of success, failed, got 'perhaps'; it is dropped.",
        "Metric 't.own': it has no attribute 'shoe' (it has: shop); it is dropped.",
    ]


def test_an_unknown_argument_of_bind_is_said(bench: Bench, said: Callable[[], list[str]]) -> None:
    """Arguments are those of the facade, and what isn't one of them is named."""
    bench.metrics.bind(MADE, platform="twitch", plattform="x").add()
    assert bench.values("t.made") == {("twitch",): 1}
    assert said() == ["Metric 't.made': it has no attribute 'plattform' (it has: platform, outcome); it is dropped."]


def test_bind_wants_a_specification(bench: Bench) -> None:
    """The message says what to type for a metric of one's own."""
    with pytest.raises(ConfigurationError, match=r"expected a metric of tldr_observability\.catalogue, got str"):
        bench.metrics.bind("t.made")  # type: ignore[call-overload]


def test_a_failing_callback_is_said_once_and_the_others_go_on(bench: Bench, said: Callable[[], list[str]]) -> None:
    """What it gave before it failed is reported; so is what the other callbacks give."""

    def failing(_: object) -> Iterator[Observation]:
        yield Observation(1, {"a": "b"})
        raise RuntimeError("broken")

    bench.metrics.register_callback("t.failing", failing)
    bench.metrics.register_callback("t.fine", lambda _: [Observation(2), Observation("x")])  # type: ignore[arg-type]
    for _ in range(2):
        assert (bench.values("t.failing"), bench.values("t.fine")) == ({("b",): 1}, {(): 2})
    assert said() == [
        "Metric 't.failing': its callback failed.",
        "Metric 't.fine': its callback gave str, not a number.",
    ]


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, GeneratorExit])
def test_a_callback_can_not_end_the_reader(
    bench: Bench, said: Callable[[], list[str]], error: type[BaseException]
) -> None:
    """What isn't an `Exception` goes no further either: all other metrics are exported."""

    def failing(_: object) -> list[Observation]:
        raise error

    bench.metrics.register_callback("t.failing", failing)
    bench.metrics.register_callback("t.fine", lambda _: [Observation(2)])
    bench.metrics.counter("t.own").add(1)
    assert (bench.values("t.fine"), bench.values("t.own")) == ({(): 2}, {(): 1})
    assert said() == ["Metric 't.failing': its callback failed."]


def test_an_interrupt_in_a_callback_is_the_user_s(bench: Bench) -> None:
    """Control-C ends the program wherever it is."""

    def interrupted(_: object) -> list[Observation]:
        raise KeyboardInterrupt

    bench.metrics.register_callback("t.failing", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.points("t.failing")


def test_what_a_callback_tells_is_capped_for_each_collection(bench: Bench, said: Callable[[], list[str]]) -> None:
    """Sets of attributes that come and go don't use the room up."""
    numbers = itertools.count()
    bench.metrics.register_callback(
        "t.asked", lambda _: (Observation(1, {"id": number}) for number in itertools.islice(numbers, LIMIT))
    )
    for _ in range(3):
        assert {"otel.metric.overflow": True} not in [dict(point.attributes) for point in bench.points("t.asked")]
    assert said() == []
    assert not bench.registry.manual(GaugeSpec("t.asked", unit="1", description="")).series.cells()


def test_bind_knows_defaults_and_says_what_is_missing(bench: Bench, said: Callable[[], list[str]]) -> None:
    """A handle and a typed method are the same series; what has neither a default nor may be absent is said once."""
    spec = CounterSpec("t.bound", unit="1", description="Things", attributes=(SHOP, KIND, PLATFORM))
    bench.metrics.bind(spec, shop="north").add(1)
    bench.metrics.bind(spec, shop="north", kind="old").add(2)
    for _ in range(2):
        bench.metrics.bind(spec, shop=None).add(4)
    assert bench.values("t.bound") == {("north", "live"): 1, ("north", "old"): 2, ("live",): 8}
    assert said() == ["Metric 't.bound': attribute 'shop' is missing; the series goes without it."]


def test_an_open_metric_takes_any_argument(bench: Bench, said: Callable[[], list[str]]) -> None:
    """Its own attributes by their names, all others by theirs."""
    spec = GaugeSpec("t.open", unit="1", description="Things", attributes=(PLATFORM,), is_open=True)
    bench.metrics.bind(spec, platform="twitch", disk="sda").set(1)
    assert [dict(point.attributes) for point in bench.points("t.open")] == [{"tldr.platform": "twitch", "disk": "sda"}]
    assert said() == []


def test_attributes_of_which_something_was_dropped_are_looked_at_each_time(bench: Bench) -> None:
    """No shortcut leads past the complaint."""
    counter = bench.metrics.counter("t.own", attributes=("a",))
    for number in range(100):
        counter.add(1, {"a": "x", "b": number})
    assert not counter.series._texts
    assert not counter.series._shortcuts


def test_counting_while_counting_does_not_wait_for_itself(bench: Bench) -> None:
    """A finalizer or signal handler may count in the middle of a count on its own thread."""
    bound = bench.metrics.counter("t.own").bind()
    with bound._lock:
        bound.add()
    assert bench.values("t.own") == {(): 1}


# One owner a metric


def test_what_is_recorded_by_hand_makes_way_for_the_owner(bench: Bench, said: Callable[[], list[str]]) -> None:
    """A metric that a part of ours records isn't counted twice: the host's goes by a name of its own, said once."""
    bound = bench.metrics.bind(MADE, platform="twitch")
    bound.add(5)
    owner = bench.registry.automatic(MADE)
    bench.metrics.bind(OPEN, platform="a").add(1)
    owner.add(1, {"tldr.platform": "twitch"})
    bound.add(7)
    bench.metrics._add(MADE, 2, ("twitch", None))
    assert bench.values("t.made") == {("twitch",): 6}
    assert bench.values("t.made.manual") == {("twitch",): 9}
    assert bench.values("t.open") == {("a",): 1}
    assert bench.registry.automatic(MADE) is owner
    assert said() == [
        "Metric 't.made': celery records it by itself; what your code records by hand goes to 't.made.manual'."
    ]


def test_histograms_and_gauges_make_way_too(bench: Bench) -> None:
    """Handles made before the owner came are moved with the rest."""
    took, depth = bench.metrics.bind(TOOK), bench.metrics.bind(DEPTH)
    took.record(1)
    depth.set(1)
    bench.registry.automatic(TOOK).record(2, {})
    bench.registry.automatic(DEPTH).set(2, {})
    took.record(3)
    assert [point.sum for point in bench.points("t.took")] == [1 + 2]
    assert [point.sum for point in bench.points("t.took.manual")] == [3]
    assert (bench.values("t.depth"), bench.values("t.depth.manual")) == ({(): 2}, {(): 1})


def test_an_owner_can_give_a_metric_up(bench: Bench) -> None:
    """Afterwards what is recorded by hand goes by the metric's name again."""
    bench.registry.automatic(MADE).add(1)
    bench.metrics.bind(MADE).add(2)
    bench.registry.release(MADE)
    assert bench.values("t.made.manual") == {}
    assert [point.value for point in bench.points("t.made")] == [1]


def test_what_was_counted_beside_the_owner_is_not_counted_again(bench: Bench) -> None:
    """It was exported as NAME.manual, and stays there when the owner gives the metric up."""
    bench.registry.automatic(MADE)
    bench.metrics.bind(MADE).add(2)
    assert bench.values("t.made.manual") == {(): 2}
    bench.registry.release(MADE)
    bench.metrics.bind(MADE).add(3)
    assert bench.values("t.made") == {(): 3}


def test_a_provider_has_one_registry_whenever_it_becomes_global(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a part of ours records by is the same before and after the provider is OpenTelemetry's global one."""
    provider = MeterProvider(shutdown_on_exit=False)
    before = instruments.automatic(MADE, provider)
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: provider)
    assert instruments.automatic(MADE, provider) is before


def test_a_metric_that_is_asked_for_can_be_stopped(telemetry: Telemetry) -> None:
    """`observe` reports what the callback gives at each collection, until it is told to stop."""
    stop = instruments.observe(DEPTH, lambda: [(3, {"tldr.platform": "twitch"}), (4, {})])
    assert telemetry.total("t.depth") == 7
    stop()
    telemetry.clear()
    telemetry.receiver.clear()
    assert telemetry.total("t.depth") == 0
    with pytest.raises(ConfigurationError, match="can't be asked for"):
        instruments.observe(TOOK, list)  # type: ignore[arg-type]


# Switches


def test_disabled_means_that_nothing_is_counted(bench: Bench) -> None:
    """After `setup(enabled=False)` every instrument is a no-op."""
    bound, took = bench.metrics.bind(MADE), bench.metrics.bind(TOOK)
    _record.record.enabled = False
    bound.add()
    took.record(1)
    bench.registry.automatic(DEPTH).set(1, {})
    assert bench.points("t.made") == []
    _record.record.enabled = True
    assert bench.points("t.made") == bench.points("t.took") == bench.points("t.depth") == []


def test_without_custom_metrics_the_automatic_ones_go_on(bench: Bench) -> None:
    """LOGFIRE_CUSTOM_METRICS_ENABLED=false silences what the service records by hand, and nothing else."""
    _record.record.settings = ObservabilitySettings(custom_metrics_enabled=False)
    bench.registry.automatic(MADE).add(1)
    bench.registry.automatic(TOOK).record(1)
    bench.metrics.bind(OPEN).add(1)
    bench.metrics.counter("t.own").add(1)
    bench.metrics.histogram("t.time").record(1)
    names = ("t.made", "t.took", "t.open", "t.own", "t.time")
    assert [len(bench.points(name)) for name in names] == [1, 1, 0, 0, 0]


def test_a_late_owner_takes_over_nothing_that_was_switched_off(bench: Bench, said: Callable[[], list[str]]) -> None:
    """What LOGFIRE_CUSTOM_METRICS_ENABLED=false silences is neither exported by way of the owner nor said to be."""
    bench.metrics.bind(MADE).add(5)
    _record.record.settings = ObservabilitySettings(custom_metrics_enabled=False)
    bench.registry.automatic(MADE).add(1)
    bench.metrics.bind(MADE).add(5)
    bench.registry.automatic(OPEN)
    bench.metrics.bind(OPEN).add(5)
    assert bench.values("t.made") == {(): 1}
    assert said() == []


# Forks and set-up


FORKING = """
import os, sys
from opentelemetry.metrics import Observation
from tldr_observability import metrics, setup
from tldr_observability.catalogue.spec import CounterSpec

counter = metrics.counter("t.own")
bound, idle, took = counter.bind({"who": "bound"}), counter.bind({"who": "idle"}), metrics.histogram("t.took").bind()
temperature = metrics.gauge("t.temperature").bind()
bound.add(1)  # before the set-up
observability = setup()
bound.add(10)
idle.add(100)
took.record(1)
temperature.set(20)
pid = os.fork()
if pid == 0:
    bound.add(1000)
    counter.add(10000, {"who": "child"})
    took.record(2)
    observability.flush()
    os._exit(0)
os.waitpid(pid, 0)
bound.add(100000)
observability.flush()
print("done", flush=True)
"""


def test_nothing_is_counted_twice_across_a_fork(program: Callable[..., Any], otlp_receiver: Any) -> None:
    """The child begins at zero, handles made in the parent work in it, and what was counted before setup() is there."""
    process = program(FORKING)
    assert process.finish() == 0, process.output

    def total(**attributes: str) -> float:
        return sum(
            point.value or 0
            for metric in otlp_receiver.metrics
            if metric.name == "t.own"
            for point in metric.points
            if point.attributes == attributes
        )

    assert (total(who="bound"), total(who="idle"), total(who="child")) == (101011, 100, 10000)
    assert otlp_receiver.total("t.took") == 2
    gauges = [point.value for m in otlp_receiver.metrics if m.name == "t.temperature" for point in m.points]
    assert set(gauges) == {20}
    assert len({m.resource["process.pid"] for m in otlp_receiver.metrics if m.name == "t.temperature"}) == 1


def test_reset_begins_anew_and_handles_go_on(bench: Bench) -> None:
    """One test's counts are not the next one's, though both use handles made at import."""
    bound, depth = bench.metrics.bind(MADE, platform="a"), bench.metrics.bind(DEPTH)
    bound.add(5)
    depth.set(1)
    bench.registry.automatic(MADE)
    instruments.reset()
    assert bench.points("t.made") == bench.points("t.depth") == []
    bound.add(1)
    assert bench.values("t.made") == {("a",): 1}


# Names


def test_a_callback_of_a_specification(bench: Bench) -> None:
    """A metric of the catalogue may be asked for as well; a histogram can't be."""
    bench.metrics.register_callback(DEPTH, lambda _: [Observation(5, {"tldr.platform": "twitch"})])
    assert bench.values("t.depth") == {("twitch",): 5}
    with pytest.raises(ConfigurationError, match="expected a name or a gauge or counter"):
        bench.metrics.register_callback(TOOK, lambda _: [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda m: m.counter("t.own", unit="x" * 64), "unit: expected up to 63 ASCII characters"),
        (lambda m: m.counter("t.own", unit=None), "unit: expected up to 63 ASCII characters"),
        (lambda m: m.counter(5), "metric name 5: expected a letter"),
        (lambda m: m.counter("t.own", attributes="shop"), "attributes: expected several keys, got 'shop'"),
        (lambda m: m.histogram("t.own", bounds=(2, 1)), "bounds: expected growing finite numbers"),
        (lambda m: m.histogram("t.own", bounds=(1, float("inf"))), "bounds: expected growing finite numbers"),
        (lambda m: m.histogram("t.own", bounds=["a"]), "bounds: expected growing finite numbers"),
        (lambda m: m.histogram("t.own", bounds=5), "bounds: expected growing finite numbers"),
        (lambda m: m.counter("t.own", attributes=5), "attributes: expected several keys, got 5"),
        (lambda m: m.counter("t.own", attributes=("a", 5)), "an attribute's key is a text of up to 256 .*, got 5"),
        (lambda m: m.counter("t.own", attributes=("",)), "an attribute's key is a text of up to 256"),
        (lambda m: m.counter("t.own", attributes=("a", "a")), "'a' and 'a' have the same key 'a'"),
        (lambda m: m.register_callback("t.own", 5), "register_callback: expected a function as callback, got 5"),
        (lambda m: m.counter("tldr.stream.started.manual"), "is one of this package's own"),
        (lambda m: m.counter("TLDR.Stream.Started"), "is one of this package's own"),
        (lambda m: (m.counter("t.own"), m.counter("t.OWN")), "'t.OWN' exists already as 't.own'"),
        (lambda m: (m.counter("t.own"), m.counter("t.own", attributes=("a",))), r"attributes already \(any\), not a"),
        (lambda m: (m.counter("t.own", attributes=()), m.counter("t.own")), r"already \(none\), not any"),
        (lambda m: (m.histogram("t.own"), m.histogram("t.own", bounds=(1,))), "has the bounds None already"),
    ],
)
def test_a_wrong_definition_is_refused(bench: Bench, make: Callable[[Metrics], object], problem: str) -> None:
    """The message names the metric, what was expected and what was given."""
    with pytest.raises(ConfigurationError, match=problem):
        make(bench.metrics)


def test_durations_have_the_bounds_of_requests(bench: Bench) -> None:
    """OpenTelemetry's own default is for milliseconds: in seconds all would be in the first bucket."""
    bench.metrics.histogram("t.own", unit="s").record(0.2)
    (point,) = bench.points("t.own")
    assert point.explicit_bounds == REQUEST_SECONDS


def test_a_name_is_declared_once_whoever_is_first(bench: Bench) -> None:
    """Threads that declare one name differently at once get one metric, and all others the error."""
    made: list[object] = []
    barrier = threading.Barrier(8)

    def declare(unit: str) -> None:
        barrier.wait()
        try:
            made.append(bench.metrics.counter("t.raced", unit=unit).spec.unit == unit)
        except ConfigurationError:
            made.append(None)

    threads = [threading.Thread(target=declare, args=(f"{{{number}}}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, made)) == ["None"] * 7 + ["True"]


# Groups


class Country(Enum):
    """Where to."""

    GERMANY = "de"
    FRANCE = "fr"


class ShopMetrics(MetricGroup, prefix="t.shop"):
    """The metrics of a shop."""

    @MetricGroup.counter(unit="{order}")
    def orders(self, amount: float = 1, *, payment: Literal["card", "invoice"], country: Country | None = None) -> None:
        """Orders placed.

        Nothing of this paragraph is in the description.
        """

    @MetricGroup.histogram(unit="s", bounds=(0.1, 1), keys={"step": "shop.step"})
    def checkout(self, seconds: float, *, step: str = "all", organization_id: str) -> None:
        """Time to check out."""

    @MetricGroup.gauge(unit="{item}", name="stock")
    def stock(self, items: float, *, is_cold: bool) -> None:
        """Items in stock."""

    @MetricGroup.up_down_counter()
    def carts(self, amount: float = 1) -> None:
        """Open carts."""


def test_a_group_declares_metrics_by_its_signatures(telemetry: Telemetry) -> None:
    """Name, unit, description, attributes and closed values are those of the methods."""
    shop = ShopMetrics()
    shop.orders(payment="card", country=Country.GERMANY)
    shop.orders.bind(payment="card", country=Country.GERMANY).add(2)
    shop.orders(5, payment="invoice")
    shop.checkout(0.5, organization_id="o")
    shop.stock(7, is_cold=True)
    shop.carts()
    shop.carts(2)
    shop.carts(-1)
    found = {metric.name: metric for metric in telemetry.metrics}
    orders = found["t.shop.orders"]
    assert (orders.unit, orders.description, orders.kind) == ("{order}", "Orders placed", "counter")
    assert {tuple(point.attributes.items()): point.value for point in orders.points} == {
        (("payment", "card"), ("country", "de")): 3,
        (("payment", "invoice"),): 5,
    }
    assert found["t.shop.checkout"].points[0].attributes == {"shop.step": "all", "tldr.organization.id": "o"}
    assert [(p.attributes, p.value) for p in found["stock"].points] == [({"is_cold": True}, 7)]
    assert [p.value for p in found["t.shop.carts"].points] == [2]


def test_the_specification_of_a_group_s_metric_is_at_hand() -> None:
    """Dashboards and alerts are made of it."""
    spec = ShopMetrics.orders.spec
    assert (spec.name, spec.kind, spec.unit) == ("t.shop.orders", "counter", "{order}")
    assert [(each.key, each.values, each.optional) for each in spec.attributes] == [
        ("payment", ("card", "invoice"), False),
        ("country", ("de", "fr"), True),
    ]
    assert ShopMetrics.checkout.spec.bounds == (0.1, 1)


def test_a_wrong_call_of_a_group_s_metric_is_said_and_raises_nothing(
    telemetry: Telemetry, said: Callable[[], list[str]]
) -> None:
    """At run time a wrong attribute is dropped, as everywhere."""
    ShopMetrics().orders(1, payment="stolen", colour="red")  # type: ignore[call-arg,arg-type]
    assert telemetry.total("t.shop.orders") == 1
    assert len(said()) == 2


def test_the_amount_is_the_signature_s(telemetry: Telemetry, said: Callable[[], list[str]]) -> None:
    """By its name, by position or by the default that the signature gives it."""

    class Amounts(MetricGroup, prefix="t.amounts"):
        @MetricGroup.counter()
        def pairs(self, number: float = 2, *, shop: str = "north") -> None:
            """Pairs."""

        @MetricGroup.gauge()
        def level(self, metres: float) -> None:
            """Level."""

    amounts: Any = Amounts()
    amounts.pairs()
    amounts.pairs(number=5)
    amounts.pairs(shop="south")
    amounts.level(metres=7)
    amounts.level()
    assert telemetry.total("t.amounts.pairs", {"shop": "north"}) == 7
    assert telemetry.total("t.amounts.pairs", {"shop": "south"}) == 2
    assert telemetry.total("t.amounts.level") == 7
    assert said() == [
        "Metric 't.amounts.level': expected a finite number, got NoneType; such measurements are dropped."
    ]


def test_a_subclass_has_the_prefix_of_its_base() -> None:
    """Unless it has one of its own."""

    class Base(MetricGroup, prefix="t.base"): ...

    class Inherits(Base):
        @MetricGroup.counter()
        def one(self, amount: float = 1) -> None: ...

    class Own(Base, prefix="t.other"):
        @MetricGroup.counter()
        def two(self, amount: float = 1) -> None: ...

    assert (Inherits.one.spec.name, Own.two.spec.name) == ("t.base.one", "t.other.two")


def test_metrics_where_a_group_can_not_see_them_are_refused() -> None:
    """Of a mixin they would have no name, and failed when they are recorded."""

    class Mixin:
        @MetricGroup.counter()
        def one(self, amount: float = 1) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Mixin\.one: metrics are methods of a class that is a MetricGroup"):
        type("Wrong", (Mixin, MetricGroup), {}, prefix="t.wrong")
    with pytest.raises(ConfigurationError, match=r"Wrong\.one: metrics are methods .* without staticmethod"):
        type("Wrong", (MetricGroup,), {"one": staticmethod(vars(Mixin)["one"])}, prefix="t.wrong")


def _declare(method: Callable[..., None], **options: Any) -> None:
    type("Wrong", (MetricGroup,), {"wrong": MetricGroup.counter(**options)(method)}, prefix="t.wrong")


def no_amount(self: Any) -> None: ...
def no_self() -> None: ...
async def awaited(self: Any, amount: float) -> None: ...
def wrong_default(self: Any, amount: float, *, shop: Literal["north"] = "south") -> None: ...  # type: ignore[assignment]
def list_default(self: Any, amount: float, *, shop: str = []) -> None: ...  # type: ignore[assignment]
def same_key(self: Any, amount: float, *, queue: str, queue_name: str) -> None: ...
def shop_key(self: Any, amount: float, *, shop: str) -> None: ...
def only_keywords(self: Any, *, amount: float) -> None: ...
def positional(self: Any, amount: float, shop: str) -> None: ...
def several(self: Any, amount: float, *shop: str) -> None: ...
def bytes_attribute(self: Any, amount: float, *, shop: bytes) -> None: ...
def no_annotation(self: Any, amount: float, *, shop) -> None: ...  # type: ignore[no-untyped-def]
def numbers(self: Any, amount: float, *, shop: Literal[1, 2]) -> None: ...
def unknown(self: Any, amount: float, *, shop: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("method", "options", "problem"),
    [
        (no_amount, {}, "needs the amount as its first parameter after self"),
        (only_keywords, {}, "needs the amount as its first parameter after self"),
        (no_self, {}, "needs the amount as its first parameter after self"),
        (awaited, {}, "declared by a method .def, not async def"),
        (staticmethod(no_amount), {}, "declared by a method"),
        (wrong_default, {}, "the default 'south' is none of its values .north."),
        (list_default, {}, "the default .. is none of its values"),
        (same_key, {}, "'queue' and 'queue_name' have the same key 'tldr.queue'"),
        (shop_key, {"keys": {"shop": 5}}, "an attribute's key is a text of up to 256 characters, got 5"),
        (positional, {}, "'shop' of positional: attributes are keyword-only"),
        (several, {}, "'shop' of several: attributes are keyword-only"),
        (bytes_attribute, {}, "'shop' of bytes_attribute: expected the annotation str"),
        (no_annotation, {}, "'shop' of no_annotation: expected the annotation str"),
        (numbers, {}, "'shop' of numbers: expected the annotation str"),
        (unknown, {}, "can't be read at run time"),
        (ShopMetrics.carts._method, {"keys": {"colour": "x"}}, "has no parameter 'colour'"),
        (ShopMetrics.carts._method, {"name": "no good"}, "expected a letter"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(
    method: Callable[..., None], options: dict[str, Any], problem: str
) -> None:
    """The class can't be made; the message names the method and what to change."""
    with pytest.raises(ConfigurationError, match=problem):
        _declare(method, **options)
