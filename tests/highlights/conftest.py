"""What the tests of the highlight app share: its environment on real servers, and the whole app as processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from media_server import MediaServer, media_server
from running import SAMPLE, forget

from highlights.media import make_hls
from highlights.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sample() -> Path:
    """The 90 seconds of film that come with the app."""
    return SAMPLE


@pytest.fixture
def app_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey_url: str, s3_url: str
) -> Iterator[pytest.MonkeyPatch]:
    """The app's settings for this test: an SQLite file of its own, an empty Redis, an S3; more by `setenv` of it."""
    for name in list(os.environ):
        if name.startswith("HIGHLIGHTS_"):
            monkeypatch.delenv(name)
    for name, value in {
        "DATABASE_URL": f"sqlite:///{tmp_path}/highlights.db",
        "REDIS_URL": valkey_url,
        "S3_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HIGHLIGHTS_WORK_DIR": f"{tmp_path}/work",
        "HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES": "true",
        "HIGHLIGHTS_RETRY_SECONDS": "0.05",
    }.items():
        monkeypatch.setenv(name, value)
    forget()
    from highlights import redis_client

    redis_client.redis_client().flushdb()
    yield monkeypatch
    forget()


@pytest.fixture
def development(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings for what needs no server of ours: loopback is allowed, and sources get little time."""
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("HIGHLIGHTS_ALLOW_PRIVATE_ADDRESSES", "true")
    monkeypatch.setenv("HIGHLIGHTS_SOURCE_TIMEOUT", "1")
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.fixture
def server() -> Iterator[MediaServer]:
    """A customer's server."""
    with media_server() as server:
        yield server


@pytest.fixture(scope="session")
def hls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film as a recording of HLS."""
    return make_hls(SAMPLE, tmp_path_factory.mktemp("hls")).parent
