"""The same code on other servers, by environment variables alone: PostgreSQL, moto's S3, Debian's Redis."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import boto3
import httpx
import psycopg
import pytest
from proxy import Proxy
from running import FINAL, running
from servers import free_port, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running import App

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def database(postgres_url: str) -> Iterator[tuple[str, Proxy]]:
    """An empty database of PostgreSQL: its address for the app, and the way there."""
    name = f"highlights_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    (directory,) = parse_qs(urlsplit(postgres_url).query)["host"]
    with Proxy(Path(directory) / ".s.PGSQL.5432") as proxy:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/{name}", proxy


def make_bucket(env: dict[str, str]) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=env["S3_ENDPOINT_URL"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=env["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket="highlights")


def assert_works(app: App) -> None:
    stream = app.wait(app.start()["id"])
    assert stream["status"] == "completed", stream
    found = app.highlights(stream["id"])
    assert len(found) == 3
    assert all(each["start_seconds"] >= 55 and each["confidence"] >= 0.55 for each in found)
    clip = httpx.get(found[0]["clip_url"])
    assert clip.headers["content-type"] == "video/mp4"
    assert len(clip.content) > 50_000
    app.events(until=5)
    app.stack.stop(timeout=20)
    posts = [span for span in app.receiver.spans if span.name == "POST /api/v1/streams"]
    trace = [span for span in app.receiver.spans if span.trace_id == posts[0].trace_id]
    known = {span.span_id for span in trace}
    assert [span.name for span in trace if span.parent_id not in known] == ["POST /api/v1/streams"]


def test_postgresql_and_motos_s3(tmp_path, database, moto_url):
    """On PostgreSQL and another S3 the sample has the same highlights, in one trace."""
    url, _ = database
    services = ("valkey", "api", "worker", "customer")
    env = {
        "DATABASE_URL": url,
        "S3_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "moto",
        "AWS_SECRET_ACCESS_KEY": "moto",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    make_bucket(env)
    with running(tmp_path, env, services=services) as app:
        assert_works(app)
        systems = {span.attributes.get("db.system.name") for span in app.receiver.spans}
        assert "postgresql" in systems


def test_the_database_is_away_for_a_while(tmp_path, database):
    """Meanwhile the API answers with a problem that says so; the stream ends when the database is back."""
    url, proxy = database
    with running(tmp_path, {"DATABASE_URL": url, "HIGHLIGHTS_RETRY_SECONDS": "0.5"}) as app:
        stream = app.start()
        app.wait(stream["id"], lambda now: now["progress"]["segments"] >= 2)
        proxy.cut()
        answer = app.api.get(f"/api/v1/streams/{stream['id']}")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unavailable"
        assert app.api.get("/health").status_code == 200
        assert app.api.get("/ready").status_code == 503
        time.sleep(2)
        proxy.mend()
        assert app.wait(stream["id"], timeout=60)["status"] == "completed"
        assert len(app.highlights(stream["id"])) == 3


def test_the_database_is_away_for_too_long(tmp_path, database):
    """The stream fails, which is written down and told to the customer as soon as the database is back."""
    url, proxy = database
    env = {"DATABASE_URL": url, "HIGHLIGHTS_TASK_ATTEMPTS": "2", "HIGHLIGHTS_RETRY_SECONDS": "0.2"}
    with running(tmp_path, env) as app:
        stream = app.start()
        app.wait(stream["id"], lambda now: now["progress"]["analyzed"] >= 1)
        proxy.cut()
        app.receiver.wait_for(
            lambda receiver: [
                span
                for span in receiver.spans
                if span.name == "run/detect_highlights_with_ai" and span.status == "error"
            ],
            timeout=40,
        )
        proxy.mend()
        ended = app.wait(stream["id"], lambda now: now["status"] in FINAL, timeout=60)
        assert ended["status"] == "failed"
        assert ended["failure"]["code"] == "database_unavailable"
        app.receiver.wait_for(lambda _: [e for e in app.events() if e["type"] == "stream.failed"], timeout=30)


@pytest.mark.real
def test_debians_redis(tmp_path):
    """On Debian's own Redis the app works as on Valkey."""
    server, port = shutil.which("redis-server"), free_port()
    assert server, "Debian's redis-server is not installed"
    services = ("s3", "api", "worker", "customer")
    with (
        serving(port, server, "--port", str(port), "--save", "", "--dir", str(tmp_path)),
        running(tmp_path / "app", {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}, services=services) as app,
    ):
        assert_works(app)
