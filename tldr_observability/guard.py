"""The boundary between our code and the host's: a bug of ours is logged here and goes no further.

    with guarded("reading the request"):
        ...our own work...

Only `Exception` is held back: a cancellation, `KeyboardInterrupt` and `SystemExit` belong to the host. What fails again
and again is logged once a minute a place, so that a fault can't fill the host's disk. In `strict` mode (the test
fixtures turn it on) everything is raised, so that bugs surface.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["guarded", "report", "set_strict"]

_QUIET_SECONDS = 60.0
_logger = logging.getLogger("tldr_observability")
_last_logged: dict[str, float] = {}
_strict = False


def set_strict(strict: bool) -> bool:
    """Raise what `guarded` would log (for tests); returns the mode that held before."""
    global _strict
    before, _strict = _strict, strict
    return before


class guarded:  # noqa: N801 - reads as a statement: `with guarded("..."):`
    """Holds back any `Exception` of the block and logs it with the name of the place.

    Args:
        place: what the block does, bounded by the code base ("starting a span"): it is the key of the log's rate limit.
    """

    __slots__ = ("place",)

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Swallow and log an `Exception`; let everything else through."""
        if error is None or not isinstance(error, Exception) or _strict:
            return False
        report(self.place, error)
        return True


def report(place: str, error: BaseException) -> None:
    """Log a bug of ours that was caught without `guarded`, in a path too hot for it: `except Exception as error:`."""
    if _strict:
        raise error
    now = time.monotonic()
    if now - _last_logged.get(place, -_QUIET_SECONDS) >= _QUIET_SECONDS:
        _last_logged[place] = now
        _log(place, error)


def _log(place: str, error: BaseException) -> None:
    with suppress(Exception):  # the host's log handlers may fail too, and there is nowhere left to say so
        _logger.error("tldr-observability failed while %s; your code is not affected.", place, exc_info=error)
