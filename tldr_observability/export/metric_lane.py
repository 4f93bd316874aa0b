"""The lane of metrics: read at each tick, and once at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import AggregationTemporality, NumberDataPoint

from tldr_observability.export.encode import encode, points
from tldr_observability.export.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.metrics.export import MetricsData

    from tldr_observability.export.deliver import Delivery
    from tldr_observability.export.destination import Destination
    from tldr_observability.export.encode import Point
    from tldr_observability.export.trouble import Trouble

__all__ = ["MetricLane"]


def _is_idle(point: Point) -> bool:
    """Whether it only says that a counter has not moved: one that observes has such a point in each reading."""
    data: Any = point.of_metric.data
    return (
        point.value.__class__ is NumberDataPoint
        and point.value.value == 0
        and getattr(data, "is_monotonic", False)
        and data.aggregation_temporality is AggregationTemporality.DELTA
    )


class MetricLane(Lane):
    """Sends what a reading of the instruments gives.

    While a reading is unsent there is no other: the next one then covers the time of both, and nothing is lost.

    Args:
        destination: where to.
        delivery: the connection.
        trouble: where to say what hinders it.
        interval: between readings, in seconds.
        read: takes a reading; None when there is nothing.
    """

    def __init__(
        self,
        destination: Destination,
        delivery: Delivery,
        trouble: Trouble,
        interval: float,
        read: Callable[[], MetricsData | None],
    ) -> None:
        super().__init__("metrics", destination, delivery, trouble, interval)
        self._read = read
        self._is_due = False

    hurried = 1.0  # a reading asks every instrument

    def begin_round(self, *, tick: bool) -> None:
        """One reading for a round at most."""
        self._is_due = tick

    def fill(self, *, tick: bool) -> bool:  # noqa: ARG002 - the interface of lanes
        """Make requests of a reading, if one is due."""
        if not self._is_due:
            return False
        self._is_due = False
        data = self._read()
        found = [point for point in points(data) if not _is_idle(point)] if data is not None else []
        if not found:
            return False
        with self._books:
            if self.closed:
                self.tally.refuse("shutdown", len(found))
                return False
            self.tally.accept(len(found))
            self._unsent += encode(self.signal, found, self.tally)
        return True
