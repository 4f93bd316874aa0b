"""Celery, with real workers of every pool on a real broker: traces, identity, metrics, and nothing lost at the end."""

from __future__ import annotations

import builtins
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group, signals
from celery_shop import SoldOutError, build
from kombu.exceptions import SerializerNotInstalled
from opentelemetry import context as otel_context
from opentelemetry import trace
from servers import has_semaphores

from tldr_observability import (
    ConfigurationError,
    MissingExtraError,
    add_processing_context,
    add_user_context,
    context,
    set_correlation_id,
    setup,
    span,
)
from tldr_observability.integrations import celery, celery_depth
from tldr_observability.testing import OTLPReceiver, tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tldr_observability.testing import Span, Telemetry

POOLS = ("prefork", "threads", "solo")
EXECUTED, RETRIED, DURATION = "tldr.task.executed", "tldr.task.retried", "tldr.task.duration"
WAITED, DEPTH = "tldr.task.queue.latency", "tldr.task.queue.depth"


class Worker:
    """A Celery worker in a process of its own, which exports to a receiver of its own."""

    def __init__(self, url: str, *arguments: str, interval: float = 0.2) -> None:
        self.url = url
        self.receiver = OTLPReceiver()
        command = (sys.executable, "-m", "celery", "-A", "celery_worker", "worker", "-l", "warning")
        self._process = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle", "--without-heartbeat", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parent,
            start_new_session=True,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
                "SHOP_BROKER": url,
                "LOGFIRE_TOKEN": "test-token",
                "LOGFIRE_BASE_URL": self.receiver.url,
                "LOGFIRE_FLUSH_INTERVAL": str(interval),
                "LOGFIRE_CONSOLE_ENABLED": "false",
                "OTEL_METRIC_EXPORT_INTERVAL": str(interval * 1000),
            },
        )
        self.app = build(url)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it; returns what it wrote."""
        self._process.send_signal(number)
        try:
            return self._process.communicate(timeout=30)[0]
        finally:
            self.kill()

    def kill(self) -> None:
        """See that nothing of it stays."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=10)
        self.receiver.close()

    def run(self, name: str, *args: Any, **options: Any) -> Any:
        """Have it run a task of the shop; returns Celery's result."""
        return self.app.tasks[f"shop.{name}"].apply_async(args, **options)

    def executed(self, organization: str, **more: object) -> float:
        """How many tasks of an organization it counted."""
        return self.receiver.total(EXECUTED, {"tldr.organization.id": organization}, **more)


@contextmanager
def working(url: str, *arguments: str, interval: float = 0.2) -> Iterator[Worker]:
    worker = Worker(url, *arguments, interval=interval)
    try:
        yield worker
    finally:
        worker.app.close()
        worker.kill()


def skip_without_semaphores(pool: str) -> None:
    if pool == "prefork" and not has_semaphores():
        pytest.skip("Celery's process pool needs POSIX semaphores")


def database(valkey_url: str, number: int) -> str:
    return f"{valkey_url.rpartition('/')[0]}/{number}"


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, valkey_url: str) -> Iterator[Worker]:
    """One worker a pool for the whole module."""
    pool = request.param
    skip_without_semaphores(pool)
    with working(database(valkey_url, 1 + POOLS.index(pool)), "-P", pool, "-c", "2", "-Q", "celery,late") as worker:
        yield worker


@pytest.fixture
def worker(running: Worker, telemetry: Telemetry) -> Iterator[Worker]:
    """The pool's worker; the test process sends to it and is observed too."""
    setup(celery=running.app)
    unit = context.begin_unit()
    yield running
    context.end_unit(unit)
    assert telemetry.receiver is not None


every_pool = pytest.mark.parametrize("running", POOLS, indirect=True)
one_pool = pytest.mark.parametrize("running", ["prefork"], indirect=True)


def trace_of(telemetry: Telemetry, worker: Worker, name: str, count: int, runs: int = 1) -> list[Span]:
    """The spans of the trace that the test process began with `name`, from both processes."""
    own = telemetry.spans
    (root,) = (each for each in own if each.name == name)

    def complete(receiver: OTLPReceiver) -> Sequence[Span]:
        found = [each for each in (*own, *receiver.spans) if each.trace_id == root.trace_id]
        ran = sum(each.name.startswith("run/") for each in found)
        return found if len(found) >= count and ran >= runs else ()

    return sorted(worker.receiver.wait_for(complete, timeout=10), key=lambda each: each.start_time_ns)


@every_pool
def test_sender_and_task_share_a_trace_and_an_identity(worker: Worker, telemetry: Telemetry) -> None:
    """A task's spans, in another process, are children of the request's, and carry its organization and stream."""
    add_user_context(organization_id="sharing", user_id="u-1", api_key_id="k-1")
    add_processing_context(stream_id="s-1", batch_id="b-1", platform="twitch", processing_stage="ingest")
    set_correlation_id("order-7")
    with span("request"):
        known = worker.run("who").get(timeout=10)
        assert worker.run("add", 1, 2).get(timeout=10) == 3

    spans = trace_of(telemetry, worker, "request", 6, runs=2)
    assert tree(spans) == (
        "request\n  apply_async/shop.who\n    run/shop.who\n  apply_async/shop.add\n    run/shop.add\n      adding"
    )
    identity = {
        "tldr.correlation.id": "order-7",
        "tldr.organization.id": "sharing",
        "tldr.api_key.id": "k-1",
        "tldr.stream.id": "s-1",
        "tldr.batch.id": "b-1",
        "tldr.platform": "twitch",
        "tldr.stage": "ingest",
    }
    assert known == {**identity, "user.id": "from-the-handler"}
    for each in spans:
        assert identity.items() <= each.attributes.items(), each.name
    sent, ran = (next(s for s in spans if s.name == f"{kind}/shop.add") for kind in ("apply_async", "run"))
    assert (sent.kind, ran.kind) == ("producer", "consumer")
    assert sent.attributes["messaging.message.id"] == ran.attributes["messaging.message.id"]
    assert sent.attributes["tldr.queue"] == ran.attributes["tldr.queue"] == "celery"
    assert ran.attributes["celery.state"] == "SUCCESS"
    worker.receiver.wait_for(lambda _: worker.executed("sharing") == 2, timeout=10)
    assert worker.executed("sharing", **{"tldr.task.name": "shop.add", "tldr.outcome": "success"}) == 1


@every_pool
def test_a_task_does_not_inherit_the_identity_of_the_one_before(worker: Worker) -> None:
    """Whatever a task says of its caller is gone when the next runs in the same process or thread."""
    for _ in range(4):
        worker.run("become", "somebody-else").get(timeout=10)
    for _ in range(4):
        assert worker.run("who").get(timeout=10) == {"user.id": "from-the-handler"}


@every_pool
def test_a_failing_task_shows_its_exception_and_counts_as_failed(worker: Worker, telemetry: Telemetry) -> None:
    """The consumer span has error status and the exception, and the outcome is `failed`."""
    add_user_context(organization_id="failing")
    with span("request"), pytest.raises(SoldOutError):
        worker.run("fail", "tea").get(timeout=10)

    ran = trace_of(telemetry, worker, "request", 3)[-1]
    assert (ran.name, ran.status, ran.attributes["celery.state"]) == ("run/shop.fail", "error", "FAILURE")
    assert [event.attributes["exception.message"] for event in ran.events] == ["tea"]
    worker.receiver.wait_for(lambda _: worker.executed("failing", **{"tldr.outcome": "failed"}) == 1, timeout=10)


@one_pool
def test_errors_of_tasks_are_counted_once(worker: Worker) -> None:
    """A failing task adds one error of its layer, decorated or not; retries and declared exceptions add none."""
    sold_out = {"error.type": "celery_shop.SoldOutError", "tldr.layer": "task"}
    before = worker.receiver.total("tldr.error.count")
    for name, argument in (("fail", "tea"), ("detect", "broken"), ("fail", "expected"), ("flaky", 1)):
        worker.run(name, argument).get(timeout=10, propagate=False)
    worker.receiver.wait_for(lambda r: r.total("tldr.error.count", sold_out) >= 2, timeout=10)
    time.sleep(0.5)
    assert worker.receiver.total("tldr.error.count") - before == 2


@one_pool
def test_an_exception_that_a_task_declares_is_no_error(worker: Worker, telemetry: Telemetry) -> None:
    """What is listed in `throws` stays on the span, which nobody is alarmed by; the task failed all the same."""
    add_user_context(organization_id="declaring")
    with span("request"), pytest.raises(KeyError):
        worker.run("fail", "expected").get(timeout=10)

    ran = trace_of(telemetry, worker, "request", 3)[-1]
    assert ran.status == "unset"
    assert [event.name for event in ran.events] == ["exception"]
    worker.receiver.wait_for(lambda _: worker.executed("declaring", **{"tldr.outcome": "failed"}) == 1, timeout=10)


@every_pool
def test_every_attempt_of_a_retried_task_is_in_the_trace(worker: Worker, telemetry: Telemetry) -> None:
    """Two retries without a delay: three consumer spans below each other, two retries and one success counted."""
    add_user_context(organization_id="retrying")
    with span("request"):
        assert worker.run("flaky", 2).get(timeout=10) == 2

    spans = trace_of(telemetry, worker, "request", 7, runs=3)
    lines = [line.strip() for line in tree(spans).splitlines()]
    assert lines == ["request", *["apply_async/shop.flaky", "run/shop.flaky"] * 3]
    attempts = [each for each in spans if each.name.startswith("run/")]
    assert [each.attributes["celery.state"] for each in attempts] == ["RETRY", "RETRY", "SUCCESS"]
    assert [each.status for each in attempts] == ["unset"] * 3
    assert "not yet" in attempts[0].attributes["celery.retry.reason"]
    worker.receiver.wait_for(lambda r: r.total(DURATION, {"tldr.organization.id": "retrying"}) == 3, timeout=10)
    assert worker.receiver.total(RETRIED, {"tldr.task.name": "shop.flaky", "tldr.organization.id": "retrying"}) == 2
    assert worker.executed("retrying") == worker.executed("retrying", **{"tldr.outcome": "success"}) == 1


@one_pool
def test_canvases_and_tasks_sent_by_tasks_stay_in_the_trace(worker: Worker, telemetry: Telemetry) -> None:
    """Chains, groups, chords and nested tasks are one trace, and all are the sender's organization's."""
    add_user_context(organization_id="composing")
    add, total, nest = (worker.app.tasks[f"shop.{name}"] for name in ("add", "total", "nest"))
    with span("request"):
        assert chain(add.s(1, 2), add.s(3))().get(timeout=10) == 6
        assert chord(group(add.s(1, 1), add.s(2, 2)), total.s())().get(timeout=10) == 6
        nest.delay()

    spans = trace_of(telemetry, worker, "request", 20, runs=7)
    assert all(each.attributes["tldr.organization.id"] == "composing" for each in spans)
    below_nest = tree(spans).partition("run/shop.nest\n")[2].split()
    assert below_nest == ["apply_async/shop.add", "run/shop.add", "adding"]


@every_pool
def test_waiting_is_measured_from_the_eta(worker: Worker) -> None:
    """A countdown is no waiting: the latency of a task that starts on time is small."""
    later = [
        worker.run("who", queue="late", countdown=1.2),
        worker.run("who", queue="late", eta=datetime.now(UTC) + timedelta(seconds=1.2)),
    ]
    for result in later:
        result.get(timeout=10)
    worker.receiver.wait_for(lambda r: r.total(WAITED, {"tldr.queue": "late"}) == 2, timeout=10)
    points = [p for m in worker.receiver.metrics if m.name == WAITED for p in m.points]
    waited = [p.max for p in points if p.attributes["tldr.queue"] == "late"]
    assert all(seconds is not None and seconds < 1.0 for seconds in waited)


@every_pool
def test_a_decorated_task_is_one_span_counted_once(worker: Worker, telemetry: Telemetry) -> None:
    """`@traced_background_task` adds its layer, arguments and result to the task's span; helpers get their own."""
    add_user_context(organization_id="decorating")
    with span("request"):
        worker.run("detect", "s-9").get(timeout=10)

    spans = trace_of(telemetry, worker, "request", 4)
    assert tree(spans) == "request\n  apply_async/shop.detect\n    run/shop.detect\n      measure"
    ran = spans[2].attributes
    assert (ran["tldr.layer"], ran["stream"], ran["tldr.result"], ran["shop.kind"]) == ("task", "s-9", "s-9: 3", "task")
    worker.receiver.wait_for(lambda _: worker.executed("decorating") == 1, timeout=10)
    assert worker.receiver.total(DURATION, {"tldr.organization.id": "decorating"}) == 1


@one_pool
def test_a_decorated_task_that_fails_shows_its_exception_once(worker: Worker, telemetry: Telemetry) -> None:
    """The exception is on the task's span one time, not once for Celery and once for the decorator."""
    with span("request"), pytest.raises(SoldOutError):
        worker.run("detect", "broken").get(timeout=10)

    ran = trace_of(telemetry, worker, "request", 3)[-1]
    assert [event.name for event in ran.events] == ["exception"]
    assert ran.status == "error"


@one_pool
def test_how_a_task_leaves_decides_its_outcome(worker: Worker) -> None:
    """Ignored is fine, rejected for good has failed, and so has a task whose process is gone; each is counted once."""
    expected = {"ignore": "success", "reject": "failed", "exit": "failed", "die": "failed"}
    for how in expected:
        unit = context.begin_unit()
        add_user_context(organization_id=f"leaving-{how}")
        worker.run("leave", how)
        context.end_unit(unit)
    for how, outcome in expected.items():
        there = {"tldr.outcome": outcome}
        worker.receiver.wait_for(lambda _, how=how, there=there: worker.executed(f"leaving-{how}", **there), timeout=15)
    time.sleep(0.5)  # a second count would come with the next export
    assert [worker.executed(f"leaving-{how}") for how in expected] == [1, 1, 1, 1]


@one_pool
def test_a_hard_time_limit_is_a_failure_and_counted_once(worker: Worker) -> None:
    """Celery kills the process at the limit; its main process counts the task."""
    add_user_context(organization_id="overtime")
    worker.run("sleep", 30, time_limit=1)
    worker.receiver.wait_for(lambda _: worker.executed("overtime", **{"tldr.outcome": "failed"}), timeout=15)
    time.sleep(0.5)
    assert worker.executed("overtime") == 1


@one_pool
def test_revoked_tasks_are_cancelled(worker: Worker, telemetry: Telemetry) -> None:
    """A task called off before its start and one that is killed while it runs count as `cancelled`, once each."""
    add_user_context(organization_id="revoking")
    with span("request"):
        before = worker.run("sleep", 30, countdown=1)
        during = worker.run("sleep", 30)
    worker.receiver.wait_for(lambda r: any(p.name == "run/shop.sleep" for p in r.pending_spans), timeout=10)
    worker.app.control.revoke(before.id)
    worker.app.control.revoke(during.id, terminate=True)
    cancelled = {"tldr.outcome": "cancelled"}
    worker.receiver.wait_for(lambda _: worker.executed("revoking", **cancelled) == 2, timeout=15)
    time.sleep(0.5)
    assert worker.executed("revoking") == 2
    killed = trace_of(telemetry, worker, "request", 4)[-1]
    assert (killed.name, killed.status, killed.events) == ("run/shop.sleep", "unset", [])


@every_pool
def test_the_broker_makes_no_spans(worker: Worker) -> None:
    """What Celery says to Redis is nobody's business: every span of a worker belongs to a task."""
    worker.run("add", 1, 2).get(timeout=10)
    worker.receiver.wait_for(lambda r: r.spans, timeout=10)
    kinds = {each.name.partition("/")[0] for each in worker.receiver.spans}
    assert kinds <= {"run", "apply_async", "adding", "measure"}


@one_pool
def test_an_unobserved_sender_starts_a_trace_without_identity(worker: Worker) -> None:
    """A task of a service without this package runs in a trace of its own, with nobody's identity."""
    celery.uninstrument()
    add_user_context(organization_id="never sent")
    result = worker.run("who", task_id="from-elsewhere")
    assert result.get(timeout=10) == {"user.id": "from-the-handler"}

    def ran(receiver: OTLPReceiver) -> Span | None:
        found = (s for s in receiver.spans if s.attributes.get("messaging.message.id") == "from-elsewhere")
        return next(found, None)

    assert worker.receiver.wait_for(ran, timeout=10).parent_id is None


@pytest.mark.parametrize("pool", POOLS)
def test_nothing_is_lost_or_doubled_when_a_worker_is_told_to_stop(valkey_url: str, pool: str) -> None:
    """SIGTERM right after the last of 50 tasks: 50 spans and 50 counts arrive, with children that are replaced too."""
    skip_without_semaphores(pool)
    more = ("--max-tasks-per-child", "20") if pool == "prefork" else ()
    with working(database(valkey_url, 5), "-P", pool, "-c", "2", *more, interval=60) as worker:
        results = [worker.run("add", number, 1) for number in range(50)]
        assert [result.get(timeout=30) for result in results] == list(range(1, 51))
        output = worker.stop()

        assert sum(each.name == "run/shop.add" for each in worker.receiver.spans) == 50
        assert len({each.span_id for each in worker.receiver.spans}) == len(worker.receiver.spans) == 100
        assert worker.receiver.total(EXECUTED, {"tldr.task.name": "shop.add"}) == 50
        assert worker.receiver.total(DURATION) == 50
    assert "Traceback" not in output
    assert "Failed to detach" not in output


def test_beat_and_the_task_that_it_starts_share_a_trace(valkey_url: str, tmp_path: Path) -> None:
    """With `-B` the schedule's sending is the first span of the trace in which the task runs."""
    skip_without_semaphores("prefork")
    schedule = str(tmp_path / "schedule")
    with working(database(valkey_url, 6), "-P", "prefork", "-c", "1", "-B", "-s", schedule) as worker:
        worker.receiver.wait_for(lambda r: [s for s in r.spans if s.name == "run/shop.add"], timeout=20)
        worker.stop()
        spans = worker.receiver.spans
        ran = next(each for each in spans if each.name == "run/shop.add")
        sent = next(each for each in spans if each.span_id == ran.parent_id)
        assert (sent.name, sent.kind, sent.parent_id) == ("apply_async/shop.add", "producer", None)


def test_the_depth_of_a_queue_that_nobody_empties_is_known(valkey_url: str, telemetry: Telemetry) -> None:
    """The sender tells how many tasks wait, in every priority, though no worker is alive; an empty queue has 0."""
    app = build(database(valkey_url, 7))
    setup(celery=app)
    for priority in (0, 0, 6, 9, 9):
        app.tasks["shop.add"].apply_async((1, 2), queue="nobody", priority=priority)

    assert telemetry.total(DEPTH, {"tldr.queue": "nobody"}) == 5
    assert {p.attributes["tldr.queue"] for m in telemetry.metrics if m.name == DEPTH for p in m.points} == {
        "celery",
        "nobody",
    }
    assert telemetry.total(DEPTH, {"tldr.queue": "celery"}) == 0
    app.control.purge()


@pytest.mark.parametrize("url", ["memory://", "redis://127.0.0.1:1/0"])
def test_no_depth_without_a_redis_broker_that_answers(url: str, telemetry: Telemetry) -> None:
    """Another broker, or one that is down, gives no depth and no complaint."""
    setup(celery=build(url))

    assert telemetry.total(DEPTH) == 0
    assert not [metric for metric in telemetry.metrics if metric.name == DEPTH]


def test_a_broker_that_hangs_does_not_hang_the_metrics() -> None:
    """A reading gives up on a broker that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert celery_depth.depths([build(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")]) == []
        assert time.monotonic() - started < 5


def test_an_eager_task_is_part_of_its_caller(telemetry: Telemetry) -> None:
    """With `task_always_eager` a task runs below the caller's span, on the caller's behalf, and is counted."""
    app = build("memory://")
    app.conf.task_always_eager = True
    setup(celery=app)
    unit = context.begin_unit()
    add_user_context(organization_id="eager")
    with span("request"):
        assert app.tasks["shop.add"].delay(1, 2).get() == 3
        assert app.tasks["shop.flaky"].delay(1).get() == 1
        app.tasks["shop.become"].delay("inner")
        assert context.attributes()["tldr.organization.id"] == "eager"
    context.end_unit(unit)

    assert telemetry.tree().splitlines()[:3] == ["request", "  run/shop.add", "    adding"]
    assert telemetry.total(EXECUTED, {"tldr.organization.id": "eager"}) == 2
    assert telemetry.total(EXECUTED, {"tldr.organization.id": "inner"}) == 1
    assert telemetry.total(RETRIED) == 1
    assert telemetry.total(WAITED) == 0


def test_an_eager_task_fails_as_it_would_and_succeeds_inside_of_an_except_block(telemetry: Telemetry) -> None:
    """An exception that eager tasks pass on is on the span; one that their caller is handling is none of theirs."""
    app = build("memory://")
    setup(celery=app)
    with pytest.raises(SoldOutError, match="tea"):
        app.tasks["shop.fail"].apply(("tea",), throw=True)
    try:
        app.tasks["shop.fail"].run("tea")
    except SoldOutError:
        app.tasks["shop.add"].apply((1, 2))

    assert telemetry.span("run/shop.fail").status == "error"
    assert telemetry.span("run/shop.add").status == "unset"
    assert telemetry.total(EXECUTED, {"tldr.task.name": "shop.add", "tldr.outcome": "success"}) == 1


def test_a_task_called_as_a_function_is_a_function(telemetry: Telemetry) -> None:
    """A direct call is no run of a task: nothing is counted, and the decorator makes its own span."""
    app = build("memory://")
    setup(celery=app)
    assert app.tasks["shop.add"](1, 2) == 3
    app.tasks["shop.detect"]("s-1")

    assert telemetry.tree() == "adding\ndetect\n  measure"
    assert telemetry.total(EXECUTED) == 0


def test_a_broken_handler_of_the_service_costs_no_span(telemetry: Telemetry) -> None:
    """A `task_prerun` handler that fails leaves the task's span, context and count as they are."""
    app = build("memory://")

    @app.task(name="shop.any", shared=False)
    def anything(**_: Any) -> None:
        """Take what comes."""

    setup(celery=app)
    anything.apply(kwargs={"broken_handler": True})

    assert telemetry.tree() == "run/shop.any"
    assert telemetry.total(EXECUTED) == 1
    assert context.attributes() == {}


def test_a_handler_that_is_connected_later_is_part_of_the_task(telemetry: Telemetry) -> None:
    """What a `task_postrun` handler of the service does is below the task's span, whenever it was connected."""
    app = build("memory://")
    setup(celery=app)
    told = []

    def after(**_: Any) -> None:
        told.append(context.attributes().get("tldr.organization.id"))
        with span("cleaning up"):
            pass

    signals.task_postrun.connect(after, weak=False)
    try:
        for each in ("one", "another"):
            app.tasks["shop.become"].apply((each,))
    finally:
        signals.task_postrun.disconnect(after)

    assert told == ["one", "another"]
    assert telemetry.tree() == "\n".join(["run/shop.become\n  cleaning up"] * 2)
    assert telemetry.total(EXECUTED) == 2


def test_a_task_that_is_not_sent_leaves_nothing_behind(telemetry: Telemetry) -> None:
    """A failing send: the sender gets its exception, the span shows it, and what follows is a trace of its own."""
    app = build("memory://")
    setup(celery=app)
    with pytest.raises(SerializerNotInstalled):
        app.tasks["shop.add"].apply_async((1, 2), serializer="nope")
    with span("next request"):
        pass

    assert not trace.get_current_span().get_span_context().is_valid
    assert telemetry.tree() == "apply_async/shop.add\nnext request"
    assert telemetry.span("apply_async/shop.add").status == "error"
    assert telemetry.span("next request").parent_id is None


def test_tasks_of_other_services_are_sent_in_the_trace_from_any_thread(telemetry: Telemetry) -> None:
    """`send_task` of a task that isn't registered here has its span, in threads as well."""
    app = build("memory://")
    setup(celery=app)
    with span("request"):
        around = otel_context.get_current()

        def send() -> None:
            token = otel_context.attach(around)
            app.send_task("elsewhere.resize", (1,))
            otel_context.detach(token)

        thread = threading.Thread(target=send)
        thread.start()
        thread.join()

    assert telemetry.tree() == "request\n  apply_async/elsewhere.resize"
    sent = telemetry.span("apply_async/elsewhere.resize")
    assert sent.duration_seconds > 0
    assert sent.attributes["tldr.task.name"] == "elsewhere.resize"


def test_observing_twice_is_observing_once(telemetry: Telemetry) -> None:
    """The same application given again, or another one, doubles nothing."""
    app = build("memory://")
    setup(celery=app)
    setup(celery=app)
    setup(celery=build("memory://"))
    app.tasks["shop.add"].apply((1, 2))

    assert telemetry.tree() == "run/shop.add\n  adding"
    assert telemetry.total(EXECUTED) == 1


def test_another_instrumentation_of_celery_is_turned_off(telemetry: Telemetry) -> None:
    """Where OpenTelemetry's instrumentation is on already, each task still has one span, and the report says why."""
    contrib = import_module("opentelemetry.instrumentation.celery")
    contrib.CeleryInstrumentor().instrument()
    app = build("memory://")
    observability = setup(celery=app)
    app.tasks["shop.add"].apply((1, 2))

    assert telemetry.tree() == "run/shop.add\n  adding"
    (status,) = (each for each in observability.report() if each.part == "celery")
    assert "opentelemetry-instrumentation-celery was turned off" in status.detail


def test_what_is_undone_is_gone(telemetry: Telemetry) -> None:
    """After `uninstrument` Celery is what it was."""
    app = build("memory://")
    before = len(signals.task_prerun.receivers)
    setup(celery=app)
    celery.uninstrument()
    celery.uninstrument()
    app.tasks["shop.who"].apply()

    assert len(signals.task_prerun.receivers) == before
    assert telemetry.spans == []


@pytest.mark.parametrize("thing", ["redis://localhost", object, build])
def test_something_else_than_an_application_is_refused(thing: object) -> None:
    """Who gives a broker's URL is told what to type, before anything has been changed."""
    before = len(signals.task_prerun.receivers)
    with pytest.raises(ConfigurationError, match=r"celery: expected a Celery application, got .*setup\(celery=app\)"):
        setup(celery=thing)
    assert len(signals.task_prerun.receivers) == before


def test_without_celery_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Celery is not installed, the message says what to install."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "celery":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"tldr-observability\[celery\]"):
        celery.refuse_unless_app(object())
