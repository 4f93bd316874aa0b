"""The time that a process may spend on last flushes, however many hooks ask for one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ExitBudget"]

_REGAIN = 0.1


class ExitBudget:
    """Shares one deadline among the flushes of an exit: lifespan, SIGTERM, `atexit`, the SDK's own shutdowns.

    Each of them alone is right to wait; all of them together, in front of a backend that hangs or is slow, would wait
    several deadlines long. Of the time that passes between flushes a tenth is given back: a process that goes on has
    its whole budget again after a while.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spent = 0.0
        self._last = time.monotonic()

    def spend(self, flush: Callable[[float], bool]) -> bool:
        """Run `flush` with the seconds that are left of the budget, and return what it returns."""
        started = time.monotonic()
        self._spent = max(self._spent - (started - self._last) * _REGAIN, 0.0)
        try:
            return flush(self._seconds - min(self._spent, self._seconds))
        finally:
            self._last = time.monotonic()
            self._spent += self._last - started
