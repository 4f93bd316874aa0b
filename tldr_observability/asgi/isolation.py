"""A request's own context: entered once, left without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context

from tldr_observability import context

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context

__all__ = ["Isolation"]


class Isolation:
    """Makes a span current and opens a unit of work, and takes both back."""

    __slots__ = ("_span", "_unit")

    def __init__(self) -> None:
        self._span: Token[Context] | None = None
        self._unit: Token[Any] | None = None

    def enter(self, current: Context | None, correlation_id: str | None) -> None:
        """Open the unit, under a span's context where one is given."""
        self._unit = context.begin_unit(correlation_id)
        if current is not None:
            self._span = otel_context.attach(current)

    def leave(self) -> None:
        """Restore what was before."""
        if self._unit is None:
            return
        try:
            context.end_unit(self._unit)
        except ValueError:
            # The garbage collector closed a coroutine that nobody awaited to its end: this context is somebody else's.
            return
        if self._span is not None:
            otel_context.detach(self._span)
