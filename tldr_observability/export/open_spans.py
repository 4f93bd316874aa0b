"""The spans that have begun and not ended: who still owes a placeholder, and who belongs to a parent process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

__all__ = ["OpenSpans"]

_MOST_REMEMBERED = 100_000


class OpenSpans:
    """Notes beginnings and ends at the price of a dictionary entry each; safe to use from any thread.

    Logfire's live view shows a span that is still running by a placeholder. Most spans end before the room's next tick
    and never need one, so beginnings are only noted, and `take_unannounced` hands out those that lasted.
    """

    def __init__(self) -> None:
        self._begun: dict[int, Span] = {}
        self._announced: set[int] = set()
        self._inherited: frozenset[int] = frozenset()

    def begin(self, span: Span) -> None:
        """Note that a span has begun."""
        if len(self._begun) < _MOST_REMEMBERED:
            self._begun[span.context.span_id] = span

    def end(self, span_id: int) -> bool:
        """Note that a span has ended; False when it had begun in the parent process, whose span it is."""
        if self._begun.pop(span_id, None) is None:
            self._announced.discard(span_id)
        return not self._inherited or span_id not in self._inherited

    def take_unannounced(self) -> list[Span]:
        """The spans that have begun since the last call and are still open; each is handed out once."""
        begun, self._begun = self._begun, {}
        still_open = list(begun.items())
        if len(self._announced) < _MOST_REMEMBERED:  # spans that are never ended must not fill the memory
            self._announced.update(span_id for span_id, _ in still_open)
        return [span for _, span in still_open if span.is_recording()]

    def inherit(self) -> None:
        """In a forked child: all spans open now are the parent's, or its parent's."""
        self._inherited = frozenset((*self._inherited, *self._begun, *self._announced))
        self._begun = {}
        self._announced = set()
