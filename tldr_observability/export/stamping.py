"""The current context (organization, stream, ...) stamped on every span and log record, whoever makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor

from tldr_observability import context, guard

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.trace import Span

__all__ = ["ContextLogProcessor", "ContextSpanProcessor"]


class ContextSpanProcessor(SpanProcessor):
    """Stamps the context on every span that starts."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Add the context's attributes."""
        try:
            if attributes := context.attributes():
                span.set_attributes(attributes)
        except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("stamping the context on a span", error)


class ContextLogProcessor(LogRecordProcessor):
    """Stamps the context on every log record; attributes of its own win."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Add the context's attributes."""
        with guard.guarded("stamping the context on a log record"):
            if attributes := context.attributes():
                record = log_record.log_record
                record.attributes = {**attributes, **(record.attributes or {})}

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing to flush."""
        return True
