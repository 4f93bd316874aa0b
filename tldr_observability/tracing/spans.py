"""A span around a block of code, and the span that is current."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN

from tldr_observability import semconv
from tldr_observability.tracing import captured, engine, source

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.trace import Span

__all__ = ["current_span", "span"]


def current_span() -> Span:
    """The span that is current here, to add attributes or events to; one that ignores them where there is none."""
    return engine.current_span()


class span:  # noqa: N801 - reads as a statement: `with span("..."):`
    """Makes a block of code a span, and gives the span: `with span("fetched {count} items", count=3) as s:`.

    Works with `async with` too. The span ends with the block; an exception is recorded and goes on. What becomes known
    later is added with `s.set_attribute(key, value)`.

    Args:
        name: the span's name, bounded by the code base: values go into attributes. `{key}` in it shows an attribute's
            value in the span's message.
        attributes: captured when the block is entered, bounded and safe.
    """

    __slots__ = ("_attributes", "_call", "_code", "_line", "_name")

    def __init__(self, name: str, /, **attributes: object) -> None:
        self._name = name
        self._attributes = attributes
        self._call: engine.Call | None = None
        # Here and not on entry, where the caller may be an exit stack.
        frame = sys._getframe(1)  # noqa: SLF001 - the documented way, a tenth of the price of `inspect`
        self._code, self._line = frame.f_code, frame.f_lineno

    def __enter__(self) -> Span:
        self._call = call = engine.begin_block(self._name, self._describe)
        if call is not None and call.span is not None:
            return call.span
        here = engine.current_span()
        # Under a parent that isn't recorded the block shares its ids; a span of the host's must not get our attributes.
        return INVALID_SPAN if here.is_recording() else here

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        if error is None:
            call.returned()
        else:
            call.raised(error)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _describe(self) -> dict[str, object]:
        values = self._attributes
        return {
            **source.of_code(self._code),
            semconv.CODE_LINENO: self._line,
            **(captured.attributes(values) if values else {}),
            semconv.LOGFIRE_MESSAGE_TEMPLATE: self._name,
            semconv.LOGFIRE_MESSAGE: _message(self._name, values) if values else self._name,
            semconv.LOGFIRE_SPAN_TYPE: "span",
        }


def _message(template: str, values: dict[str, object]) -> str:
    if "{" not in template and "}" not in template:
        return template
    from tldr_observability.tracing import messages  # not at import: many programs never fill in a message

    return messages.fill(template, values)
