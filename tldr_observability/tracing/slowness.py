"""When a call counts as slow, and the event that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability import _record, semconv

if TYPE_CHECKING:
    from tldr_observability.tracing.site import CallSite

__all__ = ["SLOW_CALL", "log", "threshold"]

SLOW_CALL = "tldr.slow_call"


def threshold(site: CallSite) -> float | None:
    """Seconds from which a call is slow: the decorator's, else what `setup()` was told; None where neither says."""
    own = site.slow_threshold
    return _record.record.slow_threshold if own is None else own


def log(site: CallSite, elapsed: float, limit: float) -> None:
    """Write the event of one slow call; sampling doesn't touch it. The caller guards."""
    from tldr_observability.tracing import records  # not at import: a log record is for the slow path

    records.emit(
        SLOW_CALL,
        "warn",
        f"{site.name} took {elapsed:.3f} s",
        {semconv.TLDR_DURATION: elapsed, semconv.TLDR_SLOW_THRESHOLD: limit},
        site.place(),
    )
