"""From recorded items to the bytes of an OTLP request: OpenTelemetry's encoder, made safe against single bad items."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tldr_observability.export.tally import Tally

__all__ = ["Body", "Point", "encode", "points"]

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Before compression; Logfire's SDK stops at 5 MB and many collectors at 4 MiB."""

_COMPRESSION_LEVEL = 4  # nine tenths of the default's gain for half of its time on span data


class Body(NamedTuple):
    """One request, ready to send and to send again: the same bytes on each try, for backends that recognise them."""

    data: bytes
    """Compressed with gzip."""
    signal: str
    items: Sequence[Any]

    @property
    def size(self) -> int:
        """How many items it carries."""
        return len(self.items)

    def halves(self, tally: Tally) -> list[Body] | None:
        """The same items in two requests; None for a single one."""
        return _halves(self.signal, self.items, tally) if self.size > 1 else None


class Point(NamedTuple):
    """One metric point with where it belongs: what a reading of metrics is made of, and can be cut into."""

    of_resource: ResourceMetrics
    of_scope: ScopeMetrics
    of_metric: Metric
    value: Any


def points(data: MetricsData) -> list[Point]:
    """All points of a reading."""
    return [
        Point(of_resource, of_scope, of_metric, value)
        for of_resource in data.resource_metrics
        for of_scope in of_resource.scope_metrics
        for of_metric in of_scope.metrics
        for value in of_metric.data.data_points
    ]


def encode(signal: str, items: Sequence[Any], tally: Tally) -> list[Body]:
    """Encode items into as few requests as fit; what can't be sent is counted and left out."""
    try:
        data = _ENCODERS[signal](items).SerializeToString()
    except Exception:  # noqa: BLE001 - whatever a bad value does to the encoder, it costs only its own item
        data = None
    if data is not None and len(data) <= MAX_BODY_BYTES:
        return [Body(gzip.compress(data, _COMPRESSION_LEVEL, mtime=0), signal, items)]
    if len(items) == 1:
        tally.drop("unencodable" if data is None else "too_large")
        return []
    return _halves(signal, items, tally)


def _halves(signal: str, items: Sequence[Any], tally: Tally) -> list[Body]:
    middle = len(items) // 2
    return [*encode(signal, items[:middle], tally), *encode(signal, items[middle:], tally)]


def _encode_points(some: Sequence[Point]) -> Any:
    """Put points back to where they belong, and encode that."""
    tree: dict[int, dict[int, dict[int, list[Point]]]] = {}
    for point in some:
        scopes = tree.setdefault(id(point.of_resource), {})
        metrics = scopes.setdefault(id(point.of_scope), {})
        metrics.setdefault(id(point.of_metric), []).append(point)
    return encode_metrics(MetricsData([_resource_metrics(scopes) for scopes in tree.values()]))


def _resource_metrics(scopes: dict[int, dict[int, list[Point]]]) -> ResourceMetrics:
    some = next(iter(next(iter(scopes.values())).values()))[0]
    return replace(some.of_resource, scope_metrics=[_scope_metrics(metrics) for metrics in scopes.values()])


def _scope_metrics(metrics: dict[int, list[Point]]) -> ScopeMetrics:
    some = next(iter(metrics.values()))[0]
    return replace(some.of_scope, metrics=[_metric(group) for group in metrics.values()])


def _metric(group: list[Point]) -> Metric:
    metric: Any = group[0].of_metric
    rebuilt: Metric = replace(metric, data=replace(metric.data, data_points=[point.value for point in group]))
    return rebuilt


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "traces": encode_spans,
    "logs": encode_logs,
    "metrics": _encode_points,
}
