"""The lane of spans or log records: from a queue, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tldr_observability.export.encode import encode
from tldr_observability.export.lane import Lane
from tldr_observability.export.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.export.deliver import Delivery
    from tldr_observability.export.destination import Destination
    from tldr_observability.export.trouble import Trouble

__all__ = ["QUEUE_LIMIT", "QueueLane"]

QUEUE_LIMIT = 20_000
"""The most spans, and as many log records, that wait while the backend is away (a span takes about 2.6 kB)."""


class QueueLane(Lane):
    """Sends what is put into its queue.

    Args:
        signal: `traces` or `logs`.
        destination: where to.
        delivery: the connection.
        trouble: where to say what hinders it.
        interval: the longest that an item waits, in seconds.
        batch_size: the most items in a request; that many waiting are sent at once.
        announce: gives the items to send besides at a tick.
    """

    def __init__(  # noqa: PLR0913 - a lane's parts, each for itself
        self,
        signal: str,
        destination: Destination,
        delivery: Delivery,
        trouble: Trouble,
        interval: float,
        *,
        batch_size: int,
        announce: Callable[[], list[Any]] = list,
    ) -> None:
        super().__init__(signal, destination, delivery, trouble, interval)
        self._queue: Queue[Any] = Queue(QUEUE_LIMIT, batch_size, self._wake, self.tally)
        self._announce = announce
        self._extra: list[Any] = []
        self._left = 0
        self._is_due = False

    def put(self, item: object) -> None:
        """Take an item for delivery. Never blocks."""
        self._queue.put(item)
        if self.closed:
            self.close()  # after the last count: this item is counted as dropped, too
        elif self._thread is None:
            self.start()

    def queued(self) -> int:
        """How many items wait in the queue."""
        return len(self._queue)

    def discard_queued(self) -> int:
        """Empty the queue; returns how many items that was."""
        return len(self._queue.take(self._queue.limit))

    def mute(self, muted: bool) -> None:
        """While the lane is held back, a queue that fills is no reason to wake up."""
        self._queue.muted = muted
        if not muted and len(self._queue) >= self._queue.wake_at:  # it may have filled in silence
            self._wake.ring()

    def begin_round(self, *, tick: bool) -> None:
        """Note what is there: what arrives meanwhile waits for the next round."""
        self._left = len(self._queue)
        self._is_due = tick

    def fill(self, *, tick: bool) -> bool:
        """Make the next requests: one batch, in more than one part where it is too large."""
        if self._is_due and not self._left:
            # After all that was queued: at SIGTERM the interrupted thread may hold the lock of the span to announce.
            self._is_due = False
            self._extra += self._announce()
        size = self._queue.wake_at
        with self._books:
            batch: list[Any] = []
            if tick or self._left >= size:
                batch = self._queue.take(min(self._left, size))
                self._left -= len(batch)
            room = size - len(batch)
            batch, self._extra = [*batch, *self._extra[:room]], self._extra[room:]
            if self.closed:
                self.tally.refuse("shutdown", len(batch))
                return False
            self.tally.accept(len(batch))
            self._unsent += encode(self.signal, batch, self.tally) if batch else []
        return bool(batch)
