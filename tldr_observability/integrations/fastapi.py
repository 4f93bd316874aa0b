"""FastAPI and Starlette applications: our middleware around everything else that the application has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tldr_observability.asgi import ObservabilityMiddleware
from tldr_observability.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["instrument", "refuse_unless_app", "silence_native_telemetry"]

_MARK = "_tldr_observability"


def instrument(app: Any, *, contrib: bool, excluded_paths: Iterable[str] = ()) -> None:
    """Wrap `app` in the middleware, outside of its own; a second call for the same application does nothing.

    The middleware goes around Starlette's `ServerErrorMiddleware` as well, so that the response to an unhandled
    exception carries the correlation id too. An application that serves already is observed from the next request on.

    Args:
        app: a FastAPI or Starlette application.
        contrib: have `opentelemetry-instrumentation-fastapi` make the server span; our middleware then joins it.
        excluded_paths: paths for which the contrib instrumentation makes no span.

    Raises:
        ConfigurationError: `app` serves already and contrib is asked for.
        MissingExtraError: the contrib package is not installed.
    """
    if getattr(app, _MARK, False):
        return
    if contrib:
        _instrument_with_contrib(app, excluded_paths)
    else:
        _wrap(app)
    silence_native_telemetry(app)
    setattr(app, _MARK, True)


def refuse_unless_app(app: Any) -> None:
    """Refuse what `instrument` can't wrap in place.

    Raises:
        ConfigurationError: `app` is no FastAPI or Starlette application.
    """
    if not hasattr(app, "build_middleware_stack") or not hasattr(app, "middleware_stack"):
        raise ConfigurationError(
            f"app: expected a FastAPI or Starlette application, got {type(app).__name__}; "
            "wrap any other ASGI application itself: app = ObservabilityMiddleware(app)"
        )


def _wrap(app: Any) -> None:
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: ObservabilityMiddleware(build())
    if app.middleware_stack is not None:
        app.middleware_stack = ObservabilityMiddleware(app.middleware_stack)


def _instrument_with_contrib(app: Any, excluded_paths: Iterable[str]) -> None:
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ImportError:
        raise MissingExtraError("LOGFIRE_FASTAPI_INSTRUMENTATION=contrib", "fastapi") from None
    if app.middleware_stack is not None:
        raise ConfigurationError(
            "LOGFIRE_FASTAPI_INSTRUMENTATION=contrib: the application serves already, too late for "
            "opentelemetry-instrumentation-fastapi; call setup(app=app) where the application is made"
        )
    app.add_middleware(ObservabilityMiddleware)  # it insists on being the outermost itself
    # It matches whole URLs, and takes its patterns separated by commas.
    patterns = ",".join(rf"^[a-z]+://[^/]+{re.escape(path.rstrip('*/'))}(?:[/?]|$)" for path in excluded_paths)
    FastAPIInstrumentor.instrument_app(app, excluded_urls=patterns, exclude_spans=["send", "receive"])


def silence_native_telemetry(app: Any) -> None:
    """Turn off what FastAPI 0.142 and newer emit by themselves, and the exporters that they would add.

    It is what `FastAPI(telemetry={...})` sets. Where a FastAPI keeps it elsewhere one day, its span is the server span
    and our middleware joins it.
    """
    native = getattr(app, "_telemetry", None)
    if isinstance(native, dict):
        native.update(tracing=False, metrics=False, logs=False, auto_configure=False)
