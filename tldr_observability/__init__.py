"""Tracing, metrics and structured logs for Python services in one line, on Pydantic Logfire and OpenTelemetry.

    from tldr_observability import setup, traced_service_method

    setup(app=app)

Every public name is here and is loaded when first asked for, so that importing the package costs about as much as
OpenTelemetry's API and never loads `logfire`, `pydantic`, the SDK or an instrumented library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tldr_observability._setup import Observability, setup
    from tldr_observability.asgi import ObservabilityMiddleware
    from tldr_observability.context import (
        add_processing_context,
        add_user_context,
        get_correlation_id,
        set_correlation_id,
    )
    from tldr_observability.errors import ConfigurationError, MissingExtraError, ObservabilityError
    from tldr_observability.instruments import MetricGroup, metrics
    from tldr_observability.integrations.logging import ContextFilter, LogHandler
    from tldr_observability.integrations.structlog import add_log_context, export_log
    from tldr_observability.redaction import RedactionMatch
    from tldr_observability.settings import ObservabilitySettings
    from tldr_observability.tracing import (
        current_span,
        log_event,
        span,
        timed,
        traced,
        traced_api_endpoint,
        traced_background_task,
        traced_repository_method,
        traced_service_method,
        traced_use_case,
    )

__all__ = [
    "ConfigurationError",
    "ContextFilter",
    "LogHandler",
    "MetricGroup",
    "MissingExtraError",
    "Observability",
    "ObservabilityError",
    "ObservabilityMiddleware",
    "ObservabilitySettings",
    "RedactionMatch",
    "add_log_context",
    "add_processing_context",
    "add_user_context",
    "current_span",
    "export_log",
    "get_correlation_id",
    "log_event",
    "metrics",
    "set_correlation_id",
    "setup",
    "span",
    "timed",
    "traced",
    "traced_api_endpoint",
    "traced_background_task",
    "traced_repository_method",
    "traced_service_method",
    "traced_use_case",
]

__version__ = "0.1.0"

_HOMES = {
    "_setup": ("Observability", "setup"),
    "asgi": ("ObservabilityMiddleware",),
    "context": ("add_processing_context", "add_user_context", "get_correlation_id", "set_correlation_id"),
    "errors": ("ConfigurationError", "MissingExtraError", "ObservabilityError"),
    "instruments": ("MetricGroup", "metrics"),
    "integrations.logging": ("ContextFilter", "LogHandler"),
    "integrations.structlog": ("add_log_context", "export_log"),
    "redaction": ("RedactionMatch",),
    "settings": ("ObservabilitySettings",),
    "tracing": (
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
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load the module that holds a public name when the name is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
