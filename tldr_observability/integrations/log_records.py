"""What a log record of any library becomes: who it is about, where it belongs, and the record that is exported."""

from __future__ import annotations

import logging
import sys
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)

from tldr_observability import _record, context, guard, semconv
from tldr_observability.capture import DEFAULT_LIMITS, attributes, exception_attributes, text
from tldr_observability.redaction import REDACTED, rules
from tldr_observability.tracing import records
from tldr_observability.tracing.source import relative

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

__all__ = ["LOGGER_NAME", "error_of", "export", "export_record", "facts", "is_wanted", "stamp"]

LOGGER_NAME: Final = "logger.name"

_FIELDS: Final = {
    "correlation_id": semconv.TLDR_CORRELATION_ID,
    "organization_id": semconv.TLDR_ORGANIZATION_ID,
    "user_id": semconv.USER_ID,
    "api_key_id": semconv.TLDR_API_KEY_ID,
    "stream_id": semconv.TLDR_STREAM_ID,
    "batch_id": semconv.TLDR_BATCH_ID,
    "platform": semconv.TLDR_PLATFORM,
    "processing_stage": semconv.TLDR_STAGE,
}
_NAMES: Final = ("trace_id", "span_id", *_FIELDS)
_STAMP: Final = "_tldr_facts"
_EXPORTED: Final = "_tldr_exported"

# Python's levels from which OpenTelemetry's severities hold, and Logfire's `notice` among them.
_FROM_LEVEL: Final = (10, 20, 25, 30, 40, 50)
_SEVERITIES: Final = (1, 5, 9, 10, 13, 17, 21)

_STANDARD: Final = frozenset({*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "asctime", "message", "taskName"})


def is_wanted() -> bool:
    """Whether anybody wants a record that is made here and now."""
    return _record.record.enabled and is_instrumentation_enabled()


def facts() -> dict[str, str]:
    """What is known here and now, by the names that log lines use: `trace_id`, `span_id`, `organization_id`, ..."""
    here = get_current_span().get_span_context()
    known = {}
    if here.is_valid:
        known = {"trace_id": format_trace_id(here.trace_id), "span_id": format_span_id(here.span_id)}
    if current := context.attributes():
        known.update({name: current[key] for name, key in _FIELDS.items() if key in current})
    return known


def stamp(record: logging.LogRecord) -> None:
    """Write the facts on a record where it was made, for formatters and for handlers in other threads; never raises."""
    try:
        given = record.__dict__
        if _STAMP not in given:
            given[_STAMP] = known = facts()
            for name in _NAMES:
                given.setdefault(name, known.get(name, ""))
    except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
        guard.report("putting ids on a log record", error)


def export_record(record: logging.LogRecord) -> None:
    """Export a record of Python's `logging`, once; the caller guards."""
    given = record.__dict__
    if given.get(_EXPORTED):
        return
    given[_EXPORTED] = True
    known = given.get(_STAMP)
    known = known if isinstance(known, dict) else facts()
    event, values = _event(record)
    values.update((key, value) for key, value in given.items() if key not in _STANDARD)
    error = error_of(values.pop("exc_info", None)) or error_of(record.exc_info)
    traces = {
        key: text(trace, DEFAULT_LIMITS.total)
        for key, trace in (("exception.stacktrace", record.exc_text), ("code.stacktrace", record.stack_info))
        if trace
    }
    place = {
        semconv.CODE_FILEPATH: relative(text(record.pathname, DEFAULT_LIMITS.text)),
        semconv.CODE_LINENO: record.lineno,
        semconv.CODE_FUNCTION: text(record.funcName, DEFAULT_LIMITS.text),
        LOGGER_NAME: text(record.name, DEFAULT_LIMITS.text),
        **traces,
    }
    export(event, record.levelno, record.levelname, values, place, known=known, error=error, created=record.created)


def export(  # noqa: PLR0913 - what a log record is made of, each for itself
    event: str,
    level: int,
    level_name: object,
    values: Mapping[str, object],
    fixed: Mapping[str, Any],
    *,
    known: Mapping[str, str],
    error: BaseException | None,
    created: float,
) -> None:
    """Export a log record; the caller guards.

    Args:
        event: its text.
        level: by Python's numbers.
        level_name: as the host calls it.
        values: of the host, captured now, bounded and safe.
        fixed: attributes that are written as they are.
        known: the facts that held where it was made.
        error: the exception that it is about.
        created: seconds since the epoch.
    """
    from opentelemetry._logs import LogRecord, SeverityNumber

    own = {key: value for key, value in values.items() if not _is_ours(key, value, known)}
    written: dict[str, Any] = {**attributes(own), **fixed}
    written.update((key, known[name]) for name, key in _FIELDS.items() if name in known)
    if error is not None:
        written.update(exception_attributes(error))
        del written["exception.escaped"]  # of a span's event: a record can't tell
    records.logger().emit(
        LogRecord(
            timestamp=int(created * 1e9),
            context=_context(known),
            severity_number=SeverityNumber(_SEVERITIES[bisect_right(_FROM_LEVEL, level)]),
            severity_text=text(level_name, DEFAULT_LIMITS.text),
            body=event,
            attributes=written,
        )
    )


def error_of(exc_info: object) -> BaseException | None:
    """The exception in what `exc_info` may be: an exception, a triple, or True for the one being handled."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exc_info()[1] if exc_info else None


def _event(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """The text of a record, and what structlog's `wrap_for_formatter` hands over beside it, in the text's place."""
    message: Any = record.msg
    if type(message) is dict and "event" in message and not record.args:
        return text(message["event"], DEFAULT_LIMITS.text), {k: v for k, v in message.items() if k != "event"}
    try:
        return _without_secret_arguments(text(record.getMessage(), DEFAULT_LIMITS.text), record.args), {}
    except Exception:  # noqa: BLE001 - arguments that don't fit, or can't be shown: the text as it was written, then
        return text(message, DEFAULT_LIMITS.text), {}


def _without_secret_arguments(said: str, arguments: object) -> str:
    """The text without those of its named arguments (`%(password)s`) whose name tells that they are secret."""
    if type(arguments) is dict:
        for name, value in arguments.items():
            if type(name) is str and type(value) is str and value and rules.attribute(name, value) == REDACTED:
                said = said.replace(value, REDACTED)
    return said


def _is_ours(key: object, value: object, known: Mapping[str, str]) -> bool:
    """Whether a value is ours, put there by `stamp` or by the processor for structlog, or private to a library."""
    if not isinstance(key, str) or key.startswith("_"):
        return True
    return key in _NAMES and isinstance(value, str) and value == known.get(key, "")


def _context(known: Mapping[str, str]) -> Context | None:
    """The context of the span where the record was made; None where that is the current one."""
    here = get_current_span().get_span_context()
    trace_id, span_id = int(known.get("trace_id", "0"), 16), int(known.get("span_id", "0"), 16)
    if (trace_id, span_id) == (here.trace_id, here.span_id):
        return None
    made_in = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(made_in) if made_in.is_valid else INVALID_SPAN)
