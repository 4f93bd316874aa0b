"""The package's own work, by OpenTelemetry's names: what waits, what was delivered, what was lost and why."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.spec import Attribute, CounterSpec, UpDownCounterSpec

_TYPE: Final = Attribute("otel.component.type", "component_type", "This package", values=("tldr_observability",))
_DESTINATION: Final = Attribute("otel.component.name", "component_name", "The destination")
_GIVEN_UP: Final = Attribute(
    "error.type",
    "error_type",
    "Why they were given up",
    values=("rejected", "too_large", "unencodable", "shutdown"),
    optional=True,
)
_REFUSED: Final = Attribute("error.type", "error_type", "Why they were refused", values=("queue_full",), optional=True)


def _exported(thing: str, unit: str) -> CounterSpec:
    return CounterSpec(
        f"otel.sdk.exporter.{thing}.exported",
        unit=unit,
        description="Items that left the process; with error.type: items given up",
        attributes=(_TYPE, _DESTINATION, _GIVEN_UP),
        owner="export",
    )


def _processed(thing: str, unit: str) -> CounterSpec:
    return CounterSpec(
        f"otel.sdk.processor.{thing}.processed",
        unit=unit,
        description="Items that passed the queue; with error.type: items that found it full",
        attributes=(_TYPE, _DESTINATION, _REFUSED),
        owner="export",
    )


def _queue(thing: str, unit: str, figure: str, description: str) -> UpDownCounterSpec:
    return UpDownCounterSpec(
        f"otel.sdk.processor.{thing}.queue.{figure}",
        unit=unit,
        description=description,
        attributes=(_TYPE, _DESTINATION),
        owner="export",
    )


SPANS_EXPORTED: Final = _exported("span", "{span}")
LOGS_EXPORTED: Final = _exported("log", "{log_record}")
POINTS_EXPORTED: Final = _exported("metric_data_point", "{data_point}")
SPANS_PROCESSED: Final = _processed("span", "{span}")
LOGS_PROCESSED: Final = _processed("log", "{log_record}")
SPAN_QUEUE_SIZE: Final = _queue("span", "{span}", "size", "Items that wait for delivery")
LOG_QUEUE_SIZE: Final = _queue("log", "{log_record}", "size", "Items that wait for delivery")
SPAN_QUEUE_CAPACITY: Final = _queue("span", "{span}", "capacity", "The most items that can wait")
LOG_QUEUE_CAPACITY: Final = _queue("log", "{log_record}", "capacity", "The most items that can wait")
