"""The whole highlight app for a test: its processes, a customer with a key and a webhook, and what was exported."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from highlights import database, redis_client, settings, storage
from highlights.keys import SCOPES, create_key, create_organization
from highlights.launch.stack import Stack
from highlights.webhooks import EVENTS
from tldr_observability.testing import OTLPReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["FINAL", "PACKAGES", "SAMPLE", "App", "clean_environment", "forget", "running"]

FINAL = ("completed", "failed", "cancelled")
PACKAGES = str(Path(__file__).parents[2] / "examples" / "highlights")
SAMPLE = Path(PACKAGES) / "sample" / "big_buck_bunny_90s_360p.mp4"
_NOT_OURS = ("LOGFIRE_", "OTEL_", "HIGHLIGHTS_", "PYTEST", "DATABASE_URL", "REDIS_URL", "S3_", "AWS_")


def clean_environment() -> dict[str, str]:
    """This process's environment without what would set up the app or its telemetry."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}


def forget() -> None:
    """Let the next use of the app in this process read the environment again."""
    if database.engine.cache_info().currsize:
        database.engine().dispose()
    for cached in (settings.settings, database.engine, redis_client.redis_client, storage.storage):
        cached.cache_clear()


@contextmanager
def running(directory: Path, env: Mapping[str, str] | None = None, **stack: Any) -> Iterator[App]:
    """The app as processes in an environment of its own, exporting to a receiver, with one customer."""
    with OTLPReceiver() as receiver:
        environment = {
            **clean_environment(),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "LOGFIRE_FLUSH_INTERVAL": "0.5",
            "LOGFIRE_SHUTDOWN_TIMEOUT": "15",
            "HIGHLIGHTS_RETRY_SECONDS": "0.2",
            **(env or {}),
        }
        with Stack(directory, environment, **stack) as processes:
            app = App(processes, receiver)
            with closing(app.api):
                yield app


class App:
    """What a test asks of the running app.

    Attributes:
        stack: its processes.
        receiver: what they exported.
        organization_id: of the customer, on the plan `pro`.
        key: the customer's, with every scope.
        secret: of its webhook for all events, which leads to the stack's customer.
        api: a client with the key.
        sample: the film as an HLS stream.
    """

    def __init__(self, stack: Stack, receiver: OTLPReceiver) -> None:
        self.stack = stack
        self.receiver = receiver
        self.organization_id, self.key = self.customer("pro")
        self.api = self.client(self.key)
        customer = stack.url("customer")
        self.sample = f"{customer}/sample/index.m3u8"
        events = [event for event in EVENTS if event != "webhook.test"]
        made = self.api.post("/api/v1/webhooks", json={"url": f"{customer}/hooks", "events": events})
        made.raise_for_status()
        self.secret = made.json()["secret"]
        httpx.put(f"{customer}/secrets", json={"secrets": [self.secret]}).raise_for_status()

    def client(self, key: str) -> httpx.Client:
        """A client of the API with a key."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.stack.url("api"), headers=headers, timeout=15, trust_env=False)

    def customer(self, plan: str) -> tuple[str, str]:
        """A new organization and its key."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.stack.environment.items():
                patch.setenv(name, value)
            forget()
            with database.transaction() as session:
                organization = create_organization(session, "A customer", plan)
                _, key = create_key(session, organization.id, "test", SCOPES)
            forget()
        return organization.id, key

    def start(self, url: str | None = None, **request: Any) -> dict[str, Any]:
        """Send a stream, the sample where none is named; what the API answered."""
        answer = self.api.post("/api/v1/streams", json={"url": url or self.sample, "title": "A film", **request})
        assert answer.status_code == 201, answer.text
        stream: dict[str, Any] = answer.json()
        return stream

    def wait(
        self, stream_id: str, until: Callable[[dict[str, Any]], object] | None = None, timeout: float = 45
    ) -> dict[str, Any]:
        """The stream once it has ended, or is as `until` wants it."""
        until = until or (lambda stream: stream["status"] in FINAL)
        deadline = time.monotonic() + timeout
        while True:
            answer = self.api.get(f"/api/v1/streams/{stream_id}")
            if answer.status_code == 200:
                stream: dict[str, Any] = answer.json()
                if until(stream):
                    return stream
            assert time.monotonic() < deadline, f"{answer.text}\n{self.stack.log('worker')[-3000:]}"
            time.sleep(0.1)

    def highlights(self, stream_id: str) -> list[dict[str, Any]]:
        """The stream's highlights, as the API has them."""
        found: list[dict[str, Any]] = self.api.get(f"/api/v1/streams/{stream_id}/highlights").json()["highlights"]
        return found

    def events(self, *, until: int = 0, timeout: float = 15) -> list[dict[str, Any]]:
        """The webhooks that reached the customer, once there are so many."""
        deadline = time.monotonic() + timeout
        while True:
            events: list[dict[str, Any]] = httpx.get(f"{self.stack.url('customer')}/events").json()
            if len(events) >= until:
                return events
            assert time.monotonic() < deadline, events
            time.sleep(0.1)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the SQLite database says."""
        path = self.stack.environment["DATABASE_URL"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()
