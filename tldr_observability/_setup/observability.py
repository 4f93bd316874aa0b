"""The handle that `setup()` returns: flush, shut down, and say what is on, off and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tldr_observability.errors import ConfigurationError

if TYPE_CHECKING:
    from tldr_observability._setup.pipeline import Pipeline
    from tldr_observability.integrations.prometheus import PrometheusEndpoint
    from tldr_observability.settings import ObservabilitySettings

__all__ = ["Observability", "Status"]


_LONGEST_SECONDS = 24 * 3600.0


class Status(NamedTuple):
    """One part of the set-up and how it stands."""

    part: str
    """What: `export`, `metrics`, `fastapi`, ..."""
    on: bool
    """Whether it works."""
    detail: str
    """Why, in a sentence for people; where it is off, with what to type to turn it on."""


class Observability:
    """The running observability of this process. Made by `setup()`."""

    def __init__(
        self,
        settings: ObservabilitySettings,
        pipeline: Pipeline | None,
        prometheus: PrometheusEndpoint | None = None,
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._prometheus = prometheus
        self._parts: dict[str, Status] = {}

    @property
    def settings(self) -> ObservabilitySettings:
        """The settings in force."""
        return self._settings

    def flush(self, timeout: float | None = None) -> bool:
        """Send everything recorded so far.

        Args:
            timeout: the most that it may take, in seconds; by default `shutdown_timeout`.

        Returns:
            Whether all of it has reached the backend. True when there is nothing to send to.
        """
        return self._pipeline.flush(self._seconds(timeout)) if self._pipeline else True

    def shutdown(self, timeout: float | None = None) -> bool:
        """Send everything and stop exporting; what comes later is dropped. Argument and answer as for `flush`."""
        return self._pipeline.shutdown(self._seconds(timeout)) if self._pipeline else True

    def report(self) -> list[Status]:
        """What is on, off and why."""
        return [*(self._pipeline.report() if self._pipeline else ()), *self._parts.values()]

    def prometheus_app(self) -> Any:
        """The ASGI application that Prometheus scrapes: `app.mount("/metrics", observability.prometheus_app())`.

        Raises:
            ConfigurationError: `prometheus_enabled` is off, so no metrics are kept for it. Where everything is off, the
                application is there and empty.
        """
        if not self._settings.enabled:
            return _empty
        if self._prometheus is None:
            raise ConfigurationError("prometheus_app(): expected LOGFIRE_PROMETHEUS_ENABLED=true when setup() ran")
        return self._prometheus.app

    def note(self, status: Status) -> None:
        """Add a part to the report, or replace it."""
        self._parts[status.part] = status

    def _seconds(self, timeout: float | None) -> float:
        """Make of whatever the host gives a time that can be waited for."""
        seconds = self._settings.shutdown_timeout if timeout is None else timeout
        return min(max(seconds, 0.0), _LONGEST_SECONDS) if seconds == seconds else 0.0  # noqa: PLR0124 - NaN is not


async def _empty(scope: Any, receive: Any, send: Any) -> None:
    """Answer a scrape of a service whose observability is off."""
    del receive
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b""})
