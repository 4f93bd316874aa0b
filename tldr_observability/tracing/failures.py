"""What an exception means for a span and for the count: a failure, something expected, or a cancellation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry.trace import StatusCode

from tldr_observability import guard, semconv
from tldr_observability.tracing import captured, kinds

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.trace import Span

__all__ = ["CANCELLED", "FAILED", "SUCCESS", "count", "outcome", "record"]

SUCCESS = "success"
FAILED = "failed"
CANCELLED = "cancelled"

_SERVER_ERRORS = 500
_DESCRIPTION_LENGTH = 512
_CANCELLATIONS = (("asyncio", "CancelledError"), ("trio", "Cancelled"))
_MOST_FRAMES = 5_000
_trace_of = BaseException.__dict__["__traceback__"].__get__  # a class of the host's may put a property in its place


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


def count(error: BaseException, layer: str | None = None, *, leaving_wrapper: bool = False) -> None:
    """Add an exception to `tldr.error.count`, once however many decorated functions it leaves; never raises.

    Only an `Exception` counts (a cancellation, a generator's close and the end of the program are none), and not what
    is an answer rather than an error: an `HTTPException` below 500, the end of an iteration, a Celery task's retry.

    Args:
        error: is neither changed nor kept.
        layer: value of `tldr.layer`, where there is one.
        leaving_wrapper: it is being handled in the wrapper of a decorated function, whose frame begins its traceback.
    """
    try:
        if not _is_error(error):
            return
        if _was_counted(_trace_of(error), leaving_wrapper=leaving_wrapper):
            return
        # Not at import: most processes see an error late, if ever.
        from tldr_observability.capture.strings import type_name
        from tldr_observability.catalogue.failures import COUNT
        from tldr_observability.instruments import automatic

        attributes = {"error.type": type_name(type(error))}
        automatic(COUNT).add(1, attributes if layer is None else {**attributes, semconv.TLDR_LAYER: layer})
    except Exception as fault:  # noqa: BLE001 - the boundary, without the price of `guarded`
        guard.report("counting an error", fault)


def _is_error(error: BaseException) -> bool:
    return (
        issubclass(type(error), Exception)
        and not issubclass(type(error), StopIteration | StopAsyncIteration)
        and outcome(error) is FAILED
        and not _is_client_error(error)
        and not _is(error, "celery.exceptions", "TaskPredicate")
    )


def _was_counted(trace: TracebackType | None, *, leaving_wrapper: bool) -> bool:
    """Whether the exception has left a wrapper that counts before: its frame is further down in the traceback."""
    # What is thrown into a generator is thrown on, and has its wrapper's frame twice. A frame that still runs would
    # also keep a copy of what it is asked for, the exception included.
    own = trace.tb_frame if leaving_wrapper and trace is not None else None
    for _ in range(_MOST_FRAMES):
        if trace is None:
            return False
        frame = trace.tb_frame
        if frame is not own and frame.f_globals is vars(kinds) and hasattr(frame.f_locals.get("call"), "counts_errors"):
            return True
        trace = trace.tb_next
    return False


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
