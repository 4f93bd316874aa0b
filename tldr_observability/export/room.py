"""The room itself: a lane for each signal of one destination, and what happens to them at forks."""

from __future__ import annotations

import logging
import os
import weakref
from typing import TYPE_CHECKING

from tldr_observability.export.build import placeholder
from tldr_observability.export.deliver import Delivery
from tldr_observability.export.metric_lane import MetricLane
from tldr_observability.export.open_spans import OpenSpans
from tldr_observability.export.otel import RoomMetricReader
from tldr_observability.export.queue_lane import QueueLane
from tldr_observability.export.trouble import Trouble
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from tldr_observability.export.destination import Destination
    from tldr_observability.export.lane import Lane
    from tldr_observability.export.redacted import Redaction
    from tldr_observability.export.tally import Tally

__all__ = ["Room"]

_ITEMS = {"traces": "spans", "logs": "log records", "metrics": "metric points"}

_logger = logging.getLogger("tldr_observability")


class Room:
    """Queues, encodes and delivers all telemetry for one destination, from threads of its own.

    At rest `emitted = exported + dropped + waiting` holds for each signal; see `tallies` and `waiting`.

    Args:
        destination: where to.
        batch_size: the most spans or log records in one request; that many waiting are sent at once.
        flush_interval: the longest that they wait, in seconds.
        metric_interval: how often metrics are collected, in seconds.
        user_agent: how we introduce ourselves to the backend.
        redaction: takes the secrets out of metrics and of running spans' placeholders; ended spans and log records come
            without.
    """

    def __init__(  # noqa: PLR0913 - a room's options, each for itself
        self,
        destination: Destination,
        *,
        batch_size: int,
        flush_interval: float,
        metric_interval: float,
        user_agent: str = "tldr-observability",
        redaction: Redaction | None = None,
    ) -> None:
        self.destination = destination
        self._batch_size = batch_size
        self._flush_interval = flush_interval
        self._metric_interval = metric_interval
        self._user_agent = user_agent
        self._redaction = redaction
        self._open = OpenSpans()
        self._begin_afresh()
        _rooms.add(self)

    def _begin_afresh(self) -> None:
        """Make everything that a forked child must not share with its parent."""
        self.metric_reader = RoomMetricReader(delta=self.destination.delta, redaction=self._redaction)
        self.trouble = Trouble(self.destination.name)
        self._lanes: dict[str, Lane] = {}
        self._spans = self._queue_lane("traces") if "traces" in self.destination.urls else None
        self._logs = self._queue_lane("logs") if "logs" in self.destination.urls else None
        if "metrics" in self.destination.urls:
            read, interval = self.metric_reader.read, self._metric_interval
            lane = MetricLane(self.destination, self._new_delivery(), self.trouble, interval, read)
            self._lanes["metrics"] = lane

    def _queue_lane(self, signal: str) -> QueueLane:
        lane = QueueLane(
            signal,
            self.destination,
            self._new_delivery(),
            self.trouble,
            self._flush_interval,
            batch_size=self._batch_size,
            announce=self._running_spans if signal == "traces" else list,
        )
        self._lanes[signal] = lane
        return lane

    def _new_delivery(self) -> Delivery:
        return Delivery(self.destination, self._user_agent)

    def _running_spans(self) -> list[ReadableSpan]:
        running: list[ReadableSpan] = []
        with guarded("announcing running spans"):
            running += filter(None, map(placeholder, self._open.take_unannounced()))
        return [self._redaction.span(span) for span in running] if self._redaction else running

    def span_started(self, span: Span) -> None:
        """Note a span that has begun, so that it can be announced while it runs."""
        self._open.begin(span)

    def span_ended(self, span: ReadableSpan) -> None:
        """Take an ended span for delivery. One that began in a parent process is left to it."""
        context = span.context
        if self._open.end(context.span_id) and context.trace_flags.sampled and self._spans is not None:
            self._spans.put(span)

    def log_emitted(self, record: ReadableLogRecord) -> None:
        """Take a log record for delivery."""
        if self._logs is not None:
            self._logs.put(record)

    @property
    def tallies(self) -> dict[str, Tally]:
        """What became of everything so far, by signal."""
        return {signal: lane.tally for signal, lane in self._lanes.items()}

    @property
    def is_closed(self) -> bool:
        """Whether it has been shut down."""
        return all(lane.closed for lane in self._lanes.values())

    def waiting(self) -> dict[str, int]:
        """How many items are queued or under way, by signal."""
        return {signal: lane.waiting() for signal, lane in self._lanes.items()}

    def start(self) -> None:
        """Start the threads."""
        for lane in self._lanes.values():
            lane.start()

    def hurry(self) -> None:
        """Send what comes at once from now on, for the process is about to end."""
        for lane in self._lanes.values():
            lane.hurry()

    def ask(self) -> dict[str, int]:
        """Have everything recorded so far delivered now; `answer` waits for it."""
        return {signal: lane.ask() for signal, lane in self._lanes.items() if not lane.closed}

    def answer(self, tickets: dict[str, int], deadline: float) -> bool:
        """Wait for what `ask` returned, until `deadline` on the monotonic clock.

        Returns:
            Whether all of it has reached the backend; False at the deadline, or when it was not taken.
        """
        return all([self._lanes[signal].answer(ticket, deadline) for signal, ticket in tickets.items()])  # noqa: C419 - all are waited for

    def close(self) -> None:
        """End; what could not be delivered is counted as dropped and named once."""
        lost = {signal: lane.close() for signal, lane in self._lanes.items()}
        if any(lost.values()):
            _logger.warning(
                "The process ends before %s could be delivered to %s.",
                ", ".join(f"{count} {_ITEMS[signal]}" for signal, count in lost.items() if count),
                self.destination.name,
            )

    def after_fork_in_child(self) -> None:
        """Start afresh: nothing of the parent's is sent again, and no lock or connection of its is touched."""
        if not self.is_closed:
            self._open.inherit()
            self._begin_afresh()
            self.start()


_rooms: weakref.WeakSet[Room] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for room in list(_rooms):
        with guarded("starting afresh after a fork"):
            room.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
