"""What the operator is told: one clear line when delivery begins to fail, one when it works again, and no more."""

from __future__ import annotations

import logging
import time

__all__ = ["Trouble"]

_QUIET_SECONDS = 60.0

_logger = logging.getLogger("tldr_observability")


class Trouble:
    """The troubles that stand in the way of delivery to one destination; used by the room's lanes.

    Each kind is logged when it begins, at most once a minute; the end of the last one is logged if its beginning was.
    """

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._current: dict[str, tuple[str, str]] = {}
        self._logged_at: dict[str, float] = {}
        self._told = False

    def begin(self, signal: str, kind: str, message: str) -> None:
        """Note what hinders a signal, in a sentence for people."""
        known = any(kind == other for other, _ in list(self._current.values()))
        self._current[signal] = (kind, message)
        now = time.monotonic()
        if not known and now - self._logged_at.get(kind, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._logged_at[kind] = now
            self._told = True
            _logger.warning("%s", message)

    def end(self, signal: str) -> None:
        """Note that a signal gets through."""
        if self._current.pop(signal, None) and not self._current and self._told:
            self._told = False
            _logger.warning("Telemetry is delivered to %s again.", self._destination)

    def __str__(self) -> str:
        """The current troubles, empty when all is well."""
        return " ".join(dict.fromkeys(message for _, message in list(self._current.values())))
