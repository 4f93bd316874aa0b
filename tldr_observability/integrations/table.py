"""Which libraries can be observed, by which switch, and what has to be installed for it: read by `setup()` and `doctor`."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["INTEGRATIONS", "Integration"]


class Integration(NamedTuple):
    """One library that can be observed."""

    part: str
    """Its row in the report and in `doctor`."""
    switch: str
    """The setting that turns it on and off."""
    extra: str
    """The extra that installs all that it needs; empty where nothing has to be installed."""
    libraries: tuple[str, ...]
    """The distributions that are observed; one of them is enough, and none means Python itself."""
    needs: tuple[str, ...] = ()
    """The distributions that do the observing."""
    by_hand: str = ""
    """What the service writes to have it observed; empty where it is found by itself."""
    imported: str = ""
    """The module whose import, before or after `setup()`, starts the observing."""


_CONTRIB = "opentelemetry-instrumentation-"

INTEGRATIONS: tuple[Integration, ...] = (
    Integration("sqlalchemy", "sql_enabled", "sqlalchemy", ("sqlalchemy",), (f"{_CONTRIB}sqlalchemy",), "engine=engine"),
    Integration("redis", "redis_enabled", "redis", ("redis",), (f"{_CONTRIB}redis",), "redis=client"),
    Integration("celery", "celery_enabled", "celery", ("celery",), (f"{_CONTRIB}celery",), "celery=app"),
    Integration("s3", "s3_enabled", "s3", ("botocore",), (f"{_CONTRIB}botocore",), imported="botocore.client"),
    Integration("httpx", "httpx_enabled", "httpx", ("httpx",), (f"{_CONTRIB}httpx",), imported="httpx"),
    Integration("threading", "threading_enabled", "", (), (f"{_CONTRIB}threading",), imported="threading"),
    Integration(
        "pydantic-ai", "pydantic_ai_enabled", "pydantic-ai", ("pydantic-ai", "pydantic-ai-slim"), (), "", "pydantic_ai"
    ),
    Integration("logging", "logging_enabled", "", (), imported="logging"),
    Integration("system metrics", "system_metrics_enabled", "system", ("psutil",), (f"{_CONTRIB}system-metrics",)),
    Integration(
        "prometheus", "prometheus_enabled", "prometheus", ("prometheus-client",), ("opentelemetry-exporter-prometheus",)
    ),
)
"""FastAPI has a place of its own: its switch chooses between two ways."""
