"""The one SERVER span of a request: made here, or joined where somebody else has made it already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

__all__ = ["MARK", "ServerSpan", "claim", "joined", "made", "unrecorded"]

MARK: Final = "tldr_observability.request"
"""The key by which a middleware further in sees, in the scope, that this request has its span."""

_OURS: Final = otel_context.create_key("tldr_observability.server_span")


class ServerSpan(NamedTuple):
    """A request's server span and what the middleware owes it."""

    span: Span
    context: Context | None
    """The context to attach while the request is handled; None when the span is current already."""
    owned: bool = False
    """Whether we end it, name it and count the request."""
    nested: bool = False
    """Whether a middleware of ours further out looks after it."""
    takes_exceptions: bool = False
    """Whether an escaping exception is ours to record."""


def joined(scope: MutableMapping[str, Any]) -> ServerSpan | None:
    """The server span that this request has already; None when one has to be made."""
    current = get_current_span()
    if MARK in scope:
        return ServerSpan(current, None, nested=True)
    native = scope.get("fastapi.telemetry") is not None
    if current.is_recording():
        # A request made in the process, from inside another one, has that one's span around it, not its own.
        is_own = getattr(current, "kind", None) is SpanKind.SERVER and otel_context.get_value(_OURS) is not current
        return ServerSpan(current, None, takes_exceptions=native) if is_own else None
    context = current.get_span_context()
    if context.is_valid and not context.is_remote and (native or _is_instrumented(scope)):
        return ServerSpan(current, None)
    return None


def _is_instrumented(scope: MutableMapping[str, Any]) -> bool:
    """Whether Starlette's middleware or the contrib instrumentor watches this request, sampled out perhaps."""
    return "starlette.opentelemetry" in scope or bool(
        getattr(scope.get("app"), "_is_instrumented_by_opentelemetry", False)
    )


def made(
    tracer: Tracer, name: str, parent: SpanContext | None, base: Context, attributes: dict[str, Any]
) -> ServerSpan:
    """Start the server span. Its trace comes from the request's headers and from nowhere else."""
    if parent is not None:
        base = set_span_in_context(NonRecordingSpan(parent), base)
    span = tracer.start_span(
        name, base, SpanKind.SERVER, attributes, record_exception=False, set_status_on_exception=False
    )
    context = otel_context.set_value(_OURS, span, set_span_in_context(span, base))
    return ServerSpan(span, context, owned=True, takes_exceptions=True)


def unrecorded(parent: SpanContext | None, base: Context) -> Context:
    """A context in which nothing is sampled, so that an excluded request leaves no parentless spans."""
    if parent is None:
        from secrets import randbits

        span = SpanContext(randbits(128) | 1, randbits(64) | 1, is_remote=False)
    else:
        flags = TraceFlags(parent.trace_flags & ~TraceFlags.SAMPLED)
        span = SpanContext(
            parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags, trace_state=parent.trace_state
        )
    return set_span_in_context(NonRecordingSpan(span), base)


def claim(scope: MutableMapping[str, Any], what: object) -> None:
    """Keep FastAPI's and Starlette's own telemetry, further in, from making a second server span.

    Args:
        scope: of the request; whatever handles it further in sees the marks.
        what: what this middleware captures, for another one further in.
    """
    scope[MARK] = what
    scope.setdefault("fastapi.telemetry", None)
    scope.setdefault("starlette.opentelemetry", True)
