"""What a Prometheus sees that scrapes a service: over real sockets, read by prometheus_client's own parsers."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import sys
import threading
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from test_asgi_servers import Server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tldr_observability import guard, metrics
from tldr_observability.catalogue import tasks
from tldr_observability.errors import MissingExtraError
from tldr_observability.integrations.prometheus import PrometheusEndpoint

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Service:
    """A meter provider with the endpoint's reader on it, served by uvicorn."""

    def __init__(self, endpoint=None, views=(), readers=()):
        self.endpoint = endpoint or PrometheusEndpoint()
        resource = Resource({"service.name": "shop", "deployment.environment.name": "tést", "process.pid": 7})
        self.provider = MeterProvider([self.endpoint.reader, *readers], resource=resource, views=views)
        self.meter = self.provider.get_meter("shop")

    def __enter__(self):
        self._server = Server(self.endpoint.app, lifespan="on").__enter__()
        self.url = self._server.url
        return self

    def __exit__(self, *exc):
        self._server.__exit__(*exc)
        self.provider.shutdown()

    def scrape(self, accept="text/plain"):
        answer = httpx.get(f"{self.url}/metrics", headers={"accept": accept})
        assert answer.status_code == 200, answer.text
        parse = parse_openmetrics if "openmetrics" in accept else parse_text
        return {family.name: family for family in parse(answer.text)}

    def samples(self):
        found = {}
        for family in self.scrape().values():
            for sample in family.samples:
                key = (sample.name, *sorted(sample.labels.items()))
                assert key not in found, f"{key} twice"
                found[key] = sample.value
        return found


@pytest.fixture
def service(strict):
    with Service() as running:
        yield running


def in_the_page(endpoint):
    """The samples of a page that no server gave, by name: for forked children, which have no server."""
    text = endpoint._page(openmetrics=False).decode()
    return {sample.name: sample.value for family in parse_text(text) for sample in family.samples}


def test_names_units_and_kinds_are_prometheus_own(service):
    """Counters end in _total, seconds and bytes are spelt out, and the resource is target_info."""
    service.meter.create_counter("tldr.stream.started", unit="{stream}", description="Streams").add(
        3, {"tldr.platform": "twitch"}
    )
    service.meter.create_up_down_counter("process.memory.usage", unit="By").add(1024)
    service.meter.create_histogram(
        "tldr.task.duration", unit="s", explicit_bucket_boundaries_advisory=[1.0, 10.0]
    ).record(2, {"tldr.task.name": "detect"})

    assert service.samples() == {
        ("tldr_stream_started_total", ("tldr_platform", "twitch")): 3,
        ("process_memory_usage_bytes",): 1024,
        ("tldr_task_duration_seconds_bucket", ("le", "1.0"), ("tldr_task_name", "detect")): 0,
        ("tldr_task_duration_seconds_bucket", ("le", "10.0"), ("tldr_task_name", "detect")): 1,
        ("tldr_task_duration_seconds_bucket", ("le", "+Inf"), ("tldr_task_name", "detect")): 1,
        ("tldr_task_duration_seconds_count", ("tldr_task_name", "detect")): 1,
        ("tldr_task_duration_seconds_sum", ("tldr_task_name", "detect")): 2,
        ("target_info", ("deployment_environment_name", "tést"), ("process_pid", "7"), ("service_name", "shop")): 1,
    }
    assert service.scrape()["tldr_stream_started"].documentation == "Streams"


def test_openmetrics_is_spoken_to_those_who_ask_for_it(service):
    """A newer Prometheus gets OpenMetrics, which its strict parser accepts; the same numbers either way."""
    service.meter.create_counter("orders", unit="s").add(2)
    service.meter.create_histogram("took", unit="s").record(1)

    families = service.scrape(OPENMETRICS)

    assert families["orders_seconds"].type == "counter"
    assert families["orders_seconds"].samples[0].value == 2
    assert families["took_seconds"].unit == "seconds"
    assert families["target"].type == "info"


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 405), ("DELETE", 405), ("OPTIONS", 405)]
)
def test_only_reading_is_allowed(service, method, status):
    """GET and HEAD are answered, everything else is refused with what is allowed."""
    answer = httpx.request(method, service.url)

    assert answer.status_code == status
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    if method == "HEAD":
        assert answer.content == b""
        assert int(answer.headers["content-length"]) >= 0


def test_a_websocket_is_turned_away(service):
    """Who opens a websocket where the page is gets a refusal, and the server no error."""
    with pytest.raises(InvalidStatus, match="403"):
        connect(service.url.replace("http", "ws"))


def test_the_page_is_compressed_for_those_who_ask_for_it(service):
    """Prometheus asks for gzip, and gets it; who doesn't ask gets plain text."""
    service.meter.create_counter("orders").add(1)

    with httpx.stream("GET", service.url, headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    plain = httpx.get(service.url, headers={"accept-encoding": "identity"})

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert "content-encoding" not in plain.headers


def test_nothing_is_counted_twice_by_a_flush(service):
    """A flush of the providers between two scrapes changes nothing of what is shown."""
    counter = service.meter.create_counter("orders")
    counter.add(1)
    for _ in range(3):
        service.provider.force_flush()

    assert service.samples()[("orders_total",)] == 1
    counter.add(1)
    assert service.samples()[("orders_total",)] == 2


def test_both_readers_see_each_number_in_their_own_way(strict):
    """Prometheus gets cumulative explicit buckets of a histogram whose exponential deltas another reader gets."""
    exporting = InMemoryMetricReader(
        preferred_temporality={Histogram: AggregationTemporality.DELTA, Counter: AggregationTemporality.DELTA},
        preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()},
    )
    with Service(readers=[exporting]) as service:
        took = service.meter.create_histogram("took", unit="s", explicit_bucket_boundaries_advisory=[1.0, 2.0])
        for expected in (1, 2):
            took.record(1.5)
            exported = exporting.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0]
            assert exported.data.data_points[0].count == 1
            assert exported.data.data_points[0].scale is not None
            assert service.samples()[("took_seconds_bucket", ("le", "2.0"))] == expected


def test_series_with_different_attributes_share_a_metric(service):
    """An attribute that a series lacks is an empty label, and no value lands under another's label."""
    counter = service.meter.create_counter("orders")
    counter.add(1, {"shop": "a"})
    counter.add(2, {"till": "b"})
    service.provider.get_meter("other").create_counter("orders").add(3, {"zone": "c"})

    found = {
        tuple((key, value) for key, value in labels if value): value
        for (name, *labels), value in service.samples().items()
        if name == "orders_total"
    }

    assert found == {
        (("shop", "a"),): 1,
        (("till", "b"),): 2,
        (("otel_scope_name", "other"), ("zone", "c")): 3,
    }


def test_names_that_become_one_do_not_mix(service, caplog):
    """Of two metrics with one name in Prometheus the first is shown, and the log says once what is not."""
    service.meter.create_counter("tldr.task.executed").add(1)
    service.meter.create_counter("tldr.task.executed.manual").add(2)
    service.meter.create_counter("tldr_task.executed").add(4)
    service.provider.get_meter("other").create_up_down_counter("tldr.task.executed").add(8)

    with caplog.at_level(logging.WARNING, "tldr_observability"):
        found = service.samples()
        assert found == service.samples()
    assert found[("tldr_task_executed_total",)] == 1
    assert found[("tldr_task_executed_manual_total",)] == 2
    assert {4, 8}.isdisjoint(found.values())
    assert [record.getMessage() for record in caplog.records] == [
        f"Prometheus is not shown the metric {name}: tldr.task.executed, a Sum, has the name tldr_task_executed there."
        for name in ("tldr_task.executed", "tldr.task.executed")
    ]


CLASHES = {
    "a counter's ending": (("counter", "orders", ""), ("counter", "orders.total", ""), "orders"),
    "a gauge in a counter's name": (("counter", "orders", ""), ("gauge", "orders.total", ""), "orders_total"),
    "a unit": (("gauge", "dur", "s"), ("gauge", "dur.seconds", ""), "dur_seconds"),
    "a unit, of other instruments": (("histogram", "dur", "s"), ("counter", "dur.seconds", "1"), "dur_seconds"),
    "a ratio of units": (
        ("gauge", "speed", "m/s"),
        ("gauge", "speed.meters_per_second", ""),
        "speed_meters_per_second",
    ),
    "a histogram's count": (("histogram", "lat", ""), ("gauge", "lat.count", ""), "lat_count"),
    "a histogram's buckets": (("gauge", "lat.bucket", ""), ("histogram", "lat", ""), "lat_bucket"),
    "a histogram's sum": (("histogram", "lat", "s"), ("gauge", "lat.seconds.sum", ""), "lat_seconds_sum"),
    "when it was made": (("counter", "x", ""), ("gauge", "x.created", ""), "x_created"),
    "when it was made, first": (("gauge", "x.created", ""), ("histogram", "x", ""), "x_created"),
    "a unit on each": (("counter", "x", "s"), ("counter", "x", "By"), None),
    "none at all": (("gauge", "x1", ""), ("gauge", "x.1", ""), None),
}


@pytest.mark.parametrize(("first", "other", "name"), CLASHES.values(), ids=CLASHES)
def test_what_samples_are_called_in_the_end_does_not_clash(service, caplog, first, other, name):
    """Units, _total and the endings of histograms are part of the names that no other metric can have."""
    for kind, metric, unit in (first, other):
        instrument = getattr(service.meter, f"create_{kind}")(metric, unit=unit)
        getattr(instrument, {"counter": "add", "gauge": "set", "histogram": "record"}[kind])(1)

    with caplog.at_level(logging.WARNING, "tldr_observability"):
        strictly = service.scrape(OPENMETRICS)
        assert service.samples()

    assert len(strictly) == (3 if name is None else 2)
    kind = {"counter": "Sum", "gauge": "Gauge", "histogram": "Histogram"}[first[0]]
    assert [record.getMessage() for record in caplog.records] == (
        [f"Prometheus is not shown the metric {other[1]}: {first[1]}, a {kind}, has the name {name} there."]
        if name
        else []
    )


@pytest.mark.parametrize("name", ["target", "target.info"])
def test_the_resource_keeps_its_name(service, name):
    """A metric that would be taken for the description of the process is left out."""
    service.meter.create_gauge(name).set(1)

    assert service.scrape(OPENMETRICS)["target"].type == "info"
    assert len(service.samples()) == 1


def test_series_that_prometheus_can_not_tell_apart_are_one(service):
    """Attributes that make the same labels make one series: sums are added up, and a gauge is what comes last."""
    counter, histogram = service.meter.create_counter("orders"), service.meter.create_histogram("took")
    gauge = service.meter.create_gauge("level")
    for number, attributes in enumerate(({"a.b": True}, {"a_b": "true"}, {"a-b": "true", "empty": ""}), 1):
        counter.add(number, attributes)
        histogram.record(number, attributes)
        gauge.set(number, attributes)

    assert set(service.scrape(OPENMETRICS)) == {"orders", "took", "level", "target"}
    found = {name: value for (name, *_), value in service.samples().items()}
    assert (found["orders_total"], found["took_count"], found["took_sum"], found["level"]) == (6, 3, 6, 3)


def test_sums_that_prometheus_can_not_have_cost_that_metric(service, caplog):
    """A counter that a callback makes negative or no number at all is left out; the rest of the page can be read."""
    service.meter.create_observable_counter("negative", [lambda _: [Observation(-1)]])
    service.meter.create_observable_counter("odd", [lambda _: [Observation(float("nan"))]])
    service.meter.create_histogram("strange").record(float("nan"))
    service.meter.create_counter("orders").add(1)

    with caplog.at_level(logging.WARNING, "tldr_observability"):
        assert "orders" in service.scrape(OPENMETRICS)
    assert {"negative", "odd"}.isdisjoint(service.scrape())
    assert (
        "Prometheus is not shown the metric negative: one of its sums is negative or not a number." in caplog.messages
    )


def test_an_attribute_is_not_taken_for_a_bucket(service):
    """What a program calls `le` is `exported_le` on a histogram, and stays what it is on a counter."""
    service.meter.create_histogram("took", explicit_bucket_boundaries_advisory=[1, 10]).record(5, {"le": "mine"})
    service.meter.create_counter("orders").add(1, {"le": "mine"})

    families = service.scrape(OPENMETRICS)

    assert {sample.labels["exported_le"] for sample in families["took"].samples} == {"mine"}
    assert families["orders"].samples[0].labels == {"le": "mine"}


def test_bounds_have_one_form(service):
    """Bounds that were given as whole numbers look like all others."""
    service.meter.create_histogram("took", explicit_bucket_boundaries_advisory=[1, 10]).record(5)

    labels = [sample.labels["le"] for sample in service.scrape()["took"].samples if "le" in sample.labels]

    assert labels == ["1.0", "10.0", "+Inf"]


def test_no_name_or_value_breaks_the_page(service):
    """Names that no label may have, quotes, line ends, other scripts and halves of characters: all of it parses."""
    hostile = {
        "1st": "a",
        "größe": "ü",
        "x-y/z": 'quote" back\\slash\nline',
        "half": "\udcff",
        "flag": True,
        "n": [1, 2],
    }
    service.meter.create_counter("orders", description='says "hi"\nand \\ more').add(1, hostile)

    for accept in ("text/plain", OPENMETRICS):
        (sample,) = service.scrape(accept)["orders"].samples
        assert sample.labels["x_y_z"] == hostile["x-y/z"]
        assert sample.labels["_st"] == "a"
        assert sample.labels["half"] == "?"
        assert sample.labels["flag"] == "true"


def test_exponential_histograms_of_a_foreign_view_are_left_out(strict, caplog):
    """A view of the program's own that asks for exponential buckets costs that histogram and nothing else."""
    views = [View(instrument_name="took", aggregation=ExponentialBucketHistogramAggregation())]
    with Service(views=views) as service, caplog.at_level(logging.WARNING):
        service.meter.create_histogram("took").record(1)
        service.meter.create_counter("orders").add(1)
        for _ in range(2):
            assert ("orders_total",) in service.samples()
    assert [record.getMessage() for record in caplog.records] == [
        "Prometheus is not shown the metric took: it has exponential buckets, by a view of the program's own."
    ]


def test_redaction_comes_first(strict):
    """What the redactor takes out of a reading is on no page; where it fails, nothing is shown."""

    def redact(data):
        if broken:
            raise RuntimeError("broken")
        return replace(
            data,
            resource_metrics=[
                replace(each, resource=Resource({"service.name": "***"})) for each in data.resource_metrics
            ],
        )

    broken = False
    with Service(PrometheusEndpoint(redact)) as service:
        service.meter.create_counter("orders").add(1)
        assert ("target_info", ("service_name", "***")) in service.samples()
        broken = True
        guard.set_strict(False)
        answer = httpx.get(service.url)
        assert answer.status_code == 500
        assert "shop" not in answer.text


def test_scrapes_while_threads_record(service):
    """Many scrapes at once, while threads record and add series: each is whole, and none goes back in time."""
    counter = service.meter.create_counter("orders")
    done = threading.Event()

    def record(thread):
        number = 0
        while not done.is_set():
            counter.add(1, {"thread": thread, "series": number % 50})
            number += 1
            done.wait(0.0005)

    threads = [threading.Thread(target=record, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        totals = [
            sum(value for (name, *_), value in service.samples().items() if name == "orders_total") for _ in range(5)
        ]

        async def at_once():
            async with httpx.AsyncClient() as client:
                return await asyncio.gather(*(client.get(service.url) for _ in range(8)))

        pages = asyncio.run(at_once())
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert totals == sorted(totals)
    assert totals[0] > 0
    for page in pages:
        lines = [line.rpartition(" ")[0] for line in page.text.splitlines() if not line.startswith("#")]
        assert len(lines) == len(set(lines))


def test_a_callback_that_hangs_holds_up_scrapes_only_for_a_while(strict, monkeypatch):
    """While a callback of the program hangs, further scrapes are turned away and take no thread of the service's."""
    monkeypatch.setattr("tldr_observability.integrations.prometheus._LONGEST_WAIT_SECONDS", 0.05)
    reached, released = threading.Event(), threading.Event()

    def slow(_):
        reached.set()
        released.wait(10)
        return []

    with Service() as service:
        service.meter.create_observable_gauge("slow", [slow])
        first = threading.Thread(target=httpx.get, args=(service.url,))
        first.start()
        assert reached.wait(5)
        try:
            answer = httpx.get(service.url)
        finally:
            released.set()
            first.join()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "15"


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, GeneratorExit])
def test_a_callback_that_gives_up_ends_no_server(strict, error):
    """Whatever a callback raises, the scrape is answered with an error, and the next one with the metrics."""
    raising = [error("from a callback")]

    def callback(_):
        if raising:
            raise raising.pop()
        return [Observation(1)]

    guard.set_strict(False)
    with Service() as service:
        service.meter.create_observable_gauge("odd", [callback])
        answer = httpx.get(service.url)
        assert (answer.status_code, answer.text) == (500, "the metrics could not be collected; the log says why\n")
        assert service.samples()[("odd",)] == 1


def test_it_can_be_mounted_or_routed(strict):
    """In a FastAPI application it answers as a mount and as a route; the global registry stays as it was."""
    endpoint = PrometheusEndpoint()
    provider = MeterProvider([endpoint.reader])
    provider.get_meter("shop").create_counter("orders").add(1)
    app = FastAPI()
    app.mount("/mounted", endpoint.app)
    app.add_route("/metrics", endpoint.app)
    with Server(app) as server:
        for path in ("/mounted/", "/metrics"):
            assert "orders_total 1.0" in httpx.get(server.url + path).text
    assert REGISTRY.get_sample_value("orders_total") is None


def test_a_forked_worker_reports_its_own_counts(strict):
    """After a fork, parent and child each show what they counted themselves: together nothing is doubled."""
    endpoint = PrometheusEndpoint()
    provider = MeterProvider([endpoint.reader])
    counter = provider.get_meter("shop").create_counter("orders")
    counter.add(5)
    app = endpoint.app
    read, write = os.pipe()
    endpoint._scraping.acquire()  # a scrape is under way in the parent
    child = os.fork()
    if child == 0:
        status = 1
        try:
            old = endpoint.reader
            endpoint.renew()
            provider.remove_metric_reader(old)
            provider.add_metric_reader(endpoint.reader)
            counter.add(2)
            os.write(write, str(in_the_page(endpoint)["orders_total"]).encode())
            status = 0
        finally:
            os._exit(status)
    endpoint._scraping.release()
    counter.add(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "2.0"
    assert os.waitpid(child, 0)[1] == 0
    assert in_the_page(endpoint)["orders_total"] == 6
    assert endpoint.app is app


def test_setup_serves_what_it_exports(start, otlp_receiver):
    """One setting, and what goes to Logfire in exponential histograms is on the page in the catalogue's buckets."""
    observability = start(prometheus_enabled=True)
    metrics.record_task_duration(45.2, "detect_highlights_with_ai", "acme")
    metrics.counter("shop.orders").add(1, {"note": "password=hunter2hunter2"})
    with Server(observability.prometheus_app()) as server:
        page = httpx.get(server.url).text
    observability.flush()

    (exported,) = (metric for metric in otlp_receiver.metrics if metric.name == tasks.DURATION.name)
    assert exported.kind == "exponential_histogram"
    samples = [sample for family in parse_text(page) for sample in family.samples]
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in samples
        if sample.name == "tldr_task_duration_seconds_bucket"
    }
    assert tuple(buckets) == (*tasks.DURATION.bounds, float("inf"))
    assert {value for bound, value in buckets.items() if bound < 45.2} == {0}
    assert {value for bound, value in buckets.items() if bound > 45.2} == {1}
    assert "hunter2" not in page


@pytest.mark.parametrize("token", ["test-token", ""], ids=["exported as well", "Prometheus only"])
def test_workers_that_a_server_forks_share_no_counts(program, token):
    """With setup() before the fork, as gunicorn's preloading has it, each worker's page holds its own numbers only."""
    server = program(
        """
        import os
        from tldr_observability import metrics, setup

        observability = setup(prometheus_enabled=True)
        orders = metrics.counter("shop.orders")
        took = metrics.histogram("shop.took", unit="s")

        def work(count):
            for _ in range(count):
                orders.add(1)
                took.record(1)

        def show():
            page = observability.prometheus_app()._page(openmetrics=False).decode()
            shown = ("shop_orders_total", "shop_took_seconds_count")
            print([line for line in page.splitlines() if line.startswith(shown)])

        work(5)
        show()
        for count in (2, 3):
            if os.fork() == 0:
                work(count)
                show()
                os._exit(0)
            os.wait()
        work(1)
        show()
        """,
        env={"LOGFIRE_TOKEN": token},
    )
    assert server.finish() == 0, server.output
    assert [line for line in server.output.splitlines() if line.startswith("[")] == [
        f"['shop_took_seconds_count {count}.0', 'shop_orders_total {count}.0']" for count in (5, 2, 3, 6)
    ]


@pytest.mark.parametrize("module", ["prometheus_client", "opentelemetry.exporter.prometheus"])
def test_a_missing_library_is_named(monkeypatch, module):
    """Who asks for Prometheus without its packages reads which extra to install."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError, match=r"tldr-observability\[prometheus\]"):
        PrometheusEndpoint()
