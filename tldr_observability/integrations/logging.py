"""Python's `logging`: records exported as OpenTelemetry log records, and given the ids of their trace and request."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from tldr_observability import guard
from tldr_observability.integrations import log_records

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ContextFilter", "LogHandler", "instrument", "uninstrument"]

# What the export itself logs would be exported, which logs, and so on.
_OURS: Final = frozenset({"tldr_observability", "opentelemetry", "logfire"})
_EXPORT_THREADS: Final = "tldr-observability-"

_LEVELS: Final = {
    "trace": 1,
    "debug": 10,
    "info": 20,
    "notice": 25,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "fatal": 50,
}

_busy = threading.local()


class LogHandler(logging.Handler):
    """Exports the records that it gets, whether or not their trace is sampled: `logger.addHandler(LogHandler())`.

    What several of them get is exported once. Whatever a record does when it is looked at, nothing raises into the code
    that logs.
    """

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and export, without the handler's lock: it protects nothing here, and threads would wait for it."""
        wanted = self.filter(record)
        if wanted:
            self.emit(wanted if isinstance(wanted, logging.LogRecord) else record)
        return wanted

    def emit(self, record: logging.LogRecord) -> None:
        """Export a record."""
        # Exporting asks an exception for its text, which is the host's code and may log.
        if getattr(_busy, "exporting", False):
            return
        _busy.exporting = True
        try:
            if _is_wanted(record):
                log_records.export_record(record)
        except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("exporting a log record", error)
        finally:
            _busy.exporting = False


class ContextFilter(logging.Filter):
    """Puts `trace_id`, `span_id`, `correlation_id`, `organization_id` and the like on records, for formatters to show.

    Each is on every record, as an empty text where it isn't known; what a record has by such a name already, stays. Add
    it to handlers: the filters of a logger don't see the records of the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        log_records.stamp(record)
        return True


_handler: LogHandler | None = None
_behind: Callable[[logging.Logger, logging.LogRecord], None] | None = None


def instrument(*, level: str = "info") -> str:
    """Export the records of every logger, once each, and put the ids on them; a second call replaces the level.

    It stands before `Logger.callHandlers`, which every record of every logger passes. A handler of the root logger
    would not see loggers that don't propagate (uvicorn's), would be gone when Celery or `dictConfig` set logging up,
    and would keep `basicConfig` and logging's last resort from doing anything.

    Args:
        level: the least severity that is exported, a key of `semconv.LEVELS`.

    Returns:
        A sentence for the report.
    """
    global _handler, _behind  # noqa: PLW0603 - one for the process, as loggers are
    _handler = LogHandler(_LEVELS[level])
    if _behind is None:
        _behind = logging.Logger.callHandlers
        logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign, assignment]
    return f"records of every logger from {level} on"


def uninstrument() -> None:
    """Leave records alone again."""
    global _handler, _behind  # noqa: PLW0603
    _handler = None
    if _behind is not None and logging.Logger.callHandlers is _call_handlers:
        logging.Logger.callHandlers = _behind  # type: ignore[method-assign, assignment]
        _behind = None  # where somebody stands before us we stay, and let everything pass


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    handler, behind = _handler, _behind
    if handler is not None:
        log_records.stamp(record)
        if record.levelno >= handler.level:
            handler.handle(record)
    (behind or logging.Logger.callHandlers)(logger, record)


def _is_wanted(record: logging.LogRecord) -> bool:
    return (
        record.name.partition(".")[0] not in _OURS
        and not (record.threadName or "").startswith(_EXPORT_THREADS)
        and log_records.is_wanted()
    )
