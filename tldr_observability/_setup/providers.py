"""OpenTelemetry's process-wide providers: whether the program has some already, and ours where it has none.

The only module of the runtime that imports `logfire`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import logfire
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk.metrics import MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import TracerProvider

from tldr_observability.export.destination import OTLP_ENDPOINT_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

    from tldr_observability.settings import ObservabilitySettings

__all__ = [
    "Host",
    "configure",
    "find_host",
    "flush_logfire",
    "join",
    "logfire_url",
    "pause_readings",
    "renew_reader",
    "resume_readings",
]

_VIEWS = (
    # opentelemetry-instrumentation-asgi reports the host header and the peer here, which an attacker can choose.
    View(
        instrument_type=UpDownCounter,
        instrument_name="http.server.active_requests",
        attribute_keys={"url.scheme", "http.scheme", "http.flavor", "http.method", "http.request.method"},
    ),
)

_LONGEST_READING_SECONDS = 0.5

_ours: TracerProvider | None = None


class Host(Enum):
    """Who had set up the process-wide providers when `setup()` ran."""

    NOBODY = "nobody"
    LOGFIRE_SENDING = "logfire.configure(), which sends"
    LOGFIRE_SILENT = "logfire.configure(), which does not send"
    OPENTELEMETRY = "an OpenTelemetry SDK TracerProvider"


def find_host() -> Host:
    """Look at the global tracer provider; providers of an earlier `setup()` count as nobody's."""
    provider: Any = trace.get_tracer_provider()
    if type(provider).__module__.startswith("logfire."):
        if provider.provider is _ours:
            return Host.NOBODY
        config = logfire.DEFAULT_LOGFIRE_INSTANCE.config
        sends = config.send_to_logfire is True or (config.send_to_logfire and config.token)
        return Host.LOGFIRE_SENDING if sends else Host.LOGFIRE_SILENT
    return Host.OPENTELEMETRY if isinstance(provider, TracerProvider) else Host.NOBODY


def configure(
    settings: ObservabilitySettings,
    *,
    span_processors: Sequence[SpanProcessor],
    log_processors: Sequence[LogRecordProcessor],
    metric_readers: Sequence[MetricReader],
) -> None:
    """Run `logfire.configure()` so that all that is recorded goes to these processors and readers and nowhere else."""
    global _ours  # noqa: PLW0603 - tells our providers from those of the program
    given = settings.model_fields_set
    with _hidden(OTLP_ENDPOINT_VARIABLES):
        logfire.configure(
            send_to_logfire=False,
            service_name=settings.service_name or settings.project_name,
            service_version=settings.service_version,
            environment=settings.environment if "environment" in given else None,
            resource_attributes={"service.namespace": settings.project_name} if settings.project_name else None,
            console=None if settings.console_enabled else False,
            additional_span_processors=span_processors,
            metrics=logfire.MetricsOptions(additional_readers=metric_readers, views=_VIEWS),
            scrubbing=False,  # ours comes before all processors, and before the console
            sampling=logfire.SamplingOptions(head=settings.sample_rate),
            min_level=settings.log_level,
            # Baggage comes from whoever sends a request: it is nobody's identity and no attribute.
            add_baggage_to_attributes=False,
            distributed_tracing=None if "LOGFIRE_DISTRIBUTED_TRACING" in os.environ else True,
            advanced=logfire.AdvancedOptions(log_record_processors=log_processors),
        )
    _ours = trace.get_tracer_provider().provider  # type: ignore[attr-defined]  # logfire's proxy


def join(
    span_processors: Sequence[SpanProcessor],
    log_processors: Sequence[LogRecordProcessor],
    metric_readers: Sequence[MetricReader],
) -> list[str]:
    """Add processors and readers to the providers that the program has set up; returns what it has no provider for."""
    missing = []
    traces: Any = trace.get_tracer_provider()
    for processor in reversed(span_processors):
        traces.add_span_processor(processor)
        _move_to_front(getattr(traces, "provider", traces), processor)
    logs: Any = _logs.get_logger_provider()
    if hasattr(logs, "add_log_record_processor"):
        for log_processor in reversed(log_processors):
            logs.add_log_record_processor(log_processor)
            _move_to_front(getattr(logs, "provider", logs), log_processor)
    else:
        missing.append("log records")
    meters = _meter_provider()
    if meters is not None:
        for reader in metric_readers:
            meters.add_metric_reader(reader)
    else:
        missing.append("metrics")
    return missing


def _move_to_front(provider: Any, processor: SpanProcessor | LogRecordProcessor) -> None:
    """Have `processor` see spans or records before the program's own exporters do, which take them as they stand.

    The SDK can only append. Should its private list be kept otherwise one day, what the program exports itself lacks
    the context and keeps its secrets, and nothing else.
    """
    for chain_name, list_name in (
        ("_active_span_processor", "_span_processors"),
        ("_multi_log_record_processor", "_log_record_processors"),
    ):
        chain: Any = getattr(provider, chain_name, None)
        known = getattr(chain, list_name, ())
        if isinstance(known, tuple) and known and known[-1] is processor:
            setattr(chain, list_name, (processor, *known[:-1]))


def renew_reader(old: MetricReader, new: MetricReader) -> None:
    """Replace a reader, in a forked child: the new one reports nothing of what the parent has counted."""
    meters = _meter_provider()
    if meters is not None:
        meters.remove_metric_reader(old)
        meters.add_metric_reader(new)


def pause_readings() -> bool:
    """Wait for a reading of the metrics to end and keep the next one from beginning; False when it takes too long.

    The SDK holds a lock while it reads, callbacks of the program's included. Should a fork happen meanwhile, whoever
    touches that lock in the child waits for ever. The lock is private; where there is none, nothing is promised.
    """
    lock = _reading_lock()
    return lock is not None and lock.acquire(timeout=_LONGEST_READING_SECONDS)


def resume_readings() -> None:
    """Undo `pause_readings`, after it answered True: in the parent and in the child."""
    lock = _reading_lock()
    if lock is not None:
        lock.release()


def _reading_lock() -> Any:
    return getattr(getattr(_meter_provider(), "_measurement_consumer", None), "_lock", None)


def _meter_provider() -> MeterProvider | None:
    provider: Any = metrics.get_meter_provider()
    inner = getattr(provider, "provider", provider)  # behind logfire's proxy
    return inner if isinstance(inner, MeterProvider) else None


def logfire_url(token: str) -> str:
    """The address of the Logfire region that a write token names."""
    return logfire.AdvancedOptions().generate_base_url(token)


def flush_logfire(timeout: float) -> bool:
    """Flush the pipeline of a program that configures Logfire itself."""
    return logfire.force_flush(int(timeout * 1000))


@contextmanager
def _hidden(variables: Sequence[str]) -> Iterator[None]:
    """Hide variables for a moment: for each OTLP endpoint Logfire would add an exporter beside ours."""
    kept = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
