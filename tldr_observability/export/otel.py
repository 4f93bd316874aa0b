"""The room's ears: OpenTelemetry's processor and reader interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, ObservableUpDownCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.trace import SpanProcessor

from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from tldr_observability.export.redacted import Redaction
    from tldr_observability.export.room import Room

__all__ = ["RoomLogProcessor", "RoomMetricReader", "RoomSpanProcessor"]


class RoomSpanProcessor(SpanProcessor):
    """Hands spans to a room.

    Args:
        room: the room.
        on_flush: what the SDK's own `force_flush` runs, with the seconds that it may take.
        on_shutdown: what the SDK's own `shutdown` runs, at interpreter exit or because the provider is being replaced.
    """

    def __init__(self, room: Room, on_flush: Callable[[float], bool], on_shutdown: Callable[[], None]) -> None:
        self._room = room
        self._on_flush = on_flush
        self._on_shutdown = on_shutdown

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Note the beginning."""
        with guarded("noting a span's start"):
            self._room.span_started(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Hand the span over."""
        with guarded("queueing a span"):
            self._room.span_ended(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what is queued."""
        return self._on_flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Deliver what is queued and end."""
        self._on_shutdown()


class RoomLogProcessor(LogRecordProcessor):
    """Hands log records to a room; flush and shutdown come through the span processor."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Hand the record over."""
        with guarded("queueing a log record"):
            self._room.log_emitted(log_record)  # type: ignore[arg-type]  # the encoder reads what both have

    def shutdown(self) -> None:
        """Leave the end to the span processor."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Leave the flush to the span processor."""
        return True


class RoomMetricReader(MetricReader):
    """Reads metrics when its room asks, as exponential histograms.

    Args:
        delta: counters and histograms give what was added since the last reading (Logfire's way), not since the start.
        redaction: takes the secrets out of what was read.
    """

    on_shutdown: Callable[[], object] | None = None
    """Runs before the provider goes, while a last reading can still be taken."""

    def __init__(self, *, delta: bool, redaction: Redaction | None = None) -> None:
        self._redaction = redaction
        changes = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        super().__init__(
            preferred_temporality={
                Counter: changes,
                Histogram: changes,
                ObservableCounter: changes,
                UpDownCounter: AggregationTemporality.CUMULATIVE,
                ObservableUpDownCounter: AggregationTemporality.CUMULATIVE,
            },
            preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()},
        )
        self._collected: MetricsData | None = None
        self._ended = False

    def read(self) -> MetricsData | None:
        """Collect now; None when there is nothing, or no provider to read from."""
        if self._ended or self._collect is None:
            return None
        self._collected = None
        self.collect()
        return self._collected

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: object) -> None:  # noqa: ARG002
        self._collected = self._redaction.metrics(metrics_data) if self._redaction else metrics_data

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Leave the flush to the span processor: collecting belongs to the room's thread."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:  # noqa: ARG002
        """Have a last reading delivered, then give nothing more."""
        is_registered = self._collect is not None  # a forked child takes its parent's reader off the provider first
        if is_registered and not self._ended and self.on_shutdown is not None:
            self.on_shutdown()
        self._ended = True
