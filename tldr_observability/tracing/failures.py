"""What an exception means for a span: a failure, something expected, or a cancellation, which is neither."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry.trace import StatusCode

from tldr_observability import semconv
from tldr_observability.tracing import captured

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["CANCELLED", "FAILED", "SUCCESS", "outcome", "record"]

SUCCESS = "success"
FAILED = "failed"
CANCELLED = "cancelled"

_SERVER_ERRORS = 500
_DESCRIPTION_LENGTH = 512


def outcome(error: BaseException) -> str:
    """`cancelled` for a task or generator that was told to stop, `failed` for everything else."""
    if isinstance(error, GeneratorExit):
        return CANCELLED
    # Who never imported the library can't have been cancelled by it, and importing asyncio here would cost every user.
    for library, name in (("asyncio", "CancelledError"), ("trio", "Cancelled")):
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and isinstance(error, kind):
            return CANCELLED
    return FAILED


def record(span: Span, error: BaseException, layer: str | None = None) -> None:
    """Write an exception that leaves the span's code onto the span.

    Args:
        span: still open.
        error: is neither changed nor kept.
        layer: in `api`, an exception with a `status_code` below 500 is an answer to the client, not an error of ours.
    """
    if not span.is_recording():
        return
    if outcome(error) is CANCELLED:
        span.set_attribute(semconv.TLDR_OUTCOME, CANCELLED)
        return
    expected = layer == "api" and _is_client_error(error)
    if expected:  # first, for Logfire opens an issue for what has no level below error
        span.set_attribute(semconv.LOGFIRE_LEVEL_NUM, semconv.LEVELS["warn"])
    before = getattr(span, "status", None)
    if captured.is_tame(error):
        span.record_exception(error, escaped=not expected)
    else:
        span.add_event("exception", captured.exception_attributes(error))
    if expected:
        return
    span.set_attribute(semconv.LOGFIRE_LEVEL_NUM, semconv.LEVELS["error"])
    if before is None or before.status_code is StatusCode.UNSET:
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {captured.text(error, _DESCRIPTION_LENGTH)}")
    else:
        span.set_status(before)  # what the user said stands; Logfire's record_exception replaces it


def _is_client_error(error: BaseException) -> bool:
    try:
        status = getattr(error, "status_code", None)
    except Exception:  # noqa: BLE001 - a property of the host's that fails decides nothing
        return False
    return isinstance(status, int) and status < _SERVER_ERRORS
