"""What the tests of the highlight app share: its environment on real servers, and the whole app as processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running import forget

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = Path(__file__).parents[2] / "examples" / "highlights" / "sample" / "big_buck_bunny_90s_360p.mp4"


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
