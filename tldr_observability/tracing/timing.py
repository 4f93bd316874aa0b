"""Durations of calls as a histogram: what `timed` watches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tldr_observability import guard, semconv
from tldr_observability.catalogue import calls
from tldr_observability.instruments import automatic
from tldr_observability.tracing import failures, slowness

if TYPE_CHECKING:
    from tldr_observability.tracing.site import CallSite

__all__ = ["Timing", "begin"]

_duration = automatic(calls.FUNCTION_DURATION)


class Timing:
    """A running call of a timed function.

    Args:
        site: where it is.
        fixed: the metric attributes of all its calls.
    """

    __slots__ = ("_fixed", "_site", "_started")

    def __init__(self, site: CallSite, fixed: dict[str, Any]) -> None:
        self._site = site
        self._fixed = fixed
        self._started = time.perf_counter()

    def returned(self, _: Any = None) -> None:
        """Count the duration of a call that went well."""
        self._record(failures.SUCCESS)

    def raised(self, error: BaseException) -> None:
        """Count the duration of a call that an exception leaves."""
        self._record(failures.outcome(error))

    def suspend(self) -> None:
        """Nothing: the time of an iteration runs on."""

    def resume(self) -> None:
        """Nothing: the time of an iteration runs on."""

    def _record(self, outcome: str) -> None:
        try:
            elapsed = time.perf_counter() - self._started
            _duration.record(elapsed, {**self._fixed, semconv.TLDR_OUTCOME: outcome})
            limit = slowness.threshold(self._site)
            if limit is not None and elapsed >= limit:
                slowness.log(self._site, elapsed, limit)
        except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("recording a duration", error)


def begin(site: CallSite, fixed: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Timing:
    """Start the clock for one call, whatever its arguments are."""
    del args, kwargs
    return Timing(site, fixed)
