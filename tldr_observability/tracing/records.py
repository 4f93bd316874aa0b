"""One event, written as an OpenTelemetry log record: sampling of traces does not touch it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tldr_observability import semconv
from tldr_observability.tracing import captured, schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry._logs import Logger, LoggerProvider

__all__ = ["emit", "logger"]

_known: tuple[LoggerProvider, Logger] | None = None


def emit(event: str, level: str, message: str | None, values: Mapping[str, object], fixed: Mapping[str, Any]) -> None:
    """Write an event with the current span's trace; the caller guards.

    Args:
        event: the event's name, bounded by the code base.
        level: a key of `semconv.LEVELS`; an unknown one counts as info.
        message: the record's body; the event's name where None.
        values: captured now, bounded and safe.
        fixed: attributes that are written as they are.
    """
    from opentelemetry._logs import LogRecord, SeverityNumber  # not at import: few programs log an event at once

    number = semconv.LEVELS.get(level, semconv.LEVELS["info"])
    attributes = captured.attributes(values) if values else {}
    logger().emit(
        LogRecord(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber(number),
            severity_text=level.upper() if level in semconv.LEVELS else "INFO",
            body=event if message is None else message,
            event_name=event,
            attributes={**fixed, **schemas.extended(fixed, attributes)},
        )
    )


def logger() -> Logger:
    """The one by which this package writes, of the provider that holds now; the caller guards."""
    global _known  # noqa: PLW0603 - the logger of the provider that holds now, which may be set or replaced at any time
    from opentelemetry._logs import get_logger, get_logger_provider

    provider = get_logger_provider()
    known = _known
    if known is None or known[0] is not provider:
        known = _known = (provider, get_logger(semconv.SCOPE_NAME, logger_provider=provider))
    return known[1]
