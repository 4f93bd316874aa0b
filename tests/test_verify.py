"""`tldr-obs verify`: each line of the checklist holding and failing, with real apps, and an end to every run."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import get_meter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from servers import free_port

from tldr_observability import log_event, metrics, span
from tldr_observability.cli import main
from tldr_observability.cli.verification import checks, judge
from tldr_observability.cli.verification.evidence import Evidence, Received, State
from tldr_observability.cli.verification.exercise import Exercised

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOP = """
    import os
    from celery import Celery
    from fastapi import FastAPI, HTTPException
    from tldr_observability import metrics, setup

    broker = os.environ.get("SHOP_BROKER")
    app, celery_app = FastAPI(), Celery("shop", broker=broker or "memory://", task_always_eager=not broker)
    if "UNOBSERVED" not in os.environ:
        setup(app=app, celery=celery_app)

    @celery_app.task(name="pack", ignore_result=True)
    def pack():
        pass

    @app.get("/health")
    @app.get("/ready")
    def health():
        return "well"

    @app.get("/orders")
    def orders():
        return []

    @app.get("/me")
    def me():
        raise HTTPException(401)

    @app.get("/orders/{number}")
    def one(number):
        raise LookupError(number)

    @app.post("/orders")
    def place(order: dict):
        metrics.increment_quota_checked(organization_id="acme", quota="orders")
        pack.delay()
"""
ORDER = 'POST /orders {"item": "tea"}'
BREAK = "GET /orders/1"


class Shop:
    """The shop as a process, and where it exports to."""

    def __init__(self, program, *, worker=False, **env):
        self.listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._program = program
        self._env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.listen}",
            "OTEL_METRIC_EXPORT_INTERVAL": "400",
            "LOGFIRE_TOKEN": "",
            "LOGFIRE_FLUSH_INTERVAL": "0.2",
            "LOGFIRE_SERVICE_NAME": "shop",
            "LOGFIRE_CONSOLE_ENABLED": "false",
            **env,
        }
        app = self.start("-m", "uvicorn", "program:app", "--port", self.url.rpartition(":")[2])
        if worker:  # both at once
            command = ("celery", "-A", "program:celery_app", "worker", "--pool", "solo", "-l", "info")
            self.start("-m", *command, LOGFIRE_SERVICE_NAME="warehouse").wait_for_line("ready.")
        app.wait_for_line("running on")

    def start(self, *arguments, **env):
        return self._program(SHOP, *arguments, env={**self._env, **env})


@pytest.fixture
def shop(program):
    """Start the shop, observed or not, with a worker or without."""
    return lambda **options: Shop(program, **options)


@pytest.fixture
def verify(capsys):
    """Run the command in this process; returns its exit status and what it printed."""

    def verify(*arguments, timeout=20.0):
        code = main(["verify", *arguments, "--timeout", str(timeout)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out or printed.err

    return verify


def asking(*texts):
    return [part for text in texts for part in ("--request", text)]


def test_a_deployment_that_works_passes(shop, verify, valkey_url):
    """An app with a worker, a metric and an error with its stack trace passes: a line a check, both services named."""
    app = shop(worker=True, SHOP_BROKER=valkey_url)
    code, output = verify(app.url, "--listen", app.listen, *asking(ORDER, BREAK))

    assert output.splitlines() == [
        "ok    API endpoints generate traces: 2 requests, 2 traces (POST /orders, GET /orders/1)",
        "ok    Async tasks appear in traces: 1 task (run/pack of warehouse for POST /orders of shop)",
        "ok    Business metrics are recorded: 1 metric (tldr.quota.checked 1)",
        "ok    Errors include stack traces: 1 error (LookupError in GET /orders/{number})",
    ]
    assert code == 0


def test_the_hints_lead_to_a_pass(shop, verify):
    """Routes are asked by themselves; a path without one proves nothing; the requests that are suggested pass."""
    app = shop()
    code, output = verify(app.url, "--listen", app.listen, "--json", timeout=1.5)
    document = json.loads(output)
    lines = {each["check"]: each for each in document["checks"]}

    assert code == 1
    assert not document["ok"]
    assert [(sent["request"], sent["status"]) for sent in document["requests"]] == [
        ("GET /orders", 200),
        ("GET /me", 401),
    ]
    assert set(document["skipped"]) == {"/health", "/ready"}
    assert [(name, line["verdict"]) for name, line in lines.items()] == [
        ("traces", "ok"),
        ("tasks", "fail"),
        ("metrics", "fail"),
        ("errors", "none"),
    ]
    assert lines["metrics"]["detail"].startswith("only technical ones arrived (")
    assert "'POST /orders {...}'" in lines["tasks"]["fix"]
    assert "'GET /orders/no-such-thing'" in lines["errors"]["fix"]

    code, output = verify(app.url, "--listen", app.listen, *asking("GET /orders", "GET /nowhere"), timeout=1)
    assert code == 1
    assert "1 of 2 requests came to no route: GET /nowhere (404); ask for paths that the app serves" in output

    code, output = verify(
        app.url, "--listen", app.listen, "--json", *asking(ORDER, "GET /orders/no-such-thing"), timeout=30
    )
    document = json.loads(output)
    assert code == 0
    assert document["ok"]
    assert {line["verdict"] for line in document["checks"]} == {"ok"}
    figures = {figure["name"]: figure for line in document["checks"] for figure in line.get("metrics", ())}
    assert figures == {"tldr.quota.checked": {"name": "tldr.quota.checked", "unit": "{check}", "total": 1}}


def test_an_app_that_exports_nothing_is_told_what_to_type(shop, verify):
    """Without setup() nothing arrives: every line says so, and names the variable that leads here."""
    app = shop(UNOBSERVED="1")
    code, output = verify(app.url, "--listen", app.listen, *asking(ORDER, "GET /orders?key=geheim"), timeout=0.5)

    assert code == 1
    assert "2 of 2 requests left no trace: POST /orders (200), GET /orders (200); nothing arrived" in output
    assert "geheim" not in output
    assert [line[:4] for line in output.splitlines()] == ["FAIL", "FAIL", "FAIL", "NONE"]
    assert all(f"export OTEL_EXPORTER_OTLP_ENDPOINT=http://{app.listen}" in line for line in output.splitlines())
    assert "call setup(app=app)" in output


def test_a_trace_that_does_not_belong_to_the_request_does_not_count(shop, verify):
    """An app that starts traces of its own is not taken for one that continues those of its callers."""
    app = shop(LOGFIRE_DISTRIBUTED_TRACING="false")
    code, output = verify(app.url, "--listen", app.listen, *asking("GET /orders", "GET /nowhere"), timeout=1)

    assert code == 1
    assert "2 of 2 requests left no trace: GET /orders (200), GET /nowhere (404); other requests were traced" in output
    assert "traceparent" in output


def test_what_others_cause_is_judged(shop, verify):
    """Without a URL the command waits for the traffic of others, and ends as soon as everything holds."""
    app = shop()

    def use():
        time.sleep(0.3)
        requests.post(f"{app.url}/orders", json={"item": "tea"}, timeout=5)
        requests.get(f"{app.url}/orders/1", timeout=5)

    somebody = threading.Thread(target=use)
    somebody.start()
    began = time.monotonic()
    code, output = verify("--listen", app.listen)
    somebody.join()

    assert code == 0, output
    assert "2 traces (POST /orders, GET /orders/{number})" in output
    assert time.monotonic() - began < 15


def test_an_error_without_a_stack_trace_fails(verify):
    """A span with error status and no exception is found out, and its name can't play with the terminal."""
    port = free_port()

    def export():
        time.sleep(0.2)
        provider = TracerProvider()
        provider.add_span_processor(
            SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces"))
        )
        with provider.get_tracer("bare").start_as_current_span("charge\x1b[2J the card") as charge:
            charge.set_status(StatusCode.ERROR)

    somebody = threading.Thread(target=export)
    somebody.start()
    code, output = verify("--listen", str(port), timeout=1)
    somebody.join()

    assert code == 1
    assert r"FAIL  Errors include stack traces: 1 of 1 error without one: 'charge\x1b[2J the card'" in output
    assert "span.record_exception(error)" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ftp://shop"], "URL: expected"),
        (["http://user:geheim@shop"], "use --header"),
        (["http://[shop"], "URL: expected"),
        (["http://shop", "--request", "GET"], "--request: expected 'METHOD /path"),
        (["http://shop", "--request", "POST /orders {item"], "expected JSON behind POST /orders"),
        (["http://shop", "--header", "geheim"], "--header: expected 'Name: value'"),
        (["http://shop", "--header", "X-Key: geheim\r\nX: y"], "--header: expected 'Name: value'"),
        (["--request", "GET /orders"], "need the app's URL"),
        (["--listen", "everywhere"], "--listen: expected HOST:PORT"),
        (["--listen", "0.0.0.0:4318"], "--listen: expected 127.0.0.1"),
        (["--listen", "127.0.0.1:70000"], "--listen: expected HOST:PORT"),
    ],
)
def test_bad_arguments_are_explained(verify, arguments, message):
    """What is expected is said in one line, without repeating a secret, and nothing is run."""
    code, output = verify(*arguments)
    assert code == 2
    assert message in output
    assert "geheim" not in output


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_timeout_is_a_time(capsys, seconds):
    """A run that could never end can't be asked for."""
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--timeout", seconds])
    assert ended.value.code == 2
    assert "expected seconds above 0" in capsys.readouterr().err


def test_a_taken_port_is_named_with_the_way_out(verify):
    """Where a collector listens already, the message has both halves of the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as collector:
        port = collector.getsockname()[1]
        code, output = verify("--listen", f"127.0.0.1:{port}")
        _, document = verify("--listen", f"127.0.0.1:{port}", "--json")

    assert code == 2
    assert f"127.0.0.1:{port} is taken" in output
    assert "--listen 127.0.0.1:" in output
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:" in output
    assert json.loads(document)["problem"] in output
    assert json.loads(document)["checks"] == []


@pytest.mark.parametrize("asked", [[], asking("GET /orders")])
def test_an_app_that_is_away_is_said_to_be(verify, asked):
    """Nothing is judged, nothing is waited for: the app has to be started."""
    url = f"http://127.0.0.1:{free_port()}"
    code, output = verify(url, "--listen", str(free_port()), *asked)
    assert code == 2
    assert f"{url} does not answer: connection refused; start the app" in output


@contextlib.contextmanager
def answering(answer) -> Iterator[str]:
    """A server that does with each connection what `answer` says, and whatever that is goes on in threads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

        def handle(connection):
            with contextlib.suppress(OSError), connection:
                connection.recv(65_536)
                answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def hangs(connection):
    connection.recv(1)


def drips_its_headers(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(100):
        connection.sendall(b"a")
        time.sleep(0.1)


def never_ends(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"a")
        time.sleep(0.1)


def babbles(connection):
    connection.sendall(b"\x00\xff garbage \x1b[2J\r\n\r\n" * 100)


def nests(connection):
    body = b"[" * 200_000
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize("answer", [hangs, drips_its_headers, never_ends, babbles, nests])
def test_a_hostile_app_holds_nobody_up(verify, answer):
    """Whatever an app answers, or doesn't, the command ends in time and says that there is nothing to judge by."""
    with answering(answer) as url:
        began = time.monotonic()
        code, output = verify(url, "--listen", str(free_port()), "--header", "Authorization: geheim", timeout=0.5)

    assert time.monotonic() - began < 4
    assert code == 2
    assert output.isascii()
    assert "\x1b" not in output
    assert "geheim" not in output
    assert "openapi.json" in output or "does not answer" in output


def test_a_stream_without_an_end_is_left_in_time(verify):
    """An endpoint that goes on sending counts as answered, and the others have their turn."""
    with answering(never_ends) as url:
        code, output = verify(
            url, "--listen", str(free_port()), *asking("GET /events", "GET /b"), "--json", timeout=0.5
        )

    assert code == 1
    first, second = json.loads(output)["requests"]
    assert first["status"] == 200
    assert second["problem"] == "not sent: out of time, see --timeout"


def test_progress_is_for_terminals_only():
    """Someone who waits sees how far it is; a log gets the verdicts alone."""
    command = [sys.executable, "-m", "tldr_observability.cli", "verify", "--timeout", "0.5"]
    try:
        leader, follower = pty.openpty()
    except OSError:
        pytest.skip("this machine has no terminals (/dev/pts is not mounted)")
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([*command, "--listen", str(free_port())], stdout=pipe, stderr=pipe) as piped,
        subprocess.Popen([*command, "--listen", str(free_port())], stdout=pipe, stderr=follower) as watched,
    ):
        lines, nothing = piped.communicate(timeout=20)
        watched.communicate(timeout=20)
    os.close(follower)
    seen = os.read(leader, 65_536).decode()
    os.close(leader)

    assert "listening on http://127.0.0.1:" in seen
    assert "0 of 4 hold, 0 spans so far" in seen
    assert watched.returncode == piped.returncode == 1
    assert len(lines.splitlines()) == 4
    assert nothing == b""


def evidence(telemetry, sent=()):
    received = Received(telemetry.spans, telemetry.logs, telemetry.metrics)
    return Evidence("http://127.0.0.1:4318", Exercised(None, sent), received)


def started(name, kind, **attributes):
    return trace.get_tracer("shop").start_as_current_span(name, kind=kind, attributes=attributes)


def test_a_task_apart_from_its_request_is_not_in_a_trace(telemetry):
    """A worker whose tasks begin traces of their own fails, and the line says whom to set up."""
    with started("POST /orders", SpanKind.SERVER):
        pass
    with started("run/pack", SpanKind.CONSUMER):
        pass
    verdict = checks.tasks_are_in_traces(evidence(telemetry))
    assert verdict.state is State.FAILS
    assert "run/pack" in verdict.detail
    assert "setup(celery=...) in the process that sends them" in verdict.fix


def test_a_task_that_never_arrives_points_to_the_worker(telemetry):
    """A task that was sent and not seen again says that the worker doesn't export, and what to type."""
    with started("POST /orders", SpanKind.SERVER), started("apply_async/pack", SpanKind.PRODUCER):
        pass
    verdict = checks.tasks_are_in_traces(evidence(telemetry))
    assert verdict.state is State.FAILS
    assert "none has arrived: apply_async/pack" in verdict.detail
    assert (
        "start the worker, in its environment export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318" in verdict.fix
    )


def test_business_is_told_from_machinery(telemetry):
    """The catalogue's business and a service's own metrics count, not what libraries measure; levels aren't added."""
    metrics.record_storage_usage(5, organization_id="acme", storage_type="clips")
    metrics.record_task_duration(1.5, "pack", "acme")
    metrics.counter("market.orders", unit="{order}").add(2)
    get_meter("somebody").create_counter("http.server.teapots").add(1)
    get_meter("somebody").create_counter("parcels").add(3)
    for shelf in ("a", "b"):
        get_meter("somebody").create_gauge("stock").set(7, {"shelf": shelf})
    get_meter("opentelemetry.instrumentation.celery").create_counter("flower.task").add(1)

    verdict = checks.business_is_measured(evidence(telemetry))

    assert verdict.state is State.HOLDS
    assert verdict.detail == "4 metrics (market.orders 2, parcels 3, stock, tldr.storage.used 5)"


def test_answers_are_no_errors(telemetry):
    """A call that a peer refused and a deliberate 503 need no stack trace; a plain 500 does."""
    with started("GET", SpanKind.CLIENT) as called:
        called.set_status(StatusCode.ERROR)
    with started("GET /ready", SpanKind.SERVER, **{"error.type": "503"}) as ready:
        ready.set_status(StatusCode.ERROR)
    assert checks.errors_have_stacktraces(evidence(telemetry)).state is State.UNSEEN

    with pytest.raises(LookupError), span("look it up"):
        raise LookupError
    assert checks.errors_have_stacktraces(evidence(telemetry)).detail == "1 error (LookupError in look it up)"

    with started("GET /orders", SpanKind.SERVER, **{"error.type": "500"}) as broken:
        broken.set_status(StatusCode.ERROR)
    verdict = checks.errors_have_stacktraces(evidence(telemetry))
    assert verdict.state is State.FAILS
    assert verdict.detail == "1 of 2 errors without one: 500 in GET /orders"


def test_a_stack_trace_is_where_the_exception_is(telemetry):
    """An exception without one fails, even beside one with; a log record of the span may hold it instead."""
    with started("charge", SpanKind.INTERNAL) as charge:
        charge.record_exception(ValueError("declined"))
        charge.add_event("exception", {"exception.type": "OSError"})
    logged = {"exception.type": "OSError", "exception.stacktrace": "Traceback ..."}
    assert checks.errors_have_stacktraces(evidence(telemetry)).detail == "1 of 1 error without one: OSError in charge"

    telemetry.clear()
    with started("refund", SpanKind.INTERNAL) as refund:
        refund.set_status(StatusCode.ERROR)
        log_event("refund.failed", **logged)
    assert checks.errors_have_stacktraces(evidence(telemetry)).detail == "1 error (OSError in refund)"


def test_a_check_is_a_function_and_a_source_is_two_members(telemetry):
    """Dashboards, alerts and other backends can join: both are handed to `judge`."""

    class Stored:
        endpoint = "https://backend.example"

        def received(self):
            return Received(telemetry.spans)

    with started("GET /orders", SpanKind.SERVER, **{"http.route": "/orders", "http.request.method": "GET"}):
        pass
    report = judge(Stored(), Exercised(), seconds=0.1, progress=lambda _: None, checks=(checks.endpoints_are_traced,))
    assert report.ok
    assert report.verdicts[0].detail == "1 trace (GET /orders)"
