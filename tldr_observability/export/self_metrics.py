"""The room's own numbers as metrics, under the names that OpenTelemetry has for them.

Source of the names: https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from tldr_observability import semconv
from tldr_observability.export.queue_lane import QUEUE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tldr_observability.export.room import Room

__all__ = ["register"]

_SIGNALS = {
    "traces": ("span", "{span}"),
    "logs": ("log", "{log_record}"),
    "metrics": ("metric_data_point", "{data_point}"),
}
_NEVER_QUEUED = "queue_full"


def register(rooms: Callable[[], Iterable[Room]]) -> None:
    """Have each collection of metrics report the rooms' queues, exports and drops.

    `otel.sdk.exporter.*.exported` counts what the backend has taken and, with `error.type`, what was given up and why;
    `otel.sdk.processor.*.processed` counts what was refused because the queue was full.
    """
    meter = get_meter(semconv.SCOPE_NAME)
    for signal, (thing, unit) in _SIGNALS.items():
        meter.create_observable_counter(
            f"otel.sdk.exporter.{thing}.exported",
            [_observe(rooms, signal, _exported)],
            unit=unit,
            description="Items that left the process; with error.type: items given up.",
        )
        if signal == "metrics":
            continue
        meter.create_observable_counter(
            f"otel.sdk.processor.{thing}.processed",
            [_observe(rooms, signal, _processed)],
            unit=unit,
            description="Items that passed the queue; with error.type: items that found it full.",
        )
        meter.create_observable_up_down_counter(
            f"otel.sdk.processor.{thing}.queue.size",
            [_observe(rooms, signal, _waiting)],
            unit=unit,
            description="Items that wait for delivery.",
        )
        meter.create_observable_up_down_counter(
            f"otel.sdk.processor.{thing}.queue.capacity",
            [_observe(rooms, signal, _capacity)],
            unit=unit,
            description="The most items that can wait.",
        )


def _observe(
    rooms: Callable[[], Iterable[Room]],
    signal: str,
    read: Callable[[Room, str], Iterator[tuple[float, dict[str, str]]]],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def callback(_: CallbackOptions) -> Iterable[Observation]:
        for room in rooms():
            if signal in room.tallies:
                component = {"otel.component.type": "tldr_observability", "otel.component.name": room.destination.name}
                for value, attributes in read(room, signal):
                    yield Observation(value, {**component, **attributes})

    return callback


def _exported(room: Room, signal: str) -> Iterator[tuple[float, dict[str, str]]]:
    tally = room.tallies[signal]
    yield tally.exported, {}
    for reason, count in tally.drops().items():
        if reason != _NEVER_QUEUED:
            yield count, {"error.type": reason}


def _processed(room: Room, signal: str) -> Iterator[tuple[float, dict[str, str]]]:
    tally = room.tallies[signal]
    yield tally.accepted, {}
    if full := tally.drops().get(_NEVER_QUEUED):
        yield full, {"error.type": _NEVER_QUEUED}


def _waiting(room: Room, signal: str) -> Iterator[tuple[float, dict[str, str]]]:
    yield room.waiting()[signal], {}


def _capacity(_: Room, __: str) -> Iterator[tuple[float, dict[str, str]]]:
    yield QUEUE_LIMIT, {}
