"""The request metrics: bounded, whatever the requests are."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tldr_observability.asgi.http_metrics import HttpMetrics
from tldr_observability.instruments.series import LIMIT


def test_the_number_of_series_is_bounded_and_the_total_exact():
    """Beyond 2,000 combinations requests are counted in OpenTelemetry's overflow series, and none is lost."""
    reader = InMemoryMetricReader()
    metrics = HttpMetrics(MeterProvider(metric_readers=[reader], shutdown_on_exit=False))
    for number in range(LIMIT + 50):
        metrics.answered(
            0.1, None, None, method="GET", scheme="http", version="1.1", route=f"/{number}", status=200, error_type=None
        )
    (resource_metrics,) = reader.get_metrics_data().resource_metrics
    (metric,) = resource_metrics.scope_metrics[0].metrics
    points = metric.data.data_points
    assert len(points) == LIMIT + 1
    assert sum(point.count for point in points) == LIMIT + 50
    (overflow,) = [point for point in points if point.attributes == {"otel.metric.overflow": True}]
    assert overflow.count == 50
