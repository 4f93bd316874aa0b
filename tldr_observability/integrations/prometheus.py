"""Metrics for a Prometheus that scrapes: a reader beside the exporting one, and the ASGI application that shows them.

Histograms are in explicit buckets here, by the bounds that their instruments advise, whatever another reader makes of
them; everything is cumulative. Each process is a target of its own.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any

from tldr_observability import guard
from tldr_observability.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence

    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics.export import Metric, MetricsData, ScopeMetrics
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family
    from prometheus_client.core import Sample

    Redact = Callable[[MetricsData], MetricsData]
    Message = MutableMapping[str, Any]

__all__ = ["PrometheusEndpoint"]

_LONGEST_WAIT_SECONDS = 5.0
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_SCOPE = "otel.scope.name"

_logger = logging.getLogger("tldr_observability")


class PrometheusEndpoint:
    """What Prometheus needs of a process.

    Args:
        redact: is given each reading before anything is made of it.

    Attributes:
        reader: belongs on the meter provider; `renew` puts another in its place.
        app: the ASGI application that shows the metrics at whatever path it is mounted; always the same.

    Raises:
        MissingExtraError: the exporter is not installed.
    """

    reader: PrometheusMetricReader

    def __init__(self, redact: Redact = lambda data: data) -> None:
        self._redact = redact
        self.app = _App(self._page)
        self.renew()

    def renew(self) -> None:
        """Begin afresh, in a forked child: what the parent has counted is the parent's to report."""
        try:
            from prometheus_client import CollectorRegistry
        except ImportError:
            raise MissingExtraError("showing metrics to Prometheus", "prometheus") from None
        self._registry = CollectorRegistry()  # not the global one, where other libraries put theirs
        self.reader = _reader(self._redact, self._registry)
        self._scraping = threading.Lock()  # the old one may be held by a scrape of the parent's

    def _page(self, *, openmetrics: bool) -> bytes | None:
        """All metrics as they are now; None where other scrapes take too long."""
        from prometheus_client import generate_latest
        from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

        lock, metrics = self._scraping, _Encodable(self._registry)
        if not lock.acquire(timeout=_LONGEST_WAIT_SECONDS):
            return None
        try:
            generate: Any = generate_openmetrics if openmetrics else generate_latest
            page: bytes = generate(metrics)
        finally:
            lock.release()
        return page


class _App:
    """The ASGI application: an object and not a function, so that frameworks take it for a route as well.

    Args:
        page: makes the answer, in one of two formats.
    """

    def __init__(self, page: Callable[..., bytes | None]) -> None:
        self._page = page

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Any],
        send: Callable[[Message], Any],
    ) -> None:
        if scope["type"] == "http":
            status, headers, body = await self._answer(scope)
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        plain = [(b"content-type", b"text/plain; charset=utf-8")]
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, [*plain, (b"allow", b"GET, HEAD")], b"GET or HEAD\n"
        openmetrics = b"application/openmetrics-text" in _header(scope, b"accept")
        zipped = b"gzip" in _header(scope, b"accept-encoding")

        def body() -> bytes | None:
            try:
                page = self._page(openmetrics=openmetrics)
            except (Exception, KeyboardInterrupt):
                raise
            except BaseException as error:  # here and not where it is awaited: that may be cancelled by others
                raise RuntimeError("a callback of the program gave up the whole reading") from error
            return gzip.compress(page, compresslevel=5) if page and zipped else page

        try:
            page = await _in_thread(body)
        except Exception as error:  # noqa: BLE001 - the framework around has no part in it
            guard.report("collecting metrics for Prometheus", error)
            return 500, plain, b"the metrics could not be collected; the log says why\n"
        if page is None:
            return 503, [*plain, (b"retry-after", b"15")], b"an earlier scrape is still under way\n"
        headers = [(b"content-type", _OPENMETRICS if openmetrics else _TEXT), (b"vary", b"accept, accept-encoding")]
        if page and zipped:
            headers.append((b"content-encoding", b"gzip"))
        return 200, headers, page


class _Encodable:
    """The metrics of a registry, without characters that UTF-8 doesn't have, and each sample once.

    Attributes that differ may make labels that don't: `True` and "true", or an empty one and one that is absent. Their
    sums are added up; of gauges, which don't add up, the last is shown.

    Args:
        registry: collected each time.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        for family in self._registry.collect():
            samples: dict[tuple[str, ...], Sample] = {}
            for sample in family.samples:
                for label, value in sample.labels.items():
                    if not value.isascii():
                        sample.labels[label] = value.encode("utf-8", "replace").decode()
                key = (sample.name, *sample.labels.values())  # one family's samples have their labels in one order
                before = samples[key].value if key in samples and family.type != "gauge" else 0
                samples[key] = sample._replace(value=before + sample.value)
            family.samples = list(samples.values())
            yield family


def _reader(redact: Redact, registry: CollectorRegistry) -> PrometheusMetricReader:
    """OpenTelemetry's reader for Prometheus, given what it can present and collecting for scrapes only.

    The class is made here because its base is an extra.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
    except ImportError:
        raise MissingExtraError("showing metrics to Prometheus", "prometheus") from None
    told: set[str] = set()

    class Reader(PrometheusMetricReader):
        def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any) -> None:
            super()._receive_metrics(_presentable(redact(metrics_data), told), timeout_millis, **more)

        def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
            """Nothing is held back. A collection here would be shown twice in the next scrape."""
            return True

        def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
            """Leave the registry alone: nobody else has it, and in a forked child its lock may be held."""

    return Reader(scope_info_enabled=False, registry=registry)


def _presentable(data: MetricsData, told: set[str]) -> MetricsData:
    """The same reading as Prometheus can take it: one metric to a name.

    Metrics of several instrumentation scopes with one name become one, whose later scopes are told apart by a label.

    Args:
        data: what was read.
        told: the names of those metrics of which the log has said that they are left out.
    """
    return replace(
        data,
        resource_metrics=[
            replace(each, scope_metrics=_in_one_scope(each.scope_metrics, told)) for each in data.resource_metrics
        ],
    )


def _in_one_scope(scopes: Sequence[ScopeMetrics], told: set[str]) -> list[ScopeMetrics]:
    found: dict[str, Metric] = {}
    takers = dict.fromkeys(("target", "target_info"), "the resource")
    for scope in scopes:
        for metric in scope.metrics:
            if (why := _unfit(metric)) is not None:
                _tell(told, metric.name, why)
                continue
            names = _names(metric)
            first = found.get(names[0])
            if first is not None and first.name == metric.name and _kind(first) == _kind(metric):
                found[names[0]] = _joined(first, metric, scope.scope.name)
            elif clash := next((name for name in names if name in takers), None):
                _tell(told, metric.name, f"{takers[clash]} has the name {clash} there")
            else:
                found[names[0]] = metric
                takers.update(dict.fromkeys(names, f"{metric.name}, a {type(metric.data).__name__},"))
    return [replace(scopes[0], metrics=[_labelled(each) for each in found.values()])] if scopes else []


def _unfit(metric: Metric) -> str | None:
    """Why Prometheus can't have a metric; None where it can."""
    from opentelemetry.sdk.metrics.export import ExponentialHistogram, Histogram

    if isinstance(metric.data, ExponentialHistogram):
        return "it has exponential buckets, by a view of the program's own"
    if isinstance(metric.data, Histogram):
        is_fit = not any(isnan(point.sum) for point in metric.data.data_points)
    else:
        is_fit = not _kind(metric)[1] or all(point.value >= 0 for point in metric.data.data_points)
    return None if is_fit else "one of its sums is negative or not a number"


def _names(metric: Metric) -> list[str]:
    """All that OpenMetrics lets no other metric be called: the family's own name, then what its samples may have."""
    from opentelemetry.exporter.prometheus._mapping import map_unit, sanitize_full_name
    from opentelemetry.sdk.metrics.export import Histogram

    kind, is_counter = _kind(metric)
    name, unit, suffixes = sanitize_full_name(metric.name), map_unit(metric.unit or ""), []
    if kind is Histogram:
        suffixes = ["_bucket", "_count", "_sum", "_created"]
    elif is_counter:
        name, suffixes = name.removesuffix("_total"), ["_total", "_created"]
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    return [name, *(name + suffix for suffix in suffixes)]


def _kind(metric: Metric) -> tuple[type, bool]:
    return type(metric.data), getattr(metric.data, "is_monotonic", False)


def _labelled(metric: Metric) -> Metric:
    """A histogram as it was, whose label `le` is its bounds' alone and has always the same form."""
    from opentelemetry.sdk.metrics.export import Histogram

    if not isinstance(metric.data, Histogram):
        return metric
    points = [
        replace(
            point,
            explicit_bounds=[float(bound) for bound in point.explicit_bounds],
            attributes={
                "exported_le" if key == "le" else key: value for key, value in (point.attributes or {}).items()
            },
        )
        for point in metric.data.data_points
    ]
    labelled: Metric = replace(metric, data=replace(metric.data, data_points=points))
    return labelled


def _joined(first: Metric, other: Metric, scope: str) -> Metric:
    data: Any = first.data
    points = [replace(each, attributes={**(each.attributes or {}), _SCOPE: scope}) for each in other.data.data_points]
    joined: Metric = replace(first, data=replace(data, data_points=[*data.data_points, *points]))
    return joined


def _tell(told: set[str], name: str, why: str) -> None:
    if name not in told:
        told.add(name)
        _logger.warning("Prometheus is not shown the metric %s: %s.", name, why)


def _header(scope: Message, name: bytes) -> bytes:
    return b",".join(value for key, value in scope["headers"] if key.lower() == name).lower()


async def _in_thread(work: Callable[[], bytes | None]) -> bytes | None:
    """Run what may wait for the program's callbacks in a thread, where the event loop is asyncio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    return await asyncio.to_thread(work)
