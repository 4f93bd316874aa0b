"""Delivery in fair weather and foul: what a backend's behaviour does to telemetry, and never to the host."""

from __future__ import annotations

import logging
import signal
import threading
import time

import pytest
from opentelemetry import _logs, metrics, trace

from tldr_observability import _setup
from tldr_observability.catalogue import telemetry
from tldr_observability.export import queue_lane
from tldr_observability.export.bell import Bell
from tldr_observability.testing import OTLPReceiver


def record(count=1, name="work"):
    """Record some spans."""
    tracer = trace.get_tracer("shop")
    for _ in range(count):
        tracer.start_span(name).end()


def room_of(observability):
    """The only room of a set-up."""
    (room,) = observability._pipeline.rooms
    return room


def lines(caplog):
    """What was logged, without tracebacks."""
    return [entry.getMessage() for entry in caplog.records if entry.name.startswith("tldr_observability")]


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch):
    """Try again soon, so that an outage can be short."""
    monkeypatch.setattr("tldr_observability.export.lane._FIRST_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr("tldr_observability.export.lane._LONGEST_BACKOFF_SECONDS", 0.1)


OUTAGES = {
    "503": lambda receiver: receiver.respond(503),
    "429": lambda receiver: receiver.respond(429),
    "500": lambda receiver: receiver.respond(500),
    "reset": lambda receiver: receiver.reset_connections(),
}


@pytest.mark.parametrize("kind", OUTAGES)
def test_an_outage_loses_and_doubles_nothing_and_is_told_in_two_lines(otlp_receiver, start, caplog, kind):
    """While the backend fails everything is kept; afterwards it arrives once; one line at the start, one at the end."""
    observability = start(flush_interval=0.05, batch_size=10)
    OUTAGES[kind](otlp_receiver)
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            record(5)
            time.sleep(0.05)
        otlp_receiver.recover()
        otlp_receiver.wait_for(lambda receiver: len(receiver.spans) >= 40)
        assert observability.flush()
    ids = [span.span_id for span in otlp_receiver.spans]
    assert len(ids) == len(set(ids)) == 40
    assert len(lines(caplog)) == 2, lines(caplog)
    assert "can't be delivered" in lines(caplog)[0]
    assert "again" in lines(caplog)[1]


def test_a_backend_that_is_not_there_yet_gets_everything_when_it_comes(start, caplog):
    """Connection refused: the spans wait, and a backend that starts later has them all."""
    first = OTLPReceiver()
    port = first.port
    first.close()
    observability = start(base_url=f"http://127.0.0.1:{port}", flush_interval=0.05)
    with caplog.at_level(logging.WARNING):
        record(30)
        assert observability.flush(0.5) is False
        with OTLPReceiver(port=port) as late:
            late.wait_for(lambda receiver: len(receiver.spans) == 30)
    assert "connection refused" in lines(caplog)[0]


def test_a_slow_backend_gets_everything_once(otlp_receiver, start):
    """A backend that takes half a second for each answer delays nobody and gets each span once."""
    start(flush_interval=0.05, batch_size=20)
    otlp_receiver.respond(200, delay=0.5)
    before = time.monotonic()
    record(100)
    assert time.monotonic() - before < 0.3
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) >= 100, timeout=10)
    assert len({span.span_id for span in otlp_receiver.spans}) == len(otlp_receiver.spans) == 100


def test_retries_carry_the_same_bytes(otlp_receiver, start):
    """A backend that recognises bodies can drop a repetition: a request is tried again byte for byte."""
    observability = start()
    otlp_receiver.respond(503, times=2, path="/v1/traces")
    record(3)
    otlp_receiver.wait_for(lambda receiver: receiver.spans or not observability.flush(0.2))
    bodies = {request.body for request in otlp_receiver.requests if request.path == "/v1/traces"}
    assert len(bodies) == 1


def test_retry_after_is_respected(otlp_receiver, start):
    """429 with Retry-After: 1 is not asked again sooner, not even when the queue fills up."""
    start(flush_interval=0.05, batch_size=5)
    otlp_receiver.respond(429, headers={"Retry-After": "1"}, times=1, path="/v1/traces")
    for _ in range(10):
        record(5)
        time.sleep(0.02)
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) == 50)
    times = [r.received for r in otlp_receiver.requests if r.path == "/v1/traces"]
    assert times[1] - times[0] >= 0.95


def test_a_long_outage_is_no_retry_storm(otlp_receiver, start):
    """A dead backend under load is asked a few times a second at most, however fast the queue fills."""
    start(flush_interval=0.05, batch_size=1)
    otlp_receiver.respond(503)
    before = time.monotonic()
    while time.monotonic() - before < 1.0:
        record(20)
        time.sleep(0.005)
    assert len([r for r in otlp_receiver.requests if r.path == "/v1/traces"]) <= 25


def test_a_rejected_token_is_one_line_and_no_storm(otlp_receiver, start, caplog):
    """401: one line that names the variable to check, no retries, the loss is counted."""
    observability = start(flush_interval=0.05, batch_size=5)
    otlp_receiver.respond(401)
    with caplog.at_level(logging.WARNING):
        record(20)
        time.sleep(0.6)
        record(20)
        time.sleep(0.4)
    denied = [line for line in lines(caplog) if "401" in line]
    assert len(lines(caplog)) == len(denied) == 1
    assert "LOGFIRE_TOKEN" in denied[0]
    assert len([r for r in otlp_receiver.requests if r.path == "/v1/traces"]) == 1
    room = room_of(observability)
    assert room.tallies["traces"].drops() == {"rejected": 5}
    assert not observability.report()[0].on


def test_what_the_backend_refuses_is_dropped_and_counted(otlp_receiver, start, caplog):
    """400: no use in trying again; the next request is sent as usual."""
    observability = start(flush_interval=3600)
    otlp_receiver.respond(400, times=1, path="/v1/traces")
    record(3)
    with caplog.at_level(logging.WARNING):
        assert observability.flush() is False
    record(2)
    assert observability.flush()
    assert room_of(observability).tallies["traces"].drops() == {"rejected": 3}
    assert len(otlp_receiver.spans) == 2


def test_a_partial_success_is_counted(otlp_receiver, start, caplog):
    """When the backend says that it left out two spans of a request, two are counted as dropped, three as exported."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    observability = start(flush_interval=3600)
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "too old"
    otlp_receiver.respond(200, body=answer.SerializeToString(), times=1, path="/v1/traces")
    record(5)
    with caplog.at_level(logging.WARNING):
        observability.flush()
    tally = room_of(observability).tallies["traces"]
    assert (tally.exported, tally.drops()) == (3, {"rejected": 2})
    assert "too old" in lines(caplog)[0]


def test_a_request_that_is_too_large_is_sent_in_halves(otlp_receiver, start):
    """413: the same spans arrive in smaller requests."""
    observability = start(flush_interval=3600)
    otlp_receiver.respond(413, times=1, path="/v1/traces")
    record(40)
    assert observability.flush()
    assert len(otlp_receiver.spans) == 40
    sizes = [request.items for request in otlp_receiver.requests if request.path == "/v1/traces"]
    assert sizes == [40, 20, 20]


def test_a_body_beyond_the_limit_is_split_before_it_is_sent(otlp_receiver, start):
    """Spans of 10 MB together leave in requests that a backend accepts; a single larger one is counted as dropped."""
    observability = start(flush_interval=3600, batch_size=1000)
    tracer = trace.get_tracer("shop")
    text = "all work and no play " * 12_000
    for texts in (*[2] * 20, 24):
        tracer.start_span("large", attributes={f"text {number}": text for number in range(texts)}).end()
    assert observability.flush(10) is False
    assert len(otlp_receiver.spans) == 20
    assert max(len(request.body) for request in otlp_receiver.requests) <= 4 * 1024 * 1024
    assert room_of(observability).tallies["traces"].drops() == {"too_large": 1}


def test_one_span_that_can_not_be_encoded_does_not_take_others_along(otlp_receiver, start):
    """A value that the encoder chokes on costs its own span only, and is counted."""
    observability = start(flush_interval=3600)
    record(3)
    trace.get_tracer("shop").start_span("bad \ud800 name").end()
    record(3)
    assert observability.flush() is False
    assert len(otlp_receiver.spans) == 6
    assert room_of(observability).tallies["traces"].drops() == {"unencodable": 1}


def test_a_full_queue_refuses_and_counts(otlp_receiver, start, monkeypatch):
    """Everything emitted is exported or counted as dropped, exactly."""
    monkeypatch.setattr(queue_lane, "QUEUE_LIMIT", 100)
    observability = start(flush_interval=3600, batch_size=1000)
    record(250)
    assert observability.flush()
    tally = room_of(observability).tallies["traces"]
    assert tally.drops() == {"queue_full": 150}
    assert len(otlp_receiver.spans) == tally.exported == 100


def test_drops_and_exports_are_metrics(otlp_receiver, start, monkeypatch):
    """The queue's size, what was exported and what was dropped are exported under OpenTelemetry's names."""
    monkeypatch.setattr(queue_lane, "QUEUE_LIMIT", 100)
    observability = start(flush_interval=3600, batch_size=1000)
    record(120)
    assert observability.flush()
    assert observability.flush()
    assert otlp_receiver.total("otel.sdk.exporter.span.exported") == 100
    assert otlp_receiver.total("otel.sdk.processor.span.processed", {"error.type": "queue_full"}) == 20
    size = [m for m in otlp_receiver.metrics if m.name == "otel.sdk.processor.span.queue.size"]
    assert size[-1].points[0].value == 0


def test_another_set_up_tells_of_its_own_queues_only(otlp_receiver, start):
    """After a set-up was undone its queues are in no metric; what is exported is what the catalogue says."""
    start(flush_interval=3600)
    record(7)
    observability = start(flush_interval=3600)
    otlp_receiver.clear()
    record(2)
    assert observability.flush()
    assert observability.flush()
    for spec, value in ((telemetry.SPANS_PROCESSED, 2), (telemetry.SPAN_QUEUE_CAPACITY, queue_lane.QUEUE_LIMIT)):
        exports = [metric for metric in otlp_receiver.metrics if metric.name == spec.name]
        assert {(metric.unit, metric.description) for metric in exports} == {(spec.unit, spec.description)}
        assert {point.value for metric in exports for point in metric.points if point.value} == {value}


@pytest.mark.parametrize("ending", ["flush", "shutdown"])
def test_a_deadline_holds_in_front_of_a_hanging_backend_with_a_full_queue(otlp_receiver, start, ending, caplog):
    """flush(timeout) and shutdown(timeout) come back in time, however much waits and whatever the backend does."""
    observability = start(batch_size=100)
    otlp_receiver.hang()
    record(25_000)
    metrics.get_meter("shop").create_counter("orders").add(1)
    before = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert getattr(observability, ending)(0.5) is False
    assert time.monotonic() - before < 1.5
    if ending == "shutdown":
        assert "could be delivered" in lines(caplog)[-1]


def test_emitted_equals_delivered_plus_counted_drops_after_a_shutdown_in_an_outage(otlp_receiver, start, caplog):
    """What shutdown had to leave behind is counted."""
    observability = start(flush_interval=3600)
    record(10)
    assert observability.flush()
    otlp_receiver.respond(503)
    record(15)
    room = room_of(observability)
    assert observability.shutdown(0.3) is False
    record(5)
    tally = room.tallies["traces"]
    assert (tally.exported, tally.drops()) == (10, {"shutdown": 20})
    assert sum(room.waiting().values()) == 0
    status = observability.report()[0]
    assert (status.on, status.detail) == (False, "it was shut down")


def test_an_endless_answer_costs_no_memory_and_no_flush(otlp_receiver, start, monkeypatch):
    """A backend that answers 200 and never stops dripping is read for a while, not for ever."""
    monkeypatch.setattr("tldr_observability.export.deliver._READ_SECONDS", 0.3)
    observability = start(flush_interval=3600)
    otlp_receiver.drip(interval=0.05, path="/v1/traces")
    record(1)
    before = time.monotonic()
    assert observability.flush(5)
    assert time.monotonic() - before < 3


def test_a_signal_that_the_backend_does_not_take_does_not_hold_up_the_others(otlp_receiver, start):
    """While metrics fail, traces and logs arrive."""
    observability = start(flush_interval=3600)
    otlp_receiver.respond(503, path="/v1/metrics")
    record(1)
    _logs.get_logger("shop").emit(_logs.LogRecord(body="paid"))
    metrics.get_meter("shop").create_counter("kept.orders").add(3)
    observability.flush(0.3)
    assert len(otlp_receiver.spans) == len(otlp_receiver.logs) == 1
    otlp_receiver.recover()
    metrics.get_meter("shop").create_counter("kept.orders").add(4)
    otlp_receiver.wait_for(lambda r: r.total("kept.orders") == 7 or (observability.flush() and False))


def test_our_own_requests_are_not_traced(otlp_receiver, start):
    """A program that instruments its HTTP client does not see exports as spans, which would feed themselves."""
    pytest.importorskip("requests")
    import requests

    observability = start(flush_interval=3600)
    sent = []
    original = requests.Session.send

    def traced_send(self, request, **kwargs):
        from opentelemetry.instrumentation.utils import is_instrumentation_enabled

        sent.append(is_instrumentation_enabled())
        return original(self, request, **kwargs)

    requests.Session.send = traced_send
    try:
        record(1)
        assert observability.flush()
    finally:
        requests.Session.send = original
    assert sent
    assert not any(sent)


def test_a_request_is_not_delayed_by_a_hanging_backend(otlp_receiver, start):
    """Recording goes on at full speed while the backend hangs."""
    start(batch_size=10, flush_interval=0.05)
    otlp_receiver.hang()
    record(50)
    time.sleep(0.2)
    longest = 0.0
    for _ in range(500):
        before = time.perf_counter()
        record(1)
        longest = max(longest, time.perf_counter() - before)
    assert longest < 0.5


def test_a_running_span_is_announced_once_and_a_short_one_never(otlp_receiver, start):
    """Logfire's live view learns of a span that is open at a tick; spans that end before it need no placeholder."""
    start(flush_interval=0.15)
    tracer = trace.get_tracer("shop")
    with tracer.start_as_current_span("long"):
        record(3, "short")
        otlp_receiver.wait_for(lambda receiver: receiver.pending_spans)
        time.sleep(0.4)
    otlp_receiver.wait_for(lambda receiver: [s for s in receiver.spans if s.name == "long"])
    assert [span.name for span in otlp_receiver.pending_spans] == ["long"]


def test_redirects_are_not_followed(otlp_receiver, start, caplog):
    """A redirect would take the token to another host: it is refused and said."""
    observability = start(flush_interval=3600)
    with OTLPReceiver() as other:
        otlp_receiver.respond(307, headers={"Location": f"{other.url}/v1/traces"}, path="/v1/traces")
        record(1)
        with caplog.at_level(logging.WARNING):
            assert observability.flush() is False
        assert not other.requests
    assert "307" in lines(caplog)[0]


def test_shutting_down_twice_is_fine(start):
    """A second shutdown has nothing to do."""
    observability = start()
    assert observability.shutdown()
    assert observability.shutdown()
    assert _setup.setup() is observability


def test_an_idle_room_costs_nothing(start, otlp_receiver, monkeypatch):
    """With nothing to do the threads sleep, also where the backend takes one signal only or refuses another."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{otlp_receiver.url}/v1/traces")
    observability = start(token=None)
    record(1)
    assert observability.flush()
    assert len(otlp_receiver.spans) == 1
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25


def test_an_outage_under_load_costs_little(otlp_receiver, start, monkeypatch):
    """While a backend is away no thread spins, however often metrics and spans are due."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    monkeypatch.setattr("tldr_observability.export.lane._LONGEST_BACKOFF_SECONDS", 5)
    monkeypatch.setattr("tldr_observability.export.lane._FIRST_BACKOFF_SECONDS", 5)
    otlp_receiver.respond(503)
    observability = start(flush_interval=0.02, batch_size=1)
    record(5)
    observability.flush(0.2)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25


def test_a_flush_after_an_outage_delivers_what_had_piled_up(otlp_receiver, start):
    """True from flush() means that nothing waits any more, even if the lane was to be held back for a minute."""
    observability = start(flush_interval=3600, batch_size=10)
    otlp_receiver.respond(503, headers={"Retry-After": "60"}, times=1, path="/v1/traces")
    record(10)
    otlp_receiver.wait_for(lambda receiver: receiver.requests)
    record(95)
    assert observability.flush()
    assert len(otlp_receiver.spans) == 105
    assert sum(room_of(observability).waiting().values()) == 0


def test_a_rejected_token_that_is_accepted_again_gets_what_waits(otlp_receiver, start):
    """A flush tries again although the lane is held for a minute after a 401, and then all is well."""
    observability = start(flush_interval=3600)
    otlp_receiver.respond(401, times=1, path="/v1/traces")
    record(5)
    assert observability.flush() is False
    record(50)
    assert observability.flush()
    assert len(otlp_receiver.spans) == 50


@pytest.mark.parametrize("value", ["0", "nan", "-5", "inf", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_a_useless_retry_after_is_no_storm_and_no_end(otlp_receiver, start, value):
    """A Retry-After in the past, or none at all, leaves our own back-off in force."""
    observability = start(flush_interval=0.02)
    otlp_receiver.respond(503, headers={"Retry-After": value}, path="/v1/traces")
    record(1)
    time.sleep(0.5)
    assert 2 <= len([request for request in otlp_receiver.requests if request.path == "/v1/traces"]) <= 12
    otlp_receiver.recover()
    otlp_receiver.wait_for(lambda receiver: receiver.spans)
    assert observability.flush()


def test_a_request_that_was_taken_is_not_sent_again_for_its_answer(otlp_receiver, start):
    """200 with a body that can't be read is still a 200."""
    observability = start(flush_interval=3600)
    otlp_receiver.respond(200, headers={"Content-Encoding": "gzip"}, body=b"no gzip", path="/v1/traces")
    record(3)
    assert observability.flush()
    assert len([request for request in otlp_receiver.requests if request.path == "/v1/traces"]) == 1


def test_a_body_that_the_backend_fails_on_is_given_up_in_the_end(otlp_receiver, start, monkeypatch):
    """500 again and again on the same request: after ten tries the ones behind it get their turn."""
    monkeypatch.setattr("tldr_observability.export.lane._MOST_ATTEMPTS_ON_FAULT", 3)
    observability = start(flush_interval=0.05, batch_size=10)
    otlp_receiver.respond(500, times=3, path="/v1/traces")
    record(10)
    otlp_receiver.wait_for(lambda receiver: len(receiver.requests) >= 1)
    record(10, "behind")
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) == 10)
    assert room_of(observability).tallies["traces"].drops() == {"rejected": 10}


@pytest.mark.parametrize("deadline", [0.0, 0.01, 0.05])
def test_a_shutdown_in_the_middle_of_everything_counts_exactly(otlp_receiver, start, deadline):
    """Each span is exported or counted, wherever on its way the end meets it, and is held no longer."""
    observability = start(flush_interval=3600, batch_size=50)
    otlp_receiver.respond(200, delay=0.01)
    record(5000)
    room = room_of(observability)
    observability.shutdown(deadline)
    tally = room.tallies["traces"]
    otlp_receiver.wait_for(lambda _: tally.exported + sum(tally.drops().values()) == 5000)
    assert room.waiting()["traces"] == 0


def test_several_shutdowns_at_once_count_once(otlp_receiver, start, caplog):
    """Three threads that shut down together tell of the loss once."""
    observability = start(flush_interval=3600)
    otlp_receiver.hang()
    record(50)
    threads = [threading.Thread(target=observability.shutdown, args=(0.2,)) for _ in range(3)]
    with caplog.at_level(logging.WARNING):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert room_of(observability).tallies["traces"].drops() == {"shutdown": 50}
    assert len([line for line in lines(caplog) if "before 50 spans" in line]) == 1


def test_one_metric_point_that_can_not_be_encoded_does_not_take_others_along(otlp_receiver, start):
    """A sum beyond what OTLP can carry is counted as dropped at each reading; all other metrics arrive."""
    observability = start(flush_interval=3600)
    meter = metrics.get_meter("shop")
    meter.create_up_down_counter("poison").add(2**63)
    meter.create_counter("good.orders").add(2)
    assert observability.flush() is False
    assert otlp_receiver.total("good.orders") == 2
    assert room_of(observability).tallies["metrics"].drops() == {"unencodable": 1}


def test_metrics_that_are_too_large_arrive_in_parts(otlp_receiver, start):
    """413 for metrics: the same points in smaller requests, each once."""
    observability = start(flush_interval=3600)
    counter = metrics.get_meter("shop").create_counter("large.orders")
    for number in range(40):
        counter.add(1, {"number": number})
    otlp_receiver.respond(413, times=2, path="/v1/metrics")
    assert observability.flush()
    assert otlp_receiver.total("large.orders") == 40
    assert len([request for request in otlp_receiver.requests if request.path == "/v1/metrics"]) >= 4


@pytest.mark.parametrize("how", [SystemExit, ValueError, KeyboardInterrupt])
def test_a_metric_callback_that_raises_ends_nothing(otlp_receiver, start, how):
    """Whatever a callback of the program raises, spans go on, and metrics go on when it stops raising."""
    observability = start(flush_interval=3600)
    raising = [how("from a callback")]

    def callback(_):
        if raising:
            raise raising.pop()
        return []

    metrics.get_meter("shop").create_observable_gauge(f"odd.{how.__name__}", [callback])
    metrics.get_meter("shop").create_counter("even.orders").add(1)
    record(1)
    observability.flush()
    assert otlp_receiver.spans
    assert observability.flush()
    assert otlp_receiver.total("even.orders") == 1


def test_a_metric_callback_that_hangs_holds_up_no_span(otlp_receiver, start):
    """Spans and log records arrive while a callback of the program waits for something."""
    observability = start(flush_interval=0.05)
    done = threading.Event()
    metrics.get_meter("shop").create_observable_gauge("stuck", [lambda _: done.wait(20) and []])
    before = time.monotonic()
    assert observability.flush(0.2) is False
    record(3)
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) == 3)
    assert observability.shutdown(0.2) is False
    assert time.monotonic() - before < 5
    done.set()


def test_a_path_that_hangs_holds_up_no_other(otlp_receiver, start):
    """While /v1/traces hangs, log records and metrics arrive within their time."""
    start(flush_interval=0.05)
    otlp_receiver.hang(path="/v1/traces")
    record(1)
    time.sleep(0.2)
    _logs.get_logger("shop").emit(_logs.LogRecord(body="paid"))
    otlp_receiver.wait_for(lambda receiver: receiver.logs, timeout=3)


def test_full_batches_leave_at_once_while_another_signal_is_held_back(otlp_receiver, start):
    """A backend that refuses metrics with 401 still gets full batches of spans without a tick."""
    observability = start(flush_interval=3600, batch_size=10)
    otlp_receiver.respond(401, path="/v1/metrics")
    metrics.get_meter("shop").create_counter("denied.orders").add(1)
    observability.flush()
    for _ in range(10):
        record(10)
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) == 100)


def test_two_destinations_are_asked_once_each_and_side_by_side(otlp_receiver, start):
    """A flush to two projects takes as long as one, and is one request a signal for each."""
    observability = start(token="one,two", flush_interval=3600)
    otlp_receiver.respond(200, delay=0.3)
    record(1)
    before = time.monotonic()
    assert observability.flush()
    assert time.monotonic() - before < 0.6
    assert len([request for request in otlp_receiver.requests if request.path == "/v1/traces"]) == 2


@pytest.mark.parametrize("timeout", [float("inf"), 1e10, float("nan"), -1.0])
def test_a_strange_timeout_is_no_error(start, timeout):
    """flush() makes of any number a time that can be waited for."""
    assert start().flush(timeout) in (True, False)


def test_a_netrc_of_the_user_replaces_no_token(otlp_receiver, start, monkeypatch, tmp_path):
    """Credentials for the host in ~/.netrc are somebody else's."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password other")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    observability = start()
    record(1)
    assert observability.flush()
    assert otlp_receiver.requests[0].headers["authorization"] == "test-token"


def test_a_bell_may_be_rung_by_a_handler_that_interrupts_its_ringing():
    """What wakes the room's threads is safe in signal handlers: hundreds of interruptions, no deadlock."""
    bell, rung = Bell(), []

    def handle(number, frame):
        bell.ring()
        rung.append(number)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            bell.ring()
            bell.wait(0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(rung) > 50


def test_a_flush_works_while_another_thread_is_stopped_inside_of_counting(otlp_receiver, start, monkeypatch):
    """SIGTERM may interrupt the main thread where it counts a refused span: the flush does not need that lock."""
    monkeypatch.setattr(queue_lane, "QUEUE_LIMIT", 10)
    observability = start(flush_interval=3600, batch_size=100)
    record(15)
    with room_of(observability).tallies["traces"]._lock:
        assert observability.flush(2)
    assert len(otlp_receiver.spans) == 10


def test_a_fault_after_a_long_outage_is_not_the_last_straw(otlp_receiver, start):
    """Only answers of 500 count against a request: after many 503s a first 500 is tried again."""
    start(flush_interval=3600, batch_size=3)
    otlp_receiver.respond(503, times=12, path="/v1/traces")
    otlp_receiver.respond(500, times=1, path="/v1/traces")
    record(3)
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) == 3, timeout=10)


def test_a_request_under_way_that_is_refused_makes_the_flush_false(otlp_receiver, start):
    """flush() answers for all that was recorded before it, what is on the wire at the moment included."""
    observability = start(flush_interval=3600, batch_size=5)
    otlp_receiver.respond(400, delay=0.3, times=1, path="/v1/traces")
    record(5)
    otlp_receiver.wait_for(lambda receiver: receiver.requests)
    assert observability.flush() is False
    assert observability.flush()


def test_a_running_span_is_announced_after_an_outage(otlp_receiver, start):
    """A tick that could send nothing forgets no placeholder."""
    observability = start(flush_interval=3600)
    tracer = trace.get_tracer("shop")
    with tracer.start_as_current_span("long"):
        record(1)
        otlp_receiver.respond(503, path="/v1/traces")
        assert observability.flush(0.3) is False
        otlp_receiver.recover()
        assert observability.flush()
        assert [span.name for span in otlp_receiver.pending_spans] == ["long"]


def test_a_log_handler_that_takes_its_time_keeps_no_books_open(otlp_receiver, start):
    """While the program's handler chews on our warning, shutdown() comes back in time and counts what is lost."""
    observability = start(flush_interval=3600, batch_size=5)
    logger = logging.getLogger("tldr_observability")

    class Slow(logging.Handler):
        def handle(self, entry):  # before the handler's lock, which the last line of the shutdown needs as well
            if "can't be delivered" in entry.getMessage():
                time.sleep(1.5)

    handler = Slow()
    logger.addHandler(handler)
    try:
        otlp_receiver.respond(503, path="/v1/traces")
        record(15)
        otlp_receiver.wait_for(lambda receiver: receiver.requests)
        time.sleep(0.1)
        before = time.monotonic()
        assert observability.shutdown(0.1) is False
        assert time.monotonic() - before < 0.8
        assert room_of(observability).tallies["traces"].drops() == {"shutdown": 15}
    finally:
        logger.removeHandler(handler)


def test_a_queue_that_fills_while_its_lane_is_held_leaves_when_it_is_not(otlp_receiver, start, monkeypatch):
    """Full batches that came in silence are sent at the end of the back-off and not at the next tick."""
    monkeypatch.setattr("tldr_observability.export.lane._FIRST_BACKOFF_SECONDS", 0.3)
    start(flush_interval=3600, batch_size=10)
    otlp_receiver.respond(503, times=1, path="/v1/traces")
    record(10)
    otlp_receiver.wait_for(lambda receiver: receiver.requests)
    for _ in range(20):
        record(10)
        time.sleep(0.02)
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) == 210)


def test_a_hurry_is_short_and_spares_the_instruments(otlp_receiver, start):
    """After a SIGTERM that a server survives metrics are read about once a second, not with every span."""
    observability = start(flush_interval=3600)
    observability._pipeline.hurry()
    record(1)
    otlp_receiver.wait_for(lambda receiver: receiver.spans, timeout=2)
    time.sleep(1.0)
    assert len([request for request in otlp_receiver.requests if request.path == "/v1/metrics"]) <= 3


def test_a_success_ends_the_hold(otlp_receiver, start):
    """Once a flush got through after a 401, full batches leave at once again and not when the minute is over."""
    observability = start(flush_interval=3600, batch_size=10)
    otlp_receiver.respond(401, times=1, path="/v1/traces")
    record(1)
    assert observability.flush() is False
    record(1)
    assert observability.flush()
    record(10)
    otlp_receiver.wait_for(lambda receiver: len(receiver.spans) == 11)


def test_an_answer_after_the_deadline_is_not_counted_a_second_time(otlp_receiver, start):
    """What shutdown() gave up is dropped in our books, even if the backend took it a moment later."""
    observability = start(flush_interval=3600)
    otlp_receiver.respond(200, delay=0.5, path="/v1/traces")
    record(5)
    assert observability.shutdown(0.1) is False
    otlp_receiver.wait_for(lambda receiver: receiver.spans)
    time.sleep(0.2)
    tally = room_of(observability).tallies["traces"]
    assert (tally.exported, tally.drops()) == (0, {"shutdown": 5})
