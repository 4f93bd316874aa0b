"""A bounded queue between the host's threads and a lane's: an append for the host, no lock, no waiting."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from tldr_observability.export.bell import Bell
    from tldr_observability.export.tally import Tally

__all__ = ["Queue"]

_T = TypeVar("_T")


class Queue(Generic[_T]):
    """Holds items until the lane's thread takes them; when it is full, new ones are refused and counted.

    Args:
        limit: the most items held.
        wake_at: how many waiting items ring `wake`, so that a full batch does not wait for the next tick.
        wake: what the lane's thread sleeps on.
        tally: where refused items are counted.
    """

    __slots__ = ("_items", "_tally", "_wake", "limit", "muted", "wake_at")

    def __init__(self, limit: int, wake_at: int, wake: Bell, tally: Tally) -> None:
        self._items: deque[_T] = deque()
        self.limit = limit
        self.wake_at = wake_at
        self.muted = False
        """While the lane is held back, a queue that fills is no reason to wake up."""
        self._wake = wake
        self._tally = tally

    def put(self, item: _T) -> None:
        """Add an item, or count it as dropped when there is no room. Never blocks."""
        items = self._items
        if len(items) >= self.limit:
            self._tally.refuse("queue_full")
            return
        items.append(item)
        if len(items) >= self.wake_at and not self.muted:
            self._wake.ring()

    def take(self, most: int) -> list[_T]:
        """Remove and return up to `most` items, oldest first."""
        pop = self._items.popleft
        return [pop() for _ in range(min(most, len(self._items)))]

    def __len__(self) -> int:
        return len(self._items)
