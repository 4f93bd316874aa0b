"""One request to the backend and what came of it: HTTP, and OTLP's rules for answers. No state but the connection."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
import urllib3
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

if TYPE_CHECKING:
    from tldr_observability.export.destination import Destination

__all__ = ["Answer", "Delivery", "Outcome"]

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 10.0
_MAX_ANSWER_BYTES = 64 * 1024  # an answer of a collector is a few bytes; the rest of an endless one is not our business
_MAX_RETRY_AFTER_SECONDS = 300.0
_RETRYABLE = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

_NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)

_PARTIAL: dict[str, tuple[Any, str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
}


class Answer(Enum):
    """What the sender has to do next."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """The same request again, later."""
    FAULT = "fault"
    """The backend failed over it, by accident or because of what it holds: again later, but not for ever."""
    DENIED = "denied"
    """The credentials are refused: this request is lost, and the next ones will be until somebody mends them."""
    REFUSED = "refused"
    """The backend will never take this request."""
    TOO_LARGE = "too_large"
    """The backend may take it in smaller pieces."""


class Outcome(NamedTuple):
    """What came of one request."""

    answer: Answer
    reason: str = ""
    """For people: what went wrong, without addresses or secrets."""
    retry_after: float | None = None
    """Seconds that the backend asked to wait."""
    rejected: int = 0
    """Items that the backend did not take although it took the request (OTLP's partial success)."""


class Delivery:
    """Posts requests to one destination over a kept-alive connection; for one thread of one process."""

    def __init__(self, destination: Destination, user_agent: str) -> None:
        self._destination = destination
        self._headers = {
            **destination.headers,
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": user_agent,
        }
        self._session = requests.Session()

    def post(self, signal: str, data: bytes) -> Outcome:
        """Send one request and read the answer; never raises for what the network or the backend does."""
        try:
            with self._session.post(
                self._destination.urls[signal],
                data=data,
                headers=self._headers,
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                allow_redirects=False,  # a redirect to another host would take the token along
                auth=_keep_headers,
                stream=True,
            ) as response:
                return _judge(signal, response)
        except requests.Timeout:
            return Outcome(Answer.RETRY, "no answer in time")
        except _NETWORK_ERRORS as error:
            return Outcome(Answer.RETRY, _network_reason(error))
        except Exception as error:  # noqa: BLE001 - what can't be sent at all must not stop what can
            return Outcome(Answer.REFUSED, f"it can't be sent: {type(error).__name__}")


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an `auth` of its own requests would replace our Authorization by what ~/.netrc says for the host.
    return request


def _judge(signal: str, response: requests.Response) -> Outcome:
    status = response.status_code
    if status < HTTPStatus.MULTIPLE_CHOICES:
        try:
            data = _read(response)
        except _NETWORK_ERRORS:  # it has taken the request, whatever is wrong with the rest of its answer
            data = b""
        return _partial_success(signal, data)
    reason = f"{status} {response.reason or ''}".strip()[:100]
    if status in _DENIED:
        return Outcome(Answer.DENIED, reason)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Outcome(Answer.TOO_LARGE, reason)
    if status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        answer = Answer.RETRY if status in _RETRYABLE else Answer.FAULT
        return Outcome(answer, reason, retry_after=_retry_after(response.headers.get("Retry-After", "")))
    return Outcome(Answer.REFUSED, reason)


def _read(response: requests.Response) -> bytes:
    """Read the answer's first bytes, within a deadline for the whole of it and not only for each packet."""
    deadline = time.monotonic() + _READ_SECONDS
    data = bytearray()
    while len(data) <= _MAX_ANSWER_BYTES and time.monotonic() < deadline:
        chunk = response.raw.read1(_MAX_ANSWER_BYTES, decode_content=True)
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _partial_success(signal: str, data: bytes) -> Outcome:
    message_type, field = _PARTIAL[signal]
    try:
        partial = message_type.FromString(data).partial_success
    except Exception:  # noqa: BLE001 - Logfire answers 200 with an empty or a JSON body; the status is what counts
        return Outcome(Answer.DELIVERED)
    return Outcome(Answer.DELIVERED, partial.error_message[:200], rejected=getattr(partial, field))


def _retry_after(value: str) -> float | None:
    """Read Retry-After, which is seconds or a date; None when it says nothing usable."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def _network_reason(error: BaseException) -> str:
    """Find the operating system's words in requests' nested exceptions ("Connection refused")."""
    seen = 0
    inner: BaseException | None = error
    while inner is not None and seen < 10:  # noqa: PLR2004 - a chain may loop
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror if inner.strerror.startswith("[") else inner.strerror.lower()
        reason = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        inner = reason if isinstance(reason, BaseException) else inner.__cause__ or inner.__context__
        seen += 1
    return type(error).__name__
