"""Metrics: specifications bound to series, which every configured reader of OpenTelemetry is told.

`metrics` is the facade for the host. The other parts of this package record by `automatic` and `observe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability.instruments.facade import Metrics
from tldr_observability.instruments.registry import automatic, observe, release, reset, shared

if TYPE_CHECKING:
    from tldr_observability.instruments.groups import MetricGroup

__all__ = ["MetricGroup", "Metrics", "automatic", "metrics", "observe", "release", "reset"]

metrics = Metrics(shared)


def __getattr__(name: str) -> object:
    """Load what not everybody needs when it is first asked for."""
    if name != "MetricGroup":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tldr_observability.instruments.groups import MetricGroup

    globals()[name] = MetricGroup
    return MetricGroup
