"""What counting costs, against OpenTelemetry, Logfire and prometheus_client in the same run.

    python tests/benchmarks/metrics.py [--quick]

README.md beside this file says what the peers and the columns are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import measure

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING, OTEL, LOGFIRE, PROMETHEUS, OURS = "nothing", "OTel", "logfire", "prometheus_client", "ours"

CALLS = 5000
KINDS = ("counter", "histogram")
FORMS = ("unbound", "bound")


class Calls(NamedTuple):
    """The same four records with three attributes, as each peer makes them, and what reads the metrics."""

    counter: Callable[[], object]
    bound_counter: Callable[[], object]
    histogram: Callable[[], object]
    bound_histogram: Callable[[], object]
    flush: Callable[[], object]


# The peers. Who can't bind makes the attributes once and gives them with each call.

ATTRIBUTES = {"shop": "north", "payment": "card", "country": "de"}


def nothing() -> Calls:
    def call() -> None:
        pass

    return Calls(call, call, call, call, call)


def api(counter: Any, histogram: Any, flush: Callable[[], object]) -> Calls:
    """The calls of OpenTelemetry's API, which Logfire's instruments have too."""

    def count() -> None:
        counter.add(1, {"shop": "north", "payment": "card", "country": "de"})

    def count_again() -> None:
        counter.add(1, ATTRIBUTES)

    def record() -> None:
        histogram.record(0.25, {"shop": "north", "payment": "card", "country": "de"})

    def record_again() -> None:
        histogram.record(0.25, ATTRIBUTES)

    return Calls(count, count_again, record, record_again, flush)


def otel() -> Calls:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    meter = MeterProvider(metric_readers=[reader]).get_meter("benchmark")
    return api(meter.create_counter("c"), meter.create_histogram("h"), reader.get_metrics_data)


def logfire() -> Calls:
    import logfire
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    options = logfire.MetricsOptions(additional_readers=[reader])
    logfire.configure(send_to_logfire=False, console=False, metrics=options)
    return api(logfire.metric_counter("c"), logfire.metric_histogram("h"), reader.get_metrics_data)


def prometheus() -> Calls:
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

    registry = CollectorRegistry()
    counter = Counter("c", "c", list(ATTRIBUTES), registry=registry)
    histogram = Histogram("h", "h", list(ATTRIBUTES), registry=registry)
    bound_counter, bound_histogram = counter.labels(**ATTRIBUTES), histogram.labels(**ATTRIBUTES)

    def count() -> None:
        counter.labels(shop="north", payment="card", country="de").inc()

    def record() -> None:
        histogram.labels(shop="north", payment="card", country="de").observe(0.25)

    return Calls(
        count, bound_counter.inc, record, lambda: bound_histogram.observe(0.25), lambda: generate_latest(registry)
    )


def ours(sink: str) -> Calls:
    from tldr_observability import metrics, setup

    observability = setup(token="benchmark", base_url=sink)
    counter, histogram = metrics.counter("c"), metrics.histogram("h")
    bound_histogram = histogram.bind(ATTRIBUTES)
    unbound = api(counter, histogram, observability.flush)
    return unbound._replace(
        bound_counter=counter.bind(ATTRIBUTES).add, bound_histogram=lambda: bound_histogram.record(0.25)
    )


PEERS: dict[str, Callable[[str], Calls]] = {
    NOTHING: lambda _: nothing(),
    OTEL: lambda _: otel(),
    LOGFIRE: lambda _: logfire(),
    PROMETHEUS: lambda _: prometheus(),
    OURS: ours,
}


def repeat(call: Callable[[], object]) -> Callable[[int], object]:
    def run(calls: int) -> None:
        for _ in range(calls):
            call()

    return run


def main() -> None:
    """Measure, and print a table a kind of metric."""
    options = measure.options(__doc__)
    if options.peer:
        calls = PEERS[options.peer](options.sink)
        runs = {name.replace("_", " "): repeat(call) for name, call in calls._asdict().items() if name != "flush"}
        measure.serve(
            {(name if name.startswith("bound") else f"unbound {name}"): run for name, run in runs.items()}, calls.flush
        )
        return
    cases = [f"{form} {kind}" for kind in KINDS for form in FORMS]
    figures = measure.compare(__file__, {peer: {} for peer in PEERS}, dict.fromkeys(cases, CALLS), options)
    for case in cases:
        if case in figures:
            table = measure.Table(f"{case}, 3 attributes", "call us", f"/ {OTEL}", f"/ {LOGFIRE}", "/ prometheus")
            for peer in list(PEERS)[1:]:
                others = (OTEL, LOGFIRE, PROMETHEUS)
                ratios = [figures.ratio(case, peer, other, "call", NOTHING) for other in others]
                table.row(peer, figures.added(case, peer, "call", NOTHING), *ratios)


if __name__ == "__main__":
    main()
