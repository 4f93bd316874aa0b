"""The HTTP API: requests as the middleware sees them, calls and quotas as customers are charged for."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.attributes import (
    API_KEY,
    ENDPOINT,
    ERROR_TYPE,
    HTTP_METHOD,
    HTTP_STATUS,
    NETWORK_VERSION,
    ORGANIZATION,
    QUOTA,
)
from tldr_observability.catalogue.bounds import BODY_BYTES, REQUEST_SECONDS
from tldr_observability.catalogue.spec import Attribute, CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec

_ROUTE: Final = Attribute("http.route", "endpoint", "The route's template; absent where no route served", optional=True)
_SCHEME: Final = Attribute("url.scheme", "scheme", "http, https, ws or wss", optional=True)
_REQUEST: Final = (HTTP_METHOD, _SCHEME, NETWORK_VERSION, _ROUTE, HTTP_STATUS, ERROR_TYPE)

REQUEST_DURATION: Final = HistogramSpec(
    "http.server.request.duration",
    unit="s",
    description="Duration of HTTP server requests",
    attributes=_REQUEST,
    owner="asgi",
    facade=("record_api_latency",),
    bounds=REQUEST_SECONDS,
)
ACTIVE_REQUESTS: Final = UpDownCounterSpec(
    "http.server.active_requests",
    unit="{request}",
    description="Number of active HTTP server requests",
    attributes=(HTTP_METHOD, _SCHEME),
    owner="asgi",
)
REQUEST_SIZE: Final = HistogramSpec(
    "http.server.request.body.size",
    unit="By",
    description="Size of HTTP server request bodies",
    attributes=_REQUEST,
    owner="asgi",
    bounds=BODY_BYTES,
)
RESPONSE_SIZE: Final = HistogramSpec(
    "http.server.response.body.size",
    unit="By",
    description="Size of HTTP server response bodies",
    attributes=_REQUEST,
    owner="asgi",
    bounds=BODY_BYTES,
)
CALLS: Final = CounterSpec(
    "tldr.api.calls",
    unit="{call}",
    description="Calls of the API, as customers are charged for",
    attributes=(ORGANIZATION, ENDPOINT, HTTP_METHOD, HTTP_STATUS),
    facade=("track_api_call_usage",),
)
CALL_DURATION: Final = HistogramSpec(
    "tldr.api.call.duration",
    unit="s",
    description="Time that customers waited for an answer of the API",
    attributes=(ORGANIZATION, ENDPOINT),
    facade=("track_api_call_usage",),
    bounds=REQUEST_SECONDS,
)
KEY_USAGE: Final = CounterSpec(
    "tldr.api.key.usage",
    unit="{call}",
    description="Calls made with an API key",
    attributes=(API_KEY, ORGANIZATION, ENDPOINT),
    facade=("increment_api_key_usage",),
)
RATE_LIMIT_EXCEEDED: Final = CounterSpec(
    "tldr.api.rate_limit.exceeded",
    unit="{call}",
    description="Calls refused for there were too many of them",
    attributes=(API_KEY, ORGANIZATION, ENDPOINT),
    facade=("increment_rate_limit_exceeded",),
)
QUOTA_CHECKED: Final = CounterSpec(
    "tldr.quota.checked",
    unit="{check}",
    description="Checks of a quota, whatever they said",
    attributes=(ORGANIZATION, QUOTA),
    facade=("increment_quota_checked",),
)
QUOTA_EXCEEDED: Final = CounterSpec(
    "tldr.quota.exceeded",
    unit="{check}",
    description="Checks of a quota that found it exceeded",
    attributes=(ORGANIZATION, QUOTA),
    facade=("increment_quota_exceeded",),
)
QUOTA_USED: Final = GaugeSpec(
    "tldr.quota.used",
    unit="1",
    description="How much of a quota is used, in the quota's own unit",
    attributes=(ORGANIZATION, QUOTA),
    facade=("set_quota",),
    across="last",
)
QUOTA_LIMIT: Final = GaugeSpec(
    "tldr.quota.limit",
    unit="1",
    description="How much a quota allows, in the quota's own unit",
    attributes=(ORGANIZATION, QUOTA),
    facade=("set_quota",),
    across="last",
)
