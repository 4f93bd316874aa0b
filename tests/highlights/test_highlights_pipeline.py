"""What becomes of a stream where its tasks run twice, end early, or find that it was stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest
from media_server import media_server
from running import forget
from sqlalchemy import select, text

from highlights import database, tasks, use_cases
from highlights.keys import SCOPES, create_organization
from highlights.media import make_hls
from highlights.models import Delivery, Highlight, Stream
from highlights.principal import Principal
from highlights.redis_client import redis_client
from highlights.schemas import StreamRequest
from highlights.settings import settings
from highlights.storage import storage
from highlights.webhooks import EVENTS, create_webhook


@pytest.fixture
def customer(app_environment, tmp_path):
    app_environment.setenv("HIGHLIGHTS_S3_BUCKET", f"b{hash(tmp_path) & 0xFFFFFFFF}")
    database.create_tables()
    storage().ensure()
    with database.transaction() as session:
        org = create_organization(session, "A", "free")
    return Principal(org.id, "key", "free", frozenset(SCOPES))


@pytest.fixture
def source(sample, tmp_path):
    make_hls(sample, tmp_path / "hls")
    with media_server() as server:
        server.serve(tmp_path / "hls")
        server.answers["/film.mp4"] = sample.read_bytes()
        yield server


def start(customer, url, **request):
    return use_cases.start_stream(customer, StreamRequest(url=url, title="A film", **request))


def row(stream):
    with database.transaction() as session:
        return session.get_one(Stream, stream.id)


def objects(prefix=""):
    client = boto3.client("s3", endpoint_url=settings().s3_endpoint_url)
    return {o["Key"] for o in client.list_objects_v2(Bucket=settings().s3_bucket, Prefix=prefix).get("Contents", [])}


def queued(queue):
    return redis_client().llen(queue)


def ingest(stream):
    tasks.ingest_stream_with_ffmpeg.apply((stream.id,))


def detect(stream):
    tasks.detect_highlights_with_ai.apply((stream.id,))


def execute(*statements):
    with database.transaction() as session:
        for s in statements:
            session.execute(text(s))


def test_stop_while_probing(customer, source):
    """Reservation."""
    body = source.answers["/film.mp4"]

    def answer(handler):
        if row(stream).status == "processing":
            use_cases.stop_stream(customer, stream.id)
        handler.give(body)

    source.answers["/film.mp4"] = answer
    stream = start(customer, source.url("/film.mp4"))
    ingest(stream)
    assert row(stream).status == "cancelled"
    assert row(stream).billed_seconds == 0


def test_stopped_live_is_billed(customer, source):
    """Billing."""
    names = sorted(n for n in source.answers if n.endswith(".ts"))
    body = source.answers[names[9]]

    def answer(handler):
        if row(stream).status == "processing":
            use_cases.stop_stream(customer, stream.id)
        handler.give(body)

    source.answers[names[9]] = answer
    stream = start(customer, source.url("/index.m3u8"))
    ingest(stream)
    print(row(stream).segments)
    assert row(stream).status == "cancelled"
    assert row(stream).billed_seconds > 30


def test_republish_stopped(customer, source):
    """Files stay."""
    stream = start(customer, source.url("/film.mp4"))
    ingest(stream)
    work = settings().work_dir / stream.id
    shutil.copytree(work, work.with_suffix(".copy"))
    detect(stream)
    assert row(stream).status == "completed"
    files = objects()
    assert len(files) == 6
    shutil.move(work.with_suffix(".copy"), work)
    execute(
        "UPDATE streams SET status='processing', stage='detecting', analyzed=0",
        "CREATE TRIGGER stop AFTER UPDATE OF analyzed ON streams WHEN NEW.analyzed=11 BEGIN "
        "UPDATE streams SET status='cancelled' WHERE id=NEW.id; END",
    )
    detect(stream)
    assert row(stream).status == "cancelled"
    assert objects() == files


def test_s3_503(customer, source, app_environment):
    """Storage."""

    def answer(h):
        h.give(b"", status=503)

    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class H(BaseHTTPRequestHandler):
        def log_message(self, *a):
            pass

        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), H)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stream = start(customer, source.url("/film.mp4"))
    ingest(stream)
    app_environment.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    app_environment.setenv("HIGHLIGHTS_TASK_ATTEMPTS", "1")
    forget()
    detect(stream)
    server.shutdown()
    assert row(stream).failure_code == "storage_unavailable"


def test_stop_between(customer, source):
    """No directory."""
    stream = start(customer, source.url("/film.mp4"))
    ingest(stream)
    use_cases.stop_stream(customer, stream.id)
    detect(stream)
    assert not (settings().work_dir / stream.id).exists()


def test_killed_between_commit_and_enqueue(customer, source):
    """Told."""
    with database.transaction() as session:
        create_webhook(session, customer.organization_id, source.url("/hook"), ["stream.completed"])
    stream = start(customer, source.url("/film.mp4"))
    ingest(stream)
    detect(stream)
    redis_client().delete("webhooks")
    detect(stream)  # redelivered
    assert queued("webhooks") == 1


def test_delete_s3_away(customer, source, app_environment):
    """503."""
    from fastapi.testclient import TestClient
    from highlights.api import create_app
    from highlights.keys import create_key

    stream = start(customer, source.url("/film.mp4"))
    use_cases.stop_stream(customer, stream.id)
    with database.transaction() as session:
        _, key = create_key(session, customer.organization_id, "t", SCOPES)
    app_environment.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    forget()
    c = TestClient(create_app(), headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)
    assert c.delete(f"/api/v1/streams/{stream.id}").status_code == 503
