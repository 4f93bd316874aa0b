"""The request metrics of OpenTelemetry's semantic conventions; sampling never touches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.semconv.attributes import error_attributes, http_attributes, network_attributes, url_attributes

from tldr_observability import semconv

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

__all__ = ["HttpMetrics"]

Attributes = dict[str, str | int | bool]

# https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
DURATION_BOUNDARIES: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
MAX_SERIES: Final = 2000
_OVERFLOW: Final[Attributes] = {"otel.metric.overflow": True}


class HttpMetrics:
    """The instruments of one meter provider.

    Args:
        provider: where the measurements go.
    """

    def __init__(self, provider: MeterProvider) -> None:
        # Kept, for Logfire's provider knows its meters weakly and forgets them and their instruments otherwise.
        self._meter = meter = provider.get_meter(semconv.SCOPE_NAME)
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES,
        )
        self._active = meter.create_up_down_counter(
            "http.server.active_requests", unit="{request}", description="Number of active HTTP server requests."
        )
        self._request_size = meter.create_histogram(
            "http.server.request.body.size", unit="By", description="Size of HTTP server request bodies."
        )
        self._response_size = meter.create_histogram(
            "http.server.response.body.size", unit="By", description="Size of HTTP server response bodies."
        )
        self._series: dict[tuple[object, ...], Attributes] = {}

    def opened(self, method: str, scheme: str) -> None:
        """A request began."""
        self._active.add(1, self._attributes(method, scheme))

    def closed(self, method: str, scheme: str) -> None:
        """A request that began is answered, or will never be."""
        self._active.add(-1, self._attributes(method, scheme))

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
        attributes = self._attributes(method, scheme, version, route, status, error_type)
        self._duration.record(seconds, attributes)
        if request_size is not None:
            self._request_size.record(request_size, attributes)
        if response_size is not None:
            self._response_size.record(response_size, attributes)

    def _attributes(self, *key: object) -> Attributes:
        attributes = self._series.get(key)
        if attributes is None:
            if len(self._series) >= MAX_SERIES:
                return _OVERFLOW
            attributes = self._series[key] = {
                name: value
                for name, value in zip(_NAMES, key, strict=False)
                if isinstance(value, (str, int)) and value != ""
            }
        return attributes


_NAMES: Final = (
    http_attributes.HTTP_REQUEST_METHOD,
    url_attributes.URL_SCHEME,
    network_attributes.NETWORK_PROTOCOL_VERSION,
    http_attributes.HTTP_ROUTE,
    http_attributes.HTTP_RESPONSE_STATUS_CODE,
    error_attributes.ERROR_TYPE,
)
