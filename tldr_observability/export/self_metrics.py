"""The room's own numbers as metrics, under the names that OpenTelemetry has for them.

Source of the names: https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability.catalogue import telemetry
from tldr_observability.export.queue_lane import QUEUE_LIMIT
from tldr_observability.instruments import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tldr_observability.export.room import Room

    Told = Iterator[tuple[float, dict[str, object]]]

__all__ = ["register"]

_NEVER_QUEUED = "queue_full"
_stops: list[Callable[[], None]] = []


def register(rooms: Callable[[], Iterable[Room]]) -> None:
    """Have each collection of metrics report the rooms' queues, exports and drops, and those of no earlier rooms.

    `otel.sdk.exporter.*.exported` counts what the backend has taken and, with `error.type`, what was given up and why;
    `otel.sdk.processor.*.processed` counts what was refused because the queue was full.
    """
    while _stops:
        _stops.pop()()
    for spec, signal, read in (
        (telemetry.SPANS_EXPORTED, "traces", _exported),
        (telemetry.LOGS_EXPORTED, "logs", _exported),
        (telemetry.POINTS_EXPORTED, "metrics", _exported),
        (telemetry.SPANS_PROCESSED, "traces", _processed),
        (telemetry.LOGS_PROCESSED, "logs", _processed),
        (telemetry.SPAN_QUEUE_SIZE, "traces", _waiting),
        (telemetry.LOG_QUEUE_SIZE, "logs", _waiting),
        (telemetry.SPAN_QUEUE_CAPACITY, "traces", _capacity),
        (telemetry.LOG_QUEUE_CAPACITY, "logs", _capacity),
    ):
        _stops.append(observe(spec, _of_each(rooms, signal, read)))


def _of_each(rooms: Callable[[], Iterable[Room]], signal: str, read: Callable[[Room, str], Told]) -> Callable[[], Told]:
    def callback() -> Told:
        for room in rooms():
            if signal in room.tallies:
                component = {"otel.component.type": "tldr_observability", "otel.component.name": room.destination.name}
                for value, attributes in read(room, signal):
                    yield value, {**component, **attributes}

    return callback


def _exported(room: Room, signal: str) -> Told:
    tally = room.tallies[signal]
    yield tally.exported, {}
    for reason, count in tally.drops().items():
        if reason != _NEVER_QUEUED:
            yield count, {"error.type": reason}


def _processed(room: Room, signal: str) -> Told:
    tally = room.tallies[signal]
    yield tally.accepted, {}
    if full := tally.drops().get(_NEVER_QUEUED):
        yield full, {"error.type": _NEVER_QUEUED}


def _waiting(room: Room, signal: str) -> Told:
    yield room.waiting()[signal], {}


def _capacity(_: Room, __: str) -> Told:
    yield QUEUE_LIMIT, {}
