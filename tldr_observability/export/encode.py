"""From recorded items to the bytes of an OTLP request: OpenTelemetry's encoder, made safe against single bad items."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.metrics.export import MetricsData

    from tldr_observability.export.tally import Tally

__all__ = ["Body", "encode", "encode_metrics_data"]

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Before compression; Logfire's SDK stops at 5 MB and many collectors at 4 MiB."""

_ENCODERS: dict[str, Callable[[Any], Any]] = {"traces": encode_spans, "logs": encode_logs}
_COMPRESSION_LEVEL = 4  # nine tenths of the default's gain for half of its time on span data


class Body(NamedTuple):
    """One request, ready to send and to send again: the same bytes on each try, for backends that recognise them."""

    data: bytes
    """Compressed with gzip."""
    size: int
    """How many items it carries, for the tally."""
    items: Sequence[Any] = ()
    """The items themselves, where the request can be split should the backend find it too large."""


def encode(signal: str, items: Sequence[Any], tally: Tally) -> list[Body]:
    """Encode spans or log records into as few requests as fit; what can't be sent is counted and left out."""
    try:
        data = _ENCODERS[signal](items).SerializeToString()
    except Exception:  # noqa: BLE001 - whatever a bad value does to the encoder, it costs only its own item
        if len(items) == 1:
            tally.drop("unencodable")
            return []
        return _halves(signal, items, tally)
    if len(data) <= MAX_BODY_BYTES:
        return [Body(_compress(data), len(items), items)]
    if len(items) == 1:
        tally.drop("too_large")
        return []
    return _halves(signal, items, tally)


def encode_metrics_data(data: MetricsData) -> Body | None:
    """Encode one collection of metrics; None when nothing was collected."""
    count = sum(
        len(metric.data.data_points)
        for resource_metrics in data.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    )
    return Body(_compress(encode_metrics(data).SerializeToString()), count) if count else None


def _halves(signal: str, items: Sequence[Any], tally: Tally) -> list[Body]:
    middle = len(items) // 2
    return [*encode(signal, items[:middle], tally), *encode(signal, items[middle:], tally)]


def _compress(data: bytes) -> bytes:
    return gzip.compress(data, _COMPRESSION_LEVEL, mtime=0)
