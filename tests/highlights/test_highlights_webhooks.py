"""Webhooks, from the event to the customer's server: signed, sent again, given up, and never a secret told."""

from __future__ import annotations

import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from celery.contrib.testing.worker import start_worker
from kombu.pools import producers
from opentelemetry.instrumentation.utils import suppress_instrumentation
from servers import free_port, has_semaphores
from sqlalchemy import text
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tldr_observability import setup, span
from tldr_observability.testing import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tldr_observability.testing import Telemetry

SENT, RETRIED, DELIVERIES = "tldr.webhook.sent", "tldr.webhook.retried", "tldr.webhook.deliveries"
PATIENCE = 15.0
APP = str(Path(__file__).parents[2] / "examples" / "highlights")


@dataclass
class Received:
    """One request of the service."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)


class Receiver(ThreadingHTTPServer):
    """A customer's server. It answers as told, in the end always the same; 0 is no answer, -1 an endless one."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *answers: int, headers: dict[str, str] | None = None) -> None:
        self.answers = list(answers)
        self.extra = headers or {}
        self.received: list[Received] = []
        self.released = Event()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hooks/for-us"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if answer == 0:
            self.server.released.wait(PATIENCE)
            return
        if answer == -1:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.server.released.wait(0.05):
                self.wfile.write(b"x-more: 1\r\n")
            return
        self.send_response(answer)
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def receiving(*answers: int, **options: Any) -> Iterator[Receiver]:
    with Receiver(*answers, **options) as receiver:
        thread = Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield receiver
        receiver.released.set()
        receiver.shutdown()
        thread.join()


class Customer:
    """An organization with webhooks, and what became of its deliveries."""

    def __init__(self) -> None:
        from highlights.database import create_tables, transaction
        from highlights.models import Organization

        create_tables()
        with transaction() as session:
            made = Organization(name="Acme")
            session.add(made)
        self.id = made.id

    def listen(self, url: str, *events: str) -> tuple[str, str]:
        """Make a webhook; returns its id and its secret."""
        from highlights import webhooks
        from highlights.database import transaction

        with transaction() as session:
            made, secret = webhooks.create_webhook(session, self.id, url, events or webhooks.EVENTS)
        return made.id, secret

    def webhook(self, webhook_id: str) -> Any:
        from highlights import webhooks
        from highlights.database import transaction

        with suppress_instrumentation(), transaction() as session:
            return webhooks.webhook(session, self.id, webhook_id)

    def deliveries(self, webhook_id: str, **options: Any) -> list[Any]:
        from highlights import webhooks
        from highlights.database import transaction

        with suppress_instrumentation(), transaction() as session:
            return webhooks.deliveries(session, self.id, webhook_id, **{"limit": 100, **options})

    def tell(self, event_id: str = "e-1", event_type: str = "stream.completed") -> list[str]:
        from highlights.webhooks import trigger_webhook

        return trigger_webhook(self.id, event_type, {"stream_id": "s-1"}, event_id=event_id)

    def ended(self, webhook_id: str, count: int = 1) -> list[Any]:
        """The webhook's deliveries once so many have ended."""
        return wait_for(lambda: enough(self.deliveries(webhook_id), count))


def enough(deliveries: list[Any], count: int) -> list[Any]:
    ended = [each for each in deliveries if each.status != "pending"]
    return ended if len(ended) >= count else []


def wait_for(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


@pytest.fixture
def customer(app_environment: pytest.MonkeyPatch, telemetry: Telemetry) -> Customer:
    """A customer of an observed service whose worker isn't running yet."""
    from highlights.celery_app import celery
    from highlights.database import engine

    app_environment.setenv("HIGHLIGHTS_WEBHOOK_ATTEMPTS", "3")
    app_environment.setenv("HIGHLIGHTS_WEBHOOK_FAILURES", "2")
    app_environment.setenv("HIGHLIGHTS_WEBHOOK_TIMEOUT", "0.5")
    reread()
    setup(celery=celery, engine=engine())
    return Customer()


def reread() -> None:
    from highlights.settings import settings

    settings.cache_clear()


@contextmanager
def working() -> Iterator[None]:
    """A worker of the service in a thread of this process."""
    from highlights.celery_app import celery

    with start_worker(celery, pool="solo", perform_ping_check=False, loglevel="warning", queues=["webhooks"]):
        yield


@contextmanager
def queueing_at(url: str) -> Iterator[None]:
    """Tasks that are sent from here go to another broker."""
    from highlights.celery_app import celery

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celery.amqp, "_producer_pool", producers[celery.connection_for_write(url)])
        yield


@pytest.fixture(scope="module")
def worker(valkey_url: str) -> Iterator[None]:
    """One for all tests of this module; like the module's other processes it reads settings when it needs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "sqlite://")
        patch.setenv("REDIS_URL", valkey_url)
        reread()
        from highlights.celery_app import celery

        patch.setitem(celery.conf, "include", ["highlights.deliveries"])
        with working():
            yield


@pytest.fixture
def served(worker: None, customer: Customer) -> Customer:
    """A customer of a service with a worker."""
    return customer


def test_a_webhook_is_sent_under_one_id_until_it_is_accepted(served: Customer, telemetry: Telemetry) -> None:
    """A customer whose server answers 503, then 500, then 200 gets one event three times, each one signed."""
    with receiving(503, 500, 200) as receiver:
        webhook_id, secret = served.listen(receiver.url, "stream.completed")
        with span("request"):
            (delivery_id,) = served.tell()
        (delivery,) = served.ended(webhook_id)

    assert (delivery.id, delivery.status, delivery.attempts, delivery.response_status) == (
        delivery_id,
        "delivered",
        3,
        200,
    )
    assert delivery.error is None
    assert [each.headers["webhook-id"] for each in receiver.received] == [delivery_id] * 3
    for each in receiver.received:
        told = Verifier(secret).verify(each.body, each.headers)
        assert told == delivery.payload
        assert (each.headers["content-type"], each.headers["user-agent"]) == (
            "application/json",
            "highlights-webhooks/1",
        )
        with pytest.raises(WebhookVerificationError):
            Verifier("whsec_" + "A" * 43 + "=").verify(each.body, each.headers)
    assert told["type"] == "stream.completed"
    assert told["data"] == {"stream_id": "s-1"}
    assert datetime.fromisoformat(told["timestamp"]).tzinfo == UTC

    spans = [each for each in telemetry.spans if each.trace_id == telemetry.span("request").trace_id]
    posts = [each for each in spans if each.name == "POST"]
    assert [f"00-{each.trace_id}-{each.span_id}-01" for each in posts] == [
        each.headers["traceparent"] for each in receiver.received
    ]
    lines = [line.strip() for line in tree(spans).splitlines()]
    attempt = ["apply_async/deliver_webhook", "run/deliver_webhook", "send_webhook", "POST"]
    assert [each for each in lines if each in attempt] == attempt * 3
    assert {each.status for each in spans if each.name == "run/deliver_webhook"} == {"unset"}

    mine = {"tldr.organization.id": served.id, "tldr.event.type": "stream.completed"}
    assert telemetry.total(SENT, mine) == 3
    assert telemetry.total(SENT, {**mine, "tldr.outcome": "success"}) == 1
    assert telemetry.total(RETRIED, mine) == 2
    assert telemetry.total("tldr.webhook.duration", mine) == 3
    assert telemetry.total(DELIVERIES, {"tldr.organization.id": served.id, "tldr.outcome": "success"}) == 1


def test_an_endpoint_that_is_gone_is_left_alone(served: Customer, telemetry: Telemetry) -> None:
    """One 410 is enough: no second request, the webhook is disabled and says why, and gets nothing any more."""
    with receiving(410) as receiver:
        webhook_id, _ = served.listen(receiver.url)
        served.tell()
        (delivery,) = served.ended(webhook_id)
        assert served.tell("e-2") == []

    assert (delivery.status, delivery.attempts, delivery.error) == ("failed", 1, "410 Gone.")
    webhook = served.webhook(webhook_id)
    assert (webhook.enabled, webhook.disabled_reason) == (False, "The endpoint answered 410 Gone.")
    assert len(receiver.received) == 1
    events = {each.event_name: each for each in telemetry.logs}
    assert events["webhook.failed"].attributes["error"] == "410 Gone."
    assert events["webhook.disabled"].attributes["webhook_id"] == webhook_id
    assert all(each.status != "error" for each in telemetry.spans if each.name == "run/deliver_webhook")


def test_a_receiver_that_stays_down_is_given_up_and_then_disabled(served: Customer, telemetry: Telemetry) -> None:
    """Three attempts each, and after two failed deliveries in a row the webhook is off until its owner enables it."""
    from highlights import webhooks
    from highlights.database import transaction

    webhook_id, _ = served.listen(f"http://127.0.0.1:{free_port()}/")
    served.tell("e-1")
    (first,) = served.ended(webhook_id)
    assert (first.status, first.attempts, first.response_status) == ("failed", 3, None)
    assert "refused" in first.error
    assert served.webhook(webhook_id).enabled

    served.tell("e-2")
    served.ended(webhook_id, 2)
    disabled = served.webhook(webhook_id)
    assert not disabled.enabled
    assert disabled.disabled_reason.startswith("2 deliveries in a row failed. The last one: No answer:")
    assert served.tell("e-3") == []
    mine = {"tldr.organization.id": served.id}
    assert telemetry.total(SENT, mine) == telemetry.total(SENT, {**mine, "tldr.outcome": "failed"}) == 6
    assert telemetry.total(RETRIED, mine) == 4
    assert telemetry.total("tldr.webhook.duration", mine) == 0
    assert telemetry.total(DELIVERIES, {**mine, "tldr.outcome": "failed"}) == 2

    with receiving(500, 500, 500, 200, 500) as receiver:
        with transaction() as session:
            enabled = webhooks.update_webhook(session, served.id, webhook_id, url=receiver.url, enabled=True)
            assert (enabled.failures, enabled.disabled_reason) == (0, None)
        for number, event in enumerate(("e-4", "e-5", "e-6"), start=3):
            served.tell(event)
            served.ended(webhook_id, number)
        latest = served.webhook(webhook_id)
        assert (latest.enabled, latest.failures) == (True, 1)  # the success in between began a new row


@pytest.mark.parametrize("answer", [0, -1], ids=["silent", "endless"])
def test_a_receiver_that_never_finishes_does_not_keep_the_worker(served: Customer, answer: int) -> None:
    """A server that is silent, or answers a header now and then for ever, is given up when its time is over."""
    with receiving(answer, answer, 204) as receiver:
        webhook_id, _ = served.listen(receiver.url)
        served.tell()
        wait_for(lambda: any(each.error for each in served.deliveries(webhook_id)))
        assert served.deliveries(webhook_id)[0].error == "No answer within 0.5 seconds."
        (delivery,) = served.ended(webhook_id)

    assert (delivery.status, delivery.attempts) == ("delivered", 3)
    first, second, _ = receiver.received
    assert 0.5 <= second.at - first.at < 1.5


def test_redirects_and_refusals_are_final(served: Customer) -> None:
    """A redirect is not followed, and neither it nor a 404 is tried again."""
    with (
        receiving(200) as elsewhere,
        receiving(307, headers={"location": elsewhere.url}) as moved,
        receiving(404) as missing,
    ):
        ids = [served.listen(each.url)[0] for each in (moved, missing)]
        served.tell()
        found = [served.ended(each)[0] for each in ids]

    assert [(each.status, each.attempts) for each in found] == [("failed", 1)] * 2
    assert [each.error for each in found] == [
        "307 Temporary Redirect: redirects are not followed.",
        "404 Not Found.",
    ]
    assert elsewhere.received == []


def test_a_private_address_is_never_visited(served: Customer, app_environment: pytest.MonkeyPatch) -> None:
    """It can't be registered, and one that turns out to be private when it is used gets no request."""
    from highlights.problems import InvalidRequest

    with receiving(200) as receiver:
        webhook_id, _ = served.listen(receiver.url)
        app_environment.setenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", "false")
        reread()
        with pytest.raises(InvalidRequest, match="private"):
            served.listen(receiver.url)
        served.tell()
        (delivery,) = served.ended(webhook_id)

    assert (delivery.status, delivery.attempts) == ("failed", 1)
    assert "private" in delivery.error
    assert receiver.received == []


def test_a_busy_receiver_is_asked_again_when_it_says(served: Customer) -> None:
    """After a 429 with `Retry-After: 1` nothing comes for a second."""
    with receiving(429, 200, headers={"retry-after": "1"}) as receiver:
        webhook_id, _ = served.listen(receiver.url)
        served.tell()
        (delivery,) = served.ended(webhook_id)

    assert (delivery.status, delivery.attempts) == ("delivered", 2)
    assert receiver.received[1].at - receiver.received[0].at >= 1


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 120, 120),
        ("86400", 3600, 3600),
        (timedelta(minutes=30), 1500, 1800),
        (timedelta(minutes=-30), 0, 0),
        ("Mon, 1 Jan 99999999999 00:00:00 GMT", 0, 0),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("", 0, 0),
    ],
)
def test_a_wait_that_is_asked_for_is_at_most_an_hour(asked: str | timedelta, least: float, most: float) -> None:
    """Seconds or a date, and whatever makes no sense is no wait."""
    from highlights.deliveries import _asked_wait

    if isinstance(asked, timedelta):
        asked = format_datetime(datetime.now(UTC) + asked, usegmt=True)

    assert least <= _asked_wait(httpx.Response(503, headers={"retry-after": asked})) <= most


def test_one_event_is_delivered_once_to_each_webhook_that_wants_it(served: Customer) -> None:
    """Telling the same event again, and a task that comes twice, send nothing; other events' webhooks get nothing."""
    from highlights.celery_app import celery

    with receiving(200) as receiver:
        wanting = [served.listen(receiver.url, "stream.completed", "stream.failed")[0] for _ in range(2)]
        other, _ = served.listen(receiver.url, "highlight.detected")
        made = served.tell()
        for each in wanting:
            served.ended(each)
        assert served.tell() == []
        celery.send_task("deliver_webhook", (made[0],))
        served.tell("e-2", "highlight.detected")
        served.ended(other)

    assert len(made) == len(set(made)) == 2
    assert sorted(each.headers["webhook-id"] for each in receiver.received[:2]) == sorted(made)
    assert len(receiver.received) == 3


def test_a_database_that_goes_away_delays_a_webhook(served: Customer, telemetry: Telemetry) -> None:
    """The event is sent when the database is back, again if it was sent and couldn't be recorded: at least once."""
    from highlights.database import transaction

    def rename(before: str, after: str) -> None:
        with suppress_instrumentation(), transaction() as session:
            session.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    with receiving(0, 200) as receiver:
        webhook_id, _ = served.listen(receiver.url)
        served.tell()
        wait_for(lambda: receiver.received)
        rename("deliveries", "away")
        receiver.released.set()
        wait_for(lambda: telemetry.total("tldr.task.retried"))
        rename("away", "deliveries")
        (delivery,) = served.ended(webhook_id)

    assert delivery.status == "delivered"
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
    assert len(receiver.received) == 2


def test_a_limit_is_told_once_a_month_for_each_quota(served: Customer) -> None:
    """However often a customer runs into its limit, one webhook says so for each quota."""
    from highlights.webhooks import limit_reached

    with receiving(200) as receiver:
        webhook_id, secret = served.listen(receiver.url, "usage.limit_reached")
        for _ in range(3):
            limit_reached(served.id, "minutes_per_month", 60, 60)
            limit_reached(served.id, "concurrent_streams", 1, 1)
        served.ended(webhook_id, 2)

    told = [Verifier(secret).verify(each.body, each.headers)["data"] for each in receiver.received]
    assert [each["quota"] for each in told] == ["minutes_per_month", "concurrent_streams"]
    assert told[0] == {"quota": "minutes_per_month", "used": 60, "limit": 60, "month": f"{datetime.now(UTC):%Y-%m}"}


def test_an_owner_tries_changes_and_deletes_a_webhook(served: Customer) -> None:
    """A test event comes whatever is subscribed to; others' webhooks aren't there; a deleted one gets nothing."""
    from highlights import webhooks
    from highlights.database import transaction
    from highlights.problems import Conflict, InvalidRequest, NotFound

    stranger = Customer()
    with receiving(200) as receiver:
        webhook_id, secret = served.listen(receiver.url, "stream.failed")
        delivery_id = webhooks.test_webhook(served.id, webhook_id)
        assert webhooks.test_webhook(served.id, webhook_id) != delivery_id
        newest, oldest = served.ended(webhook_id, 2)
        assert oldest.id == delivery_id
        assert [each.id for each in served.deliveries(webhook_id, limit=1)] == [newest.id]
        assert [each.id for each in served.deliveries(webhook_id, limit=9, before=newest.id)] == [oldest.id]
        told = Verifier(secret).verify(receiver.received[0].body, receiver.received[0].headers)
        assert (told["type"], told["data"]) == ("webhook.test", {"webhook_id": webhook_id})

        with pytest.raises(NotFound):
            stranger.deliveries(webhook_id)
        with pytest.raises(NotFound):
            webhooks.test_webhook(stranger.id, webhook_id)
        with pytest.raises(InvalidRequest, match=r"stream\.started"):
            served.listen(receiver.url, "stream.paused")
        with transaction() as session:
            webhooks.update_webhook(session, served.id, webhook_id, events=["stream.completed"], enabled=False)
        assert served.tell("e-2") == []
        with pytest.raises(Conflict):
            webhooks.test_webhook(served.id, webhook_id)
        with transaction() as session:
            assert [each.events for each in webhooks.webhooks(session, served.id)] == [["stream.completed"]]
            webhooks.delete_webhook(session, served.id, webhook_id)
        with pytest.raises(NotFound):
            served.webhook(webhook_id)
        assert served.tell("e-3") == []
    assert len(receiver.received) == 2


def test_secrets_of_a_webhook_are_not_in_the_telemetry(served: Customer, telemetry: Telemetry) -> None:
    """Neither its secret nor a signature nor any part of its address but the host is in what is exported."""
    logging.getLogger().setLevel(logging.INFO)
    with receiving(503, 410) as receiver:
        webhook_id, secret = served.listen(f"{receiver.url}/pathsecret?x=querysecret", "stream.completed")
        served.tell()
        served.ended(webhook_id)
    telemetry.observability.flush()
    logging.getLogger().setLevel(logging.WARNING)

    assert receiver.received[0].path == "/hooks/for-us/pathsecret?x=querysecret"
    exported = b"".join(each.body for each in telemetry.receiver.requests)
    signatures = [each.headers["webhook-signature"].partition(",")[2] for each in receiver.received]
    for hidden in (secret.partition("_")[2], "pathsecret", "querysecret", *signatures):
        assert hidden.encode() not in exported
    posts = [each for each in telemetry.spans if each.name == "POST"]
    assert {each.attributes["url.full"] for each in posts} == {f"http://127.0.0.1:{receiver.server_address[1]}/"}


def test_a_delivery_outlives_a_dead_queue_and_a_killed_worker(
    customer: Customer, telemetry: Telemetry, program: Callable[..., Any], valkey_url: str
) -> None:
    """A dead broker is no error to whoever tells an event: a worker sends it later, and the next if that is killed."""
    from highlights.webhooks import UNQUEUED

    if not has_semaphores():
        pytest.skip("Celery's process pool needs POSIX semaphores")
    its_own = f"{valkey_url.rpartition('/')[0]}/7"  # no other worker takes its tasks
    with receiving(0, 200) as receiver:
        webhook_id, _ = customer.listen(receiver.url)
        with queueing_at(f"redis://127.0.0.1:{free_port()}/0"):
            (delivery_id,) = customer.tell()
        (waiting,) = customer.deliveries(webhook_id)
        assert (waiting.status, waiting.error) == ("pending", UNQUEUED)
        assert "webhook.queue_unavailable" in {each.event_name for each in telemetry.logs}

        worker = program(
            """
            from highlights import deliveries
            from highlights.celery_app import celery
            from highlights.telemetry import observe

            celery.conf.include = ["highlights.deliveries"]
            observe("worker")
            celery.worker_main(["worker", "-P", "prefork", "-c", "1", "-Q", "webhooks", "-l", "warning"])
            """,
            env={"HIGHLIGHTS_WEBHOOK_TIMEOUT": "30", "PYTHONPATH": APP, "REDIS_URL": its_own},
        )
        wait_for(lambda: receiver.received)
        (child,) = psutil.Process(worker.process.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        (delivery,) = customer.ended(webhook_id)
        worker.terminate()
        worker.finish()

    assert (delivery.status, delivery.attempts) == ("delivered", 1)
    assert [each.headers["webhook-id"] for each in receiver.received] == [delivery_id] * 2
    assert len({each.headers["traceparent"].split("-")[1] for each in receiver.received}) == 1


def test_deliveries_are_exact_on_postgresql(
    worker: None, app_environment: pytest.MonkeyPatch, postgres_url: str, telemetry: Telemetry
) -> None:
    """Eight that tell the same event at once make one delivery, which is counted right."""
    from highlights.celery_app import celery
    from highlights.database import engine

    app_environment.setenv("DATABASE_URL", postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    reread()
    setup(celery=celery, engine=engine())
    customer = Customer()
    with receiving(500, 200) as receiver:
        webhook_id, _ = customer.listen(receiver.url)
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(lambda _: customer.tell(), range(8)))
        (delivery,) = customer.ended(webhook_id)
    assert {each for ids in told for each in ids} == {delivery.id}
    assert (delivery.status, delivery.attempts) == ("delivered", len(receiver.received))
