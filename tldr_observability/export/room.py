"""The room itself: takes what the host hands over, and runs the thread that has it delivered.

The thread sleeps until a tick, a full batch, a collection of metrics, the end of a back-off or a request to flush.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    attach,
)

from tldr_observability.export.bell import Bell
from tldr_observability.export.build import placeholder
from tldr_observability.export.deliver import Delivery
from tldr_observability.export.encode import encode_metrics_data
from tldr_observability.export.lane import Lane
from tldr_observability.export.open_spans import OpenSpans
from tldr_observability.export.otel import RoomMetricReader
from tldr_observability.export.queue import Queue
from tldr_observability.export.trouble import Trouble
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from tldr_observability.export.destination import Destination
    from tldr_observability.export.tally import Tally

__all__ = ["QUEUE_LIMIT", "Room"]

QUEUE_LIMIT = 20_000
"""The most spans, and as many log records, that wait while the backend is away (a span takes about 2.6 kB)."""

_logger = logging.getLogger("tldr_observability")


class Room:
    """Queues, encodes and delivers all telemetry for one destination from a thread of its own.

    At rest `emitted = exported + dropped + waiting` holds for each signal; see `tallies` and `waiting`.

    Args:
        destination: where to.
        batch_size: the most spans or log records in one request; that many waiting are sent at once.
        flush_interval: the longest that they wait, in seconds.
        metric_interval: how often metrics are collected, in seconds.
        user_agent: how we introduce ourselves to the backend.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        batch_size: int,
        flush_interval: float,
        metric_interval: float,
        user_agent: str = "tldr-observability",
    ) -> None:
        self.destination = destination
        self._batch_size = batch_size
        self._flush_interval = flush_interval
        self._metric_interval = metric_interval
        self._delivery = Delivery(destination, user_agent)
        self._open = OpenSpans()
        self._begin_afresh()
        _rooms.add(self)

    def _begin_afresh(self) -> None:
        """Make everything that a forked child must not share with its parent."""
        self._lanes = {signal: Lane(signal, self.destination) for signal in self.destination.urls}
        self._wake = Bell()
        self._urgent = Bell()
        self._queues: dict[str, Queue[Any]] = {
            signal: Queue(QUEUE_LIMIT, self._batch_size, self._wake, lane.tally)
            for signal, lane in self._lanes.items()
            if signal != "metrics"
        }
        self.metric_reader = RoomMetricReader(delta=self.destination.delta)
        self.trouble = Trouble(self.destination.name)
        self._progress = threading.Condition()
        self._collecting = threading.Lock()
        self._flushes_asked = 0
        self._flushes_done = 0
        self._last_flush_delivered = True
        self._closed = False
        self._next_tick = time.monotonic() + self._flush_interval
        self._next_collection = time.monotonic() + self._metric_interval
        self._thread: threading.Thread | None = None

    # What the host's threads call

    def span_started(self, span: Span) -> None:
        """Note a span that has begun, so that it can be announced while it runs."""
        self._open.begin(span)

    def span_ended(self, span: ReadableSpan) -> None:
        """Take an ended span for delivery. One that began in the parent process is left to the parent."""
        if self._open.end(span.context.span_id) and span.context.trace_flags.sampled:
            self._put("traces", span)

    def log_emitted(self, record: ReadableLogRecord) -> None:
        """Take a log record for delivery."""
        self._put("logs", record)

    def _put(self, signal: str, item: object) -> None:
        queue = self._queues.get(signal)
        if queue is None:
            return
        if self._closed:
            self._lanes[signal].tally.drop("shutdown")
            return
        queue.put(item)
        if self._thread is None:
            self.start()

    @property
    def tallies(self) -> dict[str, Tally]:
        """What became of everything so far, by signal."""
        return {signal: lane.tally for signal, lane in self._lanes.items()}

    def waiting(self) -> dict[str, int]:
        """How many items are queued or under way, by signal."""
        return {
            signal: lane.unsent_count() + (len(self._queues[signal]) if signal in self._queues else 0)
            for signal, lane in self._lanes.items()
        }

    def start(self) -> None:
        """Start the thread if it is not running."""
        with self._progress:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="tldr-observability-export", daemon=True)
                with suppress(RuntimeError):  # no thread to be had: the next item or flush tries again
                    thread.start()
                    self._thread = thread

    def wake(self) -> None:
        """Have what waits delivered soon, without waiting for it."""
        with self._progress:
            self._flushes_asked += 1
        self._wake.ring()
        self._urgent.ring()

    def flush(self, timeout: float) -> bool:
        """Deliver everything recorded so far, now.

        Returns:
            Whether all of it has reached the backend; False after `timeout` seconds, or when it was not taken.
        """
        deadline = time.monotonic() + timeout
        if self._closed:
            return True
        self.start()
        self.wake()
        with self._progress:
            ticket = self._flushes_asked
            while self._flushes_done < ticket and not self._closed:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._progress.wait(remaining)
            return self._last_flush_delivered

    def shutdown(self, timeout: float) -> bool:
        """Flush within `timeout` seconds and end; what could not be delivered is counted as dropped and named once."""
        if self._closed:
            return True
        delivered = self.flush(timeout)
        with self._progress:
            self._closed = True
            self._progress.notify_all()
        self._wake.ring()
        self._urgent.ring()
        self._count_the_lost()
        return delivered

    def _count_the_lost(self) -> None:
        lost = self.waiting()
        for signal, count in lost.items():
            self._lanes[signal].tally.drop("shutdown", count)
        if any(lost.values()):
            _logger.warning(
                "The process ends before %s could be delivered to %s.",
                ", ".join(f"{count} {_ITEMS[signal]}" for signal, count in lost.items() if count),
                self.destination.name,
            )

    # What the thread does

    def _run(self) -> None:
        # Our own requests must not be traced, and what is current where the thread starts does not concern it.
        attach(Context({_SUPPRESS_INSTRUMENTATION_KEY: True, _SUPPRESS_HTTP_INSTRUMENTATION_KEY: True}))
        while not self._closed:
            self._sleep()
            asked = self._flushes_asked
            flushing = asked > self._flushes_done
            dropped_before = self._dropped()
            with guarded("delivering telemetry"):
                self._round(flushing=flushing)
            if flushing:
                with self._progress:
                    self._flushes_done = asked
                    self._last_flush_delivered = self._dropped() == dropped_before and not any(
                        lane.unsent for lane in self._lanes.values()
                    )
                    self._progress.notify_all()

    def _sleep(self) -> None:
        """Wait for something to do. While a lane is held back, a queue that fills is no reason to wake up."""
        now = time.monotonic()
        held = [lane.held_until for lane in self._lanes.values() if lane.held_until > now]
        bell = self._urgent if held else self._wake
        bell.wait(min(self._next_tick, self._next_collection, *held) - now)

    def _round(self, *, flushing: bool) -> None:
        now = time.monotonic()
        tick = flushing or now >= self._next_tick
        if tick:
            self._next_tick = now + self._flush_interval
        for signal, queue in self._queues.items():
            lane = self._lanes[signal]
            if (flushing or lane.held_until <= now) and self._send(lane):
                running = self._running_spans() if tick and signal == "traces" else []
                lane.drain(queue, running, partial(self._send, lane), tick=tick)
        # Metrics come last: reading them takes the instruments' locks, and at SIGTERM the interrupted main thread may
        # hold one.
        metrics = self._lanes.get("metrics")
        if metrics is not None and (flushing or metrics.held_until <= now):
            if flushing or now >= self._next_collection:
                self._next_collection = now + self._metric_interval
                self._collect(metrics)
            self._send(metrics)

    def _send(self, lane: Lane) -> bool:
        return lane.send(self._delivery, self.trouble, lambda: self._closed)

    def _running_spans(self) -> list[ReadableSpan]:
        running: list[ReadableSpan] = []
        with guarded("announcing running spans"):
            running += filter(None, map(placeholder, self._open.take_unannounced()))
        return running

    def _collect(self, lane: Lane) -> None:
        """Read the metrics, unless the last reading is still unsent: the next one then covers the time of both."""
        if lane.unsent:
            return
        with guarded("collecting metrics"):
            with self._collecting:
                data = self.metric_reader.read()
            body = encode_metrics_data(data) if data is not None else None
            if body is not None:
                lane.tally.accept(body.size)
                lane.unsent.append(body)

    def _dropped(self) -> int:
        return sum(lane.tally.dropped for lane in self._lanes.values())

    def before_fork(self) -> None:
        """Let a reading of metrics end: it holds locks of the SDK that would stay locked in the child."""
        self._collecting.acquire(timeout=_LONGEST_WAIT_BEFORE_FORK)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._collecting.locked():
            self._collecting.release()

    def after_fork_in_child(self) -> None:
        """Start afresh: nothing of the parent's is sent again, and no lock or connection of its is touched."""
        if self._closed:
            return
        self._delivery.reset()
        self._open.inherit()
        self._begin_afresh()
        self.start()


_ITEMS = {"traces": "spans", "logs": "log records", "metrics": "metric points"}
_LONGEST_WAIT_BEFORE_FORK = 0.5

_rooms: weakref.WeakSet[Room] = weakref.WeakSet()


def _for_each_room(act: Callable[[Room], None]) -> Callable[[], None]:
    def hook() -> None:
        for room in list(_rooms):
            with guarded("forking"):
                act(room)

    return hook


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_for_each_room(Room.before_fork),
        after_in_parent=_for_each_room(Room.after_fork_in_parent),
        after_in_child=_for_each_room(Room.after_fork_in_child),
    )
