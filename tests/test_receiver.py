"""The OTLP receiver that tests export to."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import threading
import time
import zlib
from contextlib import closing

import pytest
import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import Compression, OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from tldr_observability import testing
from tldr_observability.testing import Metric, OTLPReceiver, Point, total, tree

PROTOBUF = {"Content-Type": "application/x-protobuf"}
DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


@pytest.fixture
def receiver():
    """A healthy backend."""
    with OTLPReceiver() as receiver:
        yield receiver


def body(*names, **attributes):
    """An OTLP request with a span of each name, which began in that order."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number, name in enumerate(names, 1):
        span = spans.add(name=name, trace_id=b"\1" * 16, span_id=bytes([number] * 8), start_time_unix_nano=number)
        for key, value in attributes.items():
            span.attributes.add(key=key.replace("__", ".")).value.string_value = value
    return request.SerializeToString()


def post(receiver, data, path="/v1/traces", timeout=5, **headers):
    """Send an OTLP request."""
    return requests.post(receiver.url + path, data=data, headers=PROTOBUF | headers, timeout=timeout)


def names(receiver):
    """The names of the finished spans received."""
    return [span.name for span in receiver.spans]


def connect(receiver):
    """A bare connection."""
    return socket.create_connection(("127.0.0.1", receiver.port), timeout=5)


def meters(receiver, temporality=None, **options):
    """A meter provider that exports when it is flushed."""
    exporter = OTLPMetricExporter(receiver.url + "/v1/metrics", preferred_temporality=temporality or {})
    return MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)], **options)


def test_a_span_from_opentelemetrys_exporter_arrives_as_plain_values(receiver):
    """Every field of a span that OpenTelemetry's own exporter sends is there as a plain Python value."""
    exporter = OTLPSpanExporter(receiver.url + "/v1/traces", compression=Compression.Gzip)
    provider = TracerProvider(resource=Resource({"service.name": "orders"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope", "1.2")
    linked = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState())
    with (
        tracer.start_as_current_span("parent", kind=SpanKind.SERVER, links=[Link(linked, {"why": "retry"})]) as parent,
        tracer.start_as_current_span("child", attributes={"s": "ü", "i": 2**60, "f": 0.5, "b": True}) as child,
    ):
        child.add_event("half", {"l": [1, 2]})
        child.set_status(StatusCode.ERROR, "no stock")
    child_seen, parent_seen = receiver.spans
    assert (child_seen.name, child_seen.kind, parent_seen.kind) == ("child", "internal", "server")
    assert child_seen.trace_id == parent_seen.trace_id == f"{parent.get_span_context().trace_id:032x}"
    assert (child_seen.parent_id, parent_seen.parent_id) == (parent_seen.span_id, None)
    assert child_seen.attributes == {"s": "ü", "i": 2**60, "f": 0.5, "b": True}
    assert child_seen.attributes["b"] is True
    assert [(event.name, event.attributes) for event in child_seen.events] == [("half", {"l": [1, 2]})]
    assert (child_seen.status, child_seen.status_message, parent_seen.status) == ("error", "no stock", "unset")
    assert parent_seen.links == [testing.Link("a".rjust(32, "0"), "b".rjust(16, "0"), {"why": "retry"})]
    assert child_seen.duration_seconds == (child.end_time - child.start_time) / 1e9
    assert child_seen.resource == {"service.name": "orders"}
    assert (child_seen.scope_name, child_seen.scope_version) == ("scope", "1.2")
    assert receiver.requests[0].headers["content-encoding"] == "gzip"
    assert (receiver.requests[0].items, receiver.requests[0].status) == (1, 200)


def test_a_log_record_from_opentelemetrys_exporter_arrives_as_plain_values(receiver):
    """A log record's body, severity, event name and attributes are there as plain Python values."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(receiver.url + "/v1/logs")))
    provider.get_logger("scope").emit(
        LogRecord(
            timestamp=7,
            severity_text="WARN",
            severity_number=SeverityNumber.WARN,
            body={"nested": [1, None, b"raw"]},
            event_name="order.placed",
            attributes={"order.id": "o1"},
        )
    )
    (log,) = receiver.logs
    assert (log.body, log.attributes) == ({"nested": [1, None, b"raw"]}, {"order.id": "o1"})
    assert (log.severity_text, log.severity_number, log.event_name) == ("WARN", 13, "order.placed")
    assert (log.trace_id, log.span_id, log.time_ns, log.scope_name) == (None, None, 7, "scope")


def test_metrics_from_opentelemetrys_exporter_arrive_as_plain_values(receiver):
    """Every kind of instrument is told apart, with its temporality and its numbers."""
    exponential = View(instrument_name="expo", aggregation=ExponentialBucketHistogramAggregation())
    provider = meters(receiver, DELTA, views=[exponential], shutdown_on_exit=False)
    meter = provider.get_meter("scope")
    meter.create_counter("count", unit="{order}", description="Orders.").add(2, {"shop": "a"})
    meter.create_up_down_counter("level").add(-3)
    meter.create_observable_gauge("gauge", [lambda _: [Observation(0.5)]])
    meter.create_histogram("hist", explicit_bucket_boundaries_advisory=[1.0, 5.0]).record(2.0)
    meter.create_histogram("expo").record(2.0)
    provider.shutdown()
    seen = {metric.name: metric for metric in receiver.metrics}
    assert {name: (metric.kind, metric.temporality) for name, metric in seen.items()} == {
        "count": ("counter", "delta"),
        "level": ("up_down_counter", "cumulative"),
        "gauge": ("gauge", None),
        "hist": ("histogram", "delta"),
        "expo": ("exponential_histogram", "delta"),
    }
    assert (seen["count"].unit, seen["count"].description, seen["count"].scope_name) == ("{order}", "Orders.", "scope")
    (point,) = seen["count"].points
    assert (point.value, point.attributes, point.count) == (2, {"shop": "a"}, None)
    assert 0 < point.start_time_ns <= point.time_ns
    assert (seen["level"].points[0].value, seen["gauge"].points[0].value) == (-3, 0.5)
    (hist,) = seen["hist"].points
    assert (hist.value, hist.count, hist.sum, hist.min, hist.max) == (None, 1, 2.0, 2.0, 2.0)
    assert (hist.bounds, hist.bucket_counts) == ([1.0, 5.0], [0, 1, 0])
    (expo,) = seen["expo"].points
    assert (expo.count, sum(expo.positive_counts), expo.zero_count, expo.negative_counts) == (1, 1, 0, [0])
    assert expo.scale is not None
    assert receiver.requests[-1].items == 5


def test_a_metric_adds_up_over_exports_and_series(receiver):
    """`total` adds the deltas of every export and the counts of histograms, over the series that were asked for."""
    provider = meters(receiver, DELTA, shutdown_on_exit=False)
    meter = provider.get_meter("scope")
    counter, histogram = meter.create_counter("count"), meter.create_histogram("hist")
    for amount in (1, 2):
        counter.add(amount, {"shop": "a", "http.route": "/x"})
        counter.add(10 * amount, {"shop": "b", "http.route": "/x"})
        histogram.record(0.1)
        provider.force_flush()
    provider.shutdown()
    assert receiver.total("count") == 33
    assert receiver.total("count", shop="a") == 3
    assert receiver.total("count", {"http.route": "/x"}, shop="b") == 30
    assert receiver.total("count", {"http.route": "/y"}) == receiver.total("never") == 0
    assert receiver.total("hist") == 2


def test_a_cumulative_metric_counts_once_a_process():
    """Of cumulative series and gauges `total` takes the latest point of each process, not all of them."""

    def metric(kind, temporality, pid, value):
        point = Point(attributes={}, start_time_ns=5 * pid, time_ns=0, value=value)
        about = {"unit": "", "description": "", "resource": {"process.pid": pid}, "scope_name": ""}
        return Metric(name=kind, kind=kind, temporality=temporality, points=[point], **about)

    counters = [metric("counter", "cumulative", pid, value) for pid, value in ((1, 1), (2, 5), (1, 3))]
    gauges = [metric("gauge", None, pid, value) for pid, value in ((1, 0.5), (1, 0.25))]
    assert total(counters + gauges, "counter") == 8
    assert total(counters + gauges, "gauge") == 0.25


def test_a_json_request_is_the_same_as_a_protobuf_one(receiver):
    """OTLP/JSON is understood, hex ids and numbers as strings included, and answered in JSON."""
    span = {
        "traceId": "0AF7651916CD43DD8448EB211C80319C",
        "spanId": "b7ad6b7169203331",
        "parentSpanId": "00f067aa0ba902b7",
        "name": "get",
        "kind": 3,
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": "1544712661500000000",
        "attributes": [{"key": "traceId", "value": {"intValue": "7"}}],
        "unknownField": 1,
    }
    answer = requests.post(
        receiver.url + "/v1/traces",
        json={"resourceSpans": [{"scopeSpans": [{"scope": {"name": "s"}, "spans": [span]}]}]},
        timeout=5,
    )
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, "application/json")
    (seen,) = receiver.spans
    assert (seen.trace_id, seen.span_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (seen.parent_id, seen.kind, seen.duration_seconds) == ("00f067aa0ba902b7", "client", 1.5)
    assert seen.attributes == {"traceId": 7}


def test_a_protobuf_request_is_answered_with_an_empty_message(receiver):
    """The answer to a protobuf request is OTLP's empty response of the same type."""
    answer = post(receiver, body("a"))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"


def test_chunked_and_compressed_bodies_share_a_connection(receiver):
    """Chunked bodies with extensions and trailers are read to their end, so the connection serves the next request."""
    packed = gzip.compress(body("first"))
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    chunks = b"5;ext=1\r\n" + packed[:5] + b"\r\n" + b"%X\r\n" % len(packed[5:]) + packed[5:] + b"\r\n0\r\nT: 1\r\n\r\n"
    second = zlib.compress(body("second"))
    with connect(receiver) as connection, closing(connection.makefile("rb")) as answers:
        connection.sendall(head + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        while answers.readline().strip():
            pass
        connection.sendall(head + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(second) + second)
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
    assert names(receiver) == ["first", "second"]
    assert receiver.requests[0].body == body("first")


def test_a_client_that_waits_for_permission_gets_it(receiver):
    """`Expect: 100-continue` is answered at once, before the body."""
    data = body("polite")
    with connect(receiver) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(data)
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(data)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert names(receiver) == ["polite"]


@pytest.mark.parametrize(
    ("path", "data", "headers", "status"),
    [
        ("/v1/traces", b"\xff\xff", {}, 400),
        ("/v1/traces", b"[1", {"Content-Type": "application/json"}, 400),
        ("/v1/traces", b"{}", {"Content-Encoding": "gzip"}, 400),
        ("/v1/traces", b"{}", {"Content-Encoding": "br"}, 415),
        ("/v1/elsewhere", b"", {}, 404),
    ],
)
def test_what_is_not_otlp_is_refused_and_shown(receiver, path, data, headers, status):
    """A broken request gets a client error and can be looked at; the receiver goes on."""
    assert post(receiver, data, path, **headers).status_code == status
    assert [(seen.path, seen.status, seen.items) for seen in receiver.requests] == [(path, status, 0)]
    assert post(receiver, body("fine")).status_code == 200


def test_the_project_behind_a_token_is_answered_as_logfire_does(receiver):
    """`GET /v1/info` says which project the token belongs to, and shows the token that came."""
    answer = requests.get(receiver.url + "/v1/info", headers={"Authorization": "t"}, timeout=5)
    assert answer.json() == {"project_name": "test", "project_url": receiver.url + "/test"}
    assert (receiver.requests[0].method, receiver.requests[0].headers["authorization"]) == ("GET", "t")
    assert requests.get(receiver.url + "/", timeout=5).status_code == 404


def test_placeholders_of_open_spans_are_kept_apart(receiver):
    """Logfire's pending spans are in `pending_spans` only, so that `spans` is what finished."""
    post(receiver, body("open", logfire__span_type="pending_span"))
    post(receiver, body("done", logfire__span_type="span"))
    assert [span.name for span in receiver.pending_spans] == ["open"]
    assert names(receiver) == ["done"]


def test_a_refused_request_is_not_kept(receiver):
    """Behaviours for a number of requests are used up in order, then what holds for all; refused spans are not kept."""
    receiver.respond(429, headers={"Retry-After": "3"}, body=b"slow down", times=1)
    receiver.respond(503, times=2, path="/v1/logs")
    receiver.respond(500)
    first = post(receiver, body("a"))
    assert (first.status_code, first.headers["retry-after"], first.content) == (429, "3", b"slow down")
    assert post(receiver, body("b")).status_code == 500
    assert post(receiver, b"", "/v1/logs").status_code == 503
    assert requests.get(receiver.url + "/v1/info", timeout=5).status_code == 500
    receiver.respond(200)
    assert post(receiver, b"", "/v1/logs").status_code == 503
    assert post(receiver, b"", "/v1/logs").status_code == 200
    assert post(receiver, body("c")).status_code == 200
    assert names(receiver) == ["c"]
    assert [(seen.items, seen.status) for seen in receiver.requests if seen.path == "/v1/traces"] == [
        (1, 429),
        (1, 500),
        (1, 200),
    ]


def test_a_slow_answer_comes_after_its_delay(receiver):
    """A delayed request is kept when it is answered; one whose client gave up before is not."""
    receiver.respond(delay=0.15)
    with pytest.raises(requests.ReadTimeout):
        post(receiver, body("gave up"), timeout=0.05)
    began = time.monotonic()
    assert post(receiver, body("waited")).status_code == 200
    assert time.monotonic() - began >= 0.15
    assert names(receiver) == ["waited"]
    assert [seen.status for seen in receiver.requests] == [None, 200]


def test_hanging_requests_are_answered_when_the_backend_recovers(receiver):
    """A hanging backend shows the request and answers nothing; once it recovers it answers and keeps the spans."""
    receiver.hang()
    answers = []
    client = threading.Thread(target=lambda: answers.append(post(receiver, body("late")).status_code))
    client.start()
    (exchange,) = receiver.wait_for(lambda r: r.requests)
    assert (exchange.items, exchange.status, answers, receiver.spans) == (1, None, [], [])
    receiver.recover()
    client.join(5)
    assert (answers, names(receiver), exchange.status) == ([200], ["late"], 200)


def test_closing_does_not_wait_for_hanging_requests():
    """`close` returns at once, however many requests hang, and their clients see the connection end."""
    receiver = OTLPReceiver()
    receiver.hang()
    failures = []

    def send():
        try:
            post(receiver, body("lost"))
        except requests.ConnectionError as error:
            failures.append(error)

    clients = [threading.Thread(target=send) for _ in range(5)]
    for client in clients:
        client.start()
    receiver.wait_for(lambda r: len(r.requests) == 5)
    began = time.monotonic()
    receiver.close()
    receiver.close()
    assert time.monotonic() - began < 0.5
    for client in clients:
        client.join(5)
    assert (len(failures), receiver.spans) == (5, [])
    assert not [thread for thread in threading.enumerate() if thread.name == "otlp-receiver"]


def test_a_reset_connection_ends_without_an_answer(receiver):
    """The client of a resetting backend gets TCP's reset, not an orderly end."""
    receiver.reset_connections(times=1)
    with connect(receiver) as connection:
        data = body("lost")
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert (receiver.spans, receiver.requests[0].status) == ([], None)
    assert post(receiver, body("next")).status_code == 200


def test_a_dripping_answer_does_not_end_by_itself(receiver):
    """A dripping backend goes on with its answer for as long as the client listens."""
    receiver.drip(interval=0.01)
    with closing(http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=5)) as client:
        client.request("POST", "/v1/traces", body("a"), PROTOBUF)
        answer = client.getresponse()
        assert (answer.status, answer.read(5)) == (200, b"\0" * 5)
    receiver.recover()
    assert post(receiver, body("b")).content == b""


def test_a_receiver_can_take_the_place_of_another(receiver):
    """A backend can be restarted on its port while clients hold connections to it."""
    with requests.Session() as session:
        session.post(receiver.url + "/v1/traces", data=body("before"), headers=PROTOBUF, timeout=5)
        receiver.close()
        with pytest.raises(requests.ConnectionError):
            session.post(receiver.url + "/v1/traces", data=body("lost"), headers=PROTOBUF, timeout=5)
        with OTLPReceiver(port=receiver.port) as successor:
            session.post(receiver.url + "/v1/traces", data=body("after"), headers=PROTOBUF, timeout=5)
    assert (names(receiver), names(successor)) == (["before"], ["after"])


def test_a_forked_child_does_not_hold_the_port(receiver):
    """A child that outlives the receiver keeps neither its port nor its connections open."""
    here, there = socket.socketpair()
    with here, there, connect(receiver) as connection:
        post(receiver, body("parent"))
        child = os.fork()
        if child == 0:
            here.close()
            there.sendall(b"x")
            there.recv(1)
            os._exit(0)
        try:
            assert here.recv(1) == b"x"
            receiver.close()
            assert connection.recv(1) == b""
            with OTLPReceiver(port=receiver.port) as successor:
                assert post(successor, body("again")).status_code == 200
        finally:
            here.sendall(b"x")
            os.waitpid(child, 0)


def test_waiting_returns_what_was_waited_for(receiver):
    """`wait_for` hands back the predicate's answer as soon as it is true."""
    timer = threading.Timer(0.05, post, (receiver, body("soon")))
    timer.start()
    began = time.monotonic()
    assert receiver.wait_for(names) == ["soon"]
    assert time.monotonic() - began < 1
    timer.join()


def test_waiting_in_vain_tells_what_came_instead(receiver):
    """The error of `wait_for` lists the requests and names that were received."""
    post(receiver, body("other"))
    with pytest.raises(AssertionError, match=r"within 0\.05 s.*POST /v1/traces 200 \(1 times\); spans: other; pending"):
        receiver.wait_for(lambda r: "wanted" in names(r), timeout=0.05)


def test_clearing_forgets_what_was_received_but_not_the_behaviour(receiver):
    """After `clear` only later telemetry is seen, under the same behaviour."""
    receiver.respond(202)
    post(receiver, body("a"))
    receiver.clear()
    assert (receiver.spans, receiver.requests) == ([], [])
    assert post(receiver, body("b")).status_code == 202
    assert names(receiver) == ["b"]


def test_the_tree_shows_who_called_whom():
    """`tree` indents a span below its parent in the order of their start; orphans stand at the margin."""

    def span(name, number, parent, trace="t"):
        nothing = {"attributes": {}, "events": [], "links": [], "resource": {}, "flags": 0}
        texts = dict.fromkeys(("kind", "status", "status_message", "scope_name", "scope_version", "trace_state"), "")
        ids = {"trace_id": trace, "span_id": str(number), "parent_id": parent}
        return testing.Span(name=name, start_time_ns=number, end_time_ns=number, **ids, **nothing, **texts)

    spans = [
        span("query", 3, "2"),
        span("reply", 4, "1"),
        span("load", 2, "1"),
        span("request", 1, None),
        span("orphan", 5, "9"),
        span("elsewhere", 6, "1", trace="u"),
    ]
    assert tree(spans) == "request\n  load\n    query\n  reply\norphan\nelsewhere"
    assert tree([]) == ""


def test_every_public_name_of_testing_resolves():
    """Each name that `tldr_observability.testing` lists is there."""
    assert {name for name in testing.__all__ if getattr(testing, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing
    assert json.dumps(sorted(testing.__all__)) == json.dumps(testing.__all__)
