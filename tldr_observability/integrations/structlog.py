"""Processors for structlog: the ids of trace and request in every event, and the export of events without `logging`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from tldr_observability import guard
from tldr_observability.capture import DEFAULT_LIMITS, text
from tldr_observability.integrations import log_records

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["add_log_context", "export_log"]

_LEVELS: Final = {"trace": 5, "notice": 25, "warn": 30, "exception": 40, "fatal": 50, "msg": 20}
_NO_ATTRIBUTES: Final = frozenset({"event", "exc_info", "level", "logger"})


def add_log_context(
    logger: Any,  # noqa: ARG001 - structlog's interface
    method_name: str,  # noqa: ARG001
    event_dict: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Add `trace_id`, `span_id`, `correlation_id`, `organization_id` and the like to an event, where they are known.

    What the event has by such a name already, stays. Put it first, with `merge_contextvars`.
    """
    with guard.guarded("adding the context to a log event"):
        for name, value in log_records.facts().items():
            event_dict.setdefault(name, value)
    return event_dict


def export_log(logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ARG001
    """Export an event and hand it on as it came, for a structlog that prints by itself.

    Put it before the renderer, and before `format_exc_info`. A structlog that goes through `logging` doesn't need it.
    """
    with guard.guarded("exporting a log event"):
        if log_records.is_wanted():
            name = event_dict.get("level", method_name)
            place = {log_records.LOGGER_NAME: str(event_dict["logger"])} if "logger" in event_dict else {}
            log_records.export(
                text(event_dict.get("event", ""), DEFAULT_LIMITS.text),
                _level(name),
                str(name).upper(),
                {key: value for key, value in event_dict.items() if key not in _NO_ATTRIBUTES},
                place,
                known=log_records.facts(),
                error=log_records.error_of(event_dict.get("exc_info") or method_name == "exception"),
                created=time.time(),
            )
    return event_dict


def _level(name: object) -> int:
    level = logging.getLevelName(str(name).upper())
    return _LEVELS.get(str(name).lower(), level if isinstance(level, int) else logging.INFO)
