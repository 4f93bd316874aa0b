"""The request metrics of OpenTelemetry's semantic conventions; sampling never touches them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability.catalogue import api
from tldr_observability.instruments import automatic

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

__all__ = ["HttpMetrics"]


class HttpMetrics:
    """Records the requests of the middleware, which owns these metrics from now on.

    Args:
        provider: where the measurements go.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._active = automatic(api.ACTIVE_REQUESTS, provider)
        self._duration = automatic(api.REQUEST_DURATION, provider)
        self._request_size = automatic(api.REQUEST_SIZE, provider)
        self._response_size = automatic(api.RESPONSE_SIZE, provider)

    def opened(self, method: str, scheme: str) -> None:
        """A request began."""
        self._active.at(method, scheme).add(1)

    def closed(self, method: str, scheme: str) -> None:
        """A request that began is answered, or will never be."""
        self._active.at(method, scheme).add(-1)

    def answered(  # noqa: PLR0913 - one measurement, by the attributes that it is recorded with
        self,
        seconds: float,
        request_size: int | None,
        response_size: int | None,
        *,
        method: str,
        scheme: str,
        version: str,
        route: str | None,
        status: int | None,
        error_type: str | None,
    ) -> None:
        """Record a finished request."""
        attributes = method, scheme, version or None, route or None, status, error_type
        self._duration.at(*attributes).record(seconds)
        if request_size is not None:
            self._request_size.at(*attributes).record(request_size)
        if response_size is not None:
            self._response_size.at(*attributes).record(response_size)
