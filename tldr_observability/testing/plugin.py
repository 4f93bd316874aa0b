"""The pytest fixtures of this package; pytest finds them by itself.

Nothing of the runtime is imported before a test asks for a fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tldr_observability.testing.receiver import OTLPReceiver
    from tldr_observability.testing.telemetry import Telemetry

__all__ = ["otlp_receiver", "telemetry", "telemetry_settings"]

_NEVER_MILLISECONDS = "3600000"
_NEVER_SECONDS = 3600.0


@pytest.fixture
def otlp_receiver() -> Iterator[OTLPReceiver]:
    """An OTLP backend inside the test process, and nothing that exports to it yet."""
    from tldr_observability.testing.receiver import OTLPReceiver

    with OTLPReceiver() as receiver:
        yield receiver


@pytest.fixture
def telemetry_settings() -> dict[str, Any]:
    """Settings for the `setup()` of `telemetry`; override it where the code under test gives settings to its own."""
    return {}


@pytest.fixture
def telemetry(
    otlp_receiver: OTLPReceiver, telemetry_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Telemetry]:
    """What the test's code exports: `setup()` is done, with a backend of the test's own, and undone afterwards.

    A `setup(app=app)` in the code under test joins this one. Only flushes export, so nothing arrives half way through.
    A bug of this package is raised rather than logged.
    """
    from opentelemetry import context

    from tldr_observability import _setup, guard
    from tldr_observability.testing.telemetry import Telemetry

    _setup.reset()
    # Whatever traces the test run itself (Logfire's pytest plugin does) must be nobody's parent here.
    outside = context.attach(context.Context())
    strict_before = guard.set_strict(True)
    try:
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", _NEVER_MILLISECONDS)
        settings = {
            "enabled": True,
            "token": "test-token",
            "send_to_logfire": True,
            "base_url": otlp_receiver.url,
            "environment": "development",
            "console_enabled": False,
            "capture_headers": False,
            "sample_rate": 1.0,
            "flush_interval": _NEVER_SECONDS,
        }
        observability = _setup.setup(**{**settings, **telemetry_settings})
        yield Telemetry(observability, otlp_receiver)
        otlp_receiver.recover()
        observability.shutdown()
    finally:
        _setup.reset()
        guard.set_strict(strict_before)
        context.detach(outside)
