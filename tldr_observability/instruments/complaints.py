"""What was recorded wrongly, said once a metric and cause: who errs a thousand times a second logs one line."""

from __future__ import annotations

import logging
from contextlib import suppress

__all__ = ["complain", "forget"]

_MOST = 1000

_logger = logging.getLogger("tldr_observability")
_said: set[tuple[str, str]] = set()


def complain(metric: str, cause: str, message: str, *arguments: object, error: BaseException | None = None) -> None:
    """Log a warning, unless it was said before about this metric and cause.

    Args:
        metric: its name.
        cause: what tells this complaint from others about the metric: an attribute's key, or the kind of mistake.
        message: with `%` places.
        *arguments: for the places; texts and numbers, for objects of the host's may fail when they are printed.
        error: whose traceback to log.
    """
    if (metric, cause) in _said or len(_said) >= _MOST:
        return
    _said.add((metric, cause))
    with suppress(Exception):  # the host's log handlers may fail, and there is nowhere left to say so
        _logger.warning("Metric %r: " + message, metric, *arguments, exc_info=error)  # noqa: G003 - one prefix for all


def forget() -> None:
    """Say everything again, for tests."""
    _said.clear()
