"""What became of everything that a lane was handed: the numbers behind "emitted = delivered + counted drops"."""

from __future__ import annotations

from threading import RLock

__all__ = ["Tally"]


class Tally:
    """Counts for one signal of one room.

    The lane's thread alone calls `accept`, `export` and `drop`; any other thread calls `refuse`. They are kept apart,
    and reading takes no lock, because a signal may interrupt a thread inside `refuse`, and the lane must go on.
    """

    def __init__(self) -> None:
        self.accepted = 0
        """Items taken out of the queue, placeholders of running spans included."""
        self.exported = 0
        """Items that the backend has taken."""
        self._dropped = dict.fromkeys(("rejected", "too_large", "unencodable"), 0)
        self._refused = dict.fromkeys(("queue_full", "shutdown"), 0)
        # Re-entrant, for a signal handler may refuse an item as well; and nothing inside it runs Python code.
        self._lock = RLock()

    def accept(self, count: int) -> None:
        """Count items that begin their way to the backend."""
        self.accepted += count

    def export(self, count: int) -> None:
        """Count items that have arrived."""
        self.exported += count

    def drop(self, reason: str, count: int = 1) -> None:
        """Count items given up on the way: `rejected`, `too_large` or `unencodable`."""
        self._dropped[reason] += count

    def refuse(self, reason: str, count: int = 1) -> None:
        """Count items that don't get on their way any more: `queue_full` or `shutdown`."""
        with self._lock:
            self._refused[reason] += count

    def drops(self) -> dict[str, int]:
        """All drops so far, by reason."""
        return {reason: count for reason, count in {**self._dropped, **self._refused}.items() if count}

    @property
    def given_up(self) -> int:
        """Items dropped on the way so far: those of `drop`, without those of `refuse`."""
        return sum(self._dropped.values())
