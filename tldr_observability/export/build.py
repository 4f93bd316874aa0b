"""What is sent for a span that is still running: Logfire's pending placeholder."""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, format_span_id

from tldr_observability import semconv

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

__all__ = ["placeholder"]


def placeholder(span: Span) -> ReadableSpan | None:
    """The placeholder by which Logfire's live view shows `span` as running; None for what is not a span (a log).

    As Logfire's own: a zero-length span of a made-up id, child of the real one, which names the real one's parent in
    `logfire.pending_parent_id` (zeros for a root).
    """
    attributes = dict(span.attributes or {})
    if attributes.get(semconv.LOGFIRE_SPAN_TYPE, "span") != "span":
        return None
    attributes[semconv.LOGFIRE_SPAN_TYPE] = "pending_span"
    attributes[semconv.LOGFIRE_PENDING_PARENT] = format_span_id(span.parent.span_id if span.parent else 0)
    context = span.get_span_context()
    return ReadableSpan(
        name=span.name,
        context=SpanContext(context.trace_id, getrandbits(64) or 1, is_remote=False, trace_flags=context.trace_flags),
        parent=context,
        resource=span.resource,
        attributes=attributes,
        events=tuple(span.events),
        links=tuple(span.links),
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.start_time,
        instrumentation_scope=span.instrumentation_scope,
    )
