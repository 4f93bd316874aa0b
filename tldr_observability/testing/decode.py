"""OTLP request bodies, protobuf or JSON, as plain values."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from google.protobuf import json_format  # type: ignore[import-untyped] # its stubs are a package apart
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tldr_observability.testing.telemetry import Event, Link, Log, Metric, Point, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
    from opentelemetry.proto.logs.v1 import logs_pb2
    from opentelemetry.proto.metrics.v1 import metrics_pb2
    from opentelemetry.proto.trace.v1 import trace_pb2

__all__ = ["REQUESTS", "Batch", "decode"]

REQUESTS: dict[str, type[Any]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")
_TEMPORALITIES: tuple[Literal["delta", "cumulative"] | None, ...] = (None, "delta", "cumulative")
_HEX_FIELDS = frozenset({"traceId", "spanId", "parentSpanId"})


class Batch(NamedTuple):
    """What one request carried; two of the three are empty."""

    spans: list[Span]
    logs: list[Log]
    metrics: list[Metric]

    @property
    def items(self) -> int:
        """The spans, log records or metric points, as OTLP counts them."""
        return len(self.spans) + len(self.logs) + sum(len(metric.points) for metric in self.metrics)


def decode(path: str, body: bytes, *, as_json: bool) -> Batch:
    """The values of a request body; raises ValueError where it is not OTLP.

    Args:
        path: one of `REQUESTS`.
        body: without content encoding.
        as_json: OTLP/JSON rather than protobuf.
    """
    request = REQUESTS[path]()
    try:
        if as_json:
            json_format.ParseDict(_with_base64_ids(json.loads(body)), request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
        return _batch(request)
    except Exception as error:
        raise ValueError(f"not an OTLP body for {path}: {error}") from error


def _batch(request: object) -> Batch:
    if isinstance(request, ExportTraceServiceRequest):
        return Batch(list(_spans(request)), [], [])
    if isinstance(request, ExportLogsServiceRequest):
        return Batch([], list(_logs(request)), [])
    return Batch([], [], list(_metrics(cast("ExportMetricsServiceRequest", request))))


def _with_base64_ids(node: Any) -> Any:
    """Turn the ids from hex, which OTLP/JSON has, into the base64 of protobuf's own JSON mapping."""
    if isinstance(node, list):
        return [_with_base64_ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode() if key in _HEX_FIELDS else _with_base64_ids(value)
        for key, value in node.items()
    }


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield _span(span, resource, scoped.scope)


def _span(span: trace_pb2.Span, resource: dict[str, Any], scope: InstrumentationScope) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        kind=_KINDS[span.kind],
        attributes=_attributes(span.attributes),
        events=[Event(event.name, _attributes(event.attributes), event.time_unix_nano) for event in span.events],
        links=[Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links],
        status=_STATUSES[span.status.code],
        status_message=span.status.message,
        start_time_ns=span.start_time_unix_nano,
        end_time_ns=span.end_time_unix_nano,
        resource=resource,
        scope_name=scope.name,
        scope_version=scope.version,
        flags=span.flags,
        trace_state=span.trace_state,
    )


def _logs(request: ExportLogsServiceRequest) -> Iterator[Log]:
    for group in request.resource_logs:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_logs:
            for record in scoped.log_records:
                yield _log(record, resource, scoped.scope.name)


def _log(record: logs_pb2.LogRecord, resource: dict[str, Any], scope_name: str) -> Log:
    return Log(
        body=_value(record.body),
        severity_text=record.severity_text,
        severity_number=record.severity_number,
        event_name=record.event_name,
        attributes=_attributes(record.attributes),
        trace_id=record.trace_id.hex() or None,
        span_id=record.span_id.hex() or None,
        time_ns=record.time_unix_nano or record.observed_time_unix_nano,
        resource=resource,
        scope_name=scope_name,
    )


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[Metric]:
    for group in request.resource_metrics:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                yield _metric(metric, resource, scoped.scope.name)


def _metric(metric: metrics_pb2.Metric, resource: dict[str, Any], scope_name: str) -> Metric:
    kind: str = metric.WhichOneof("data") or "gauge"
    data = getattr(metric, kind)
    if kind == "sum":
        kind = "counter" if data.is_monotonic else "up_down_counter"
    return Metric(
        name=metric.name,
        unit=metric.unit,
        description=metric.description,
        kind=kind,
        temporality=_TEMPORALITIES[getattr(data, "aggregation_temporality", 0)],
        points=[_point(point, kind) for point in data.data_points],
        resource=resource,
        scope_name=scope_name,
    )


def _point(point: Any, kind: str) -> Point:
    own: dict[str, Any] = {}
    if kind in ("counter", "up_down_counter", "gauge"):
        which = point.WhichOneof("value")
        own["value"] = which and getattr(point, which)
    else:
        own["count"] = point.count
        own["sum"] = point.sum
    if kind in ("histogram", "exponential_histogram"):
        own |= {name: getattr(point, name) if point.HasField(name) else None for name in ("sum", "min", "max")}
    if kind == "histogram":
        own |= {"bounds": list(point.explicit_bounds), "bucket_counts": list(point.bucket_counts)}
    if kind == "exponential_histogram":
        own |= {
            "scale": point.scale,
            "zero_count": point.zero_count,
            "zero_threshold": point.zero_threshold,
            "positive_offset": point.positive.offset,
            "positive_counts": list(point.positive.bucket_counts),
            "negative_offset": point.negative.offset,
            "negative_counts": list(point.negative.bucket_counts),
        }
    return Point(
        attributes=_attributes(point.attributes),
        start_time_ns=point.start_time_unix_nano,
        time_ns=point.time_unix_nano,
        **own,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)
