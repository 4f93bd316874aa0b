"""The time that a process may spend on last flushes, however many hooks ask for one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ExitBudget"]

_FORGET_AFTER_SECONDS = 30.0


class ExitBudget:
    """Shares one deadline among the flushes of an exit: lifespan, SIGTERM, `atexit`, the SDK's own shutdowns.

    Each of them alone is right to wait; all of them together, in front of a backend that hangs, would wait several
    deadlines long. A flush that succeeds makes the budget whole again, and so does half a minute of peace.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spent = 0.0
        self._last = 0.0

    def spend(self, flush: Callable[[float], bool], at_most: float | None = None) -> bool:
        """Run `flush` with the seconds that are left of the budget, at most `at_most`, and return what it returns."""
        started = time.monotonic()
        if started - self._last > _FORGET_AFTER_SECONDS:
            self._spent = 0.0
        left = max(self._seconds - self._spent, 0.0)
        succeeded = flush(left if at_most is None else min(left, at_most))
        self._last = time.monotonic()
        self._spent = 0.0 if succeeded else self._spent + self._last - started
        return succeeded
