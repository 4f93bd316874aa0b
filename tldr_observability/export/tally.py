"""What became of everything that a room was handed: the numbers behind "emitted = delivered + counted drops"."""

from __future__ import annotations

from collections import Counter
from threading import Lock

__all__ = ["Tally"]


class Tally:
    """Counts for one signal of one room.

    `accepted` and `exported` belong to the room's thread; `drop` may be called by any.
    """

    def __init__(self) -> None:
        self.accepted = 0
        """Items taken out of the queue, placeholders of running spans included."""
        self.exported = 0
        """Items that the backend has taken."""
        self._dropped: Counter[str] = Counter()
        self._lock = Lock()

    def accept(self, count: int) -> None:
        """Count items that begin their way to the backend."""
        self.accepted += count

    def export(self, count: int) -> None:
        """Count items that have arrived."""
        self.exported += count

    def drop(self, reason: str, count: int = 1) -> None:
        """Count items given up: `queue_full`, `rejected`, `too_large`, `unencodable` or `shutdown`."""
        if count:
            with self._lock:
                self._dropped[reason] += count

    def drops(self) -> dict[str, int]:
        """The drops so far, by reason."""
        with self._lock:
            return dict(self._dropped)

    @property
    def dropped(self) -> int:
        """All drops so far."""
        return sum(self.drops().values())
