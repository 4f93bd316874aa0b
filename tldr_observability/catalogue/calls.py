"""Calls whose time is measured: of functions decorated with `timed`, and of other services by HTTP."""

from __future__ import annotations

from typing import Final

from tldr_observability import semconv
from tldr_observability.catalogue.attributes import (
    ERROR_TYPE,
    HTTP_METHOD,
    HTTP_STATUS,
    NETWORK_VERSION,
    OUTCOME,
    SERVER_ADDRESS,
    SERVER_PORT,
)
from tldr_observability.catalogue.bounds import REQUEST_SECONDS
from tldr_observability.catalogue.spec import Attribute, HistogramSpec

_FUNCTION: Final = Attribute(semconv.CODE_FUNCTION, "function", "The function's name, or the one given to `timed`")

FUNCTION_DURATION: Final = HistogramSpec(
    "tldr.function.duration",
    unit="s",
    description="Duration of functions decorated with timed",
    attributes=(_FUNCTION, OUTCOME),
    owner="tracing",
    bounds=REQUEST_SECONDS,
    is_open=True,
)
CLIENT_REQUEST_DURATION: Final = HistogramSpec(
    "http.client.request.duration",
    unit="s",
    description="Duration of HTTP client requests",
    attributes=(HTTP_METHOD, SERVER_ADDRESS, SERVER_PORT, HTTP_STATUS, NETWORK_VERSION, ERROR_TYPE),
    owner="httpx",
    bounds=REQUEST_SECONDS,
)
