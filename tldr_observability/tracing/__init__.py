"""Spans, timings and events of a service's own code: decorators for every kind of callable, and blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability.tracing.decorators import (
    timed,
    traced,
    traced_api_endpoint,
    traced_background_task,
    traced_repository_method,
    traced_service_method,
    traced_use_case,
)
from tldr_observability.tracing.spans import current_span, span

if TYPE_CHECKING:
    from tldr_observability.tracing.events import log_event

__all__ = [
    "current_span",
    "log_event",
    "span",
    "timed",
    "traced",
    "traced_api_endpoint",
    "traced_background_task",
    "traced_repository_method",
    "traced_service_method",
    "traced_use_case",
]


def __getattr__(name: str) -> object:
    """Load the events for who asks for them: the price of importing the package is counted in milliseconds."""
    if name != "log_event":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tldr_observability.tracing.events import log_event

    globals()[name] = log_event
    return log_event
