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
_CANCELLATIONS = (("asyncio", "CancelledError"), ("trio", "Cancelled"))


def outcome(error: BaseException) -> str:
    """`cancelled` for a task or generator that was told to stop, `failed` for everything else."""
    if issubclass(type(error), GeneratorExit) or any(_is(error, *each) for each in _CANCELLATIONS):
        return CANCELLED
    return FAILED


def record(span: Span, error: BaseException) -> None:
    """Write an exception that leaves the span's code onto the span.

    Starlette's `HTTPException` (FastAPI's is one) with a status below 500 is an answer to the client and no error of
    ours: the span gets the level warn and no error status.

    Args:
        span: still open.
        error: is neither changed nor kept.
    """
    if not span.is_recording():
        return
    if outcome(error) is CANCELLED:
        span.set_attribute(semconv.TLDR_OUTCOME, CANCELLED)
        return
    expected = _is_client_error(error)
    if expected:  # first, for Logfire opens an issue for what has no level below error
        span.set_attribute(semconv.LOGFIRE_LEVEL_NUM, semconv.LEVELS["warn"])
    before = getattr(span, "status", None)
    if captured.is_tame(error):
        span.record_exception(error, escaped=not expected)
    else:
        span.add_event("exception", captured.exception_attributes(error, escaped=not expected))
    if expected:
        return
    span.set_attribute(semconv.LOGFIRE_LEVEL_NUM, semconv.LEVELS["error"])
    if before is None or before.status_code is StatusCode.UNSET:
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {_first_line(error)}")
    else:
        span.set_status(before)  # what the user said stands; Logfire's record_exception replaces it


def _is_client_error(error: BaseException) -> bool:
    if not _is(error, "starlette.exceptions", "HTTPException"):
        return False
    try:
        status = error.status_code  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - a subclass of the host's may do without, or fail
        return False
    return isinstance(status, int) and status < _SERVER_ERRORS


def _is(error: BaseException, module: str, name: str) -> bool:
    """Whether it is an exception of a library, which isn't loaded for it: who never did so can't have raised it."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and issubclass(type(error), kind)


def _first_line(error: BaseException) -> str:
    """What a list of failures has room for: validation errors go on with the input, line by line."""
    return next(filter(str.strip, captured.text(error, _DESCRIPTION_LENGTH).splitlines()), "")
