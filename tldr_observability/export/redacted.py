"""Telemetry without secrets: spans, log records and readings of metrics, in front of all that sends or prints.

A finished span is redacted when somebody first reads it, which is the exporter's thread and not the host's. A log
record is redacted where it is emitted. A metric's attributes are redacted in each reading, and series that differ in
nothing but a secret stay apart by `tldr.redacted`, a number that means nothing outside of this process.

What an attribute was withheld for is taken out of the item's other texts as well: Logfire writes the values of
`logfire.info("hello {password}", password=...)` into the message, where no name tells of them.
"""

from __future__ import annotations

import operator
import secrets as random
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from tldr_observability import guard, semconv
from tldr_observability.export.redacted_span import RedactedSpan, redact
from tldr_observability.export.withheld import bounded, withheld, without
from tldr_observability.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics
    from opentelemetry.sdk.trace import Span

    class Rules(Protocol):
        """What decides: `tldr_observability.redaction.Redactor`."""

        def attribute(self, key: str, value: Any) -> Any: ...
        def text(self, text: str) -> str: ...


__all__ = ["RedactingLogProcessor", "RedactingSpanProcessor", "Redaction"]

_SALT = random.token_bytes(16)
_MOST_RESOURCES = 16
_MOST_REMEMBERED = 10_000


class Redaction:
    """Applies rules to OpenTelemetry's objects. Where the rules fail, nothing of the object's content is left.

    Args:
        rules: what is a secret.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._resources: dict[int, tuple[Resource, Resource]] = {}

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give the redacted attributes; None where there is no secret in them."""
        changed = {}
        for key, value in attributes.items():
            clean = self._rules.attribute(key, value)
            if clean is not value and clean != value:
                changed[key] = clean
        return {**attributes, **changed} if changed else None

    def text(self, text: str, secrets: Iterable[str] = ()) -> str:
        """A name, message or description without secrets, and without these either."""
        for secret in secrets:
            text = text.replace(secret, REDACTED)
        return self._rules.text(text)

    def resource(self, resource: Resource) -> Resource:
        """A resource without secrets; they come from OTEL_RESOURCE_ATTRIBUTES and from command lines."""
        known = self._resources.get(id(resource))  # its own hash is made of all its attributes, each time
        if known is None:
            clean = self.attributes(resource.attributes)
            known = (resource, resource if clean is None else Resource(clean, resource.schema_url))
            if len(self._resources) >= _MOST_RESOURCES:
                self._resources.clear()
            self._resources[id(resource)] = known
        return known[1]

    def span(self, span: ReadableSpan, secrets: Collection[str] = ()) -> ReadableSpan:
        """The same finished span, redacted when it is first read.

        Args:
            span: is changed.
            secrets: texts that were withheld when it began.
        """
        if type(span) is ReadableSpan:
            span.__class__ = RedactedSpan
            span._redaction = self  # type: ignore[attr-defined]  # noqa: SLF001 - its class is ours by now
            span._secrets = secrets  # type: ignore[attr-defined]  # noqa: SLF001
        elif not isinstance(span, RedactedSpan):
            redact(span, self, secrets)
        return span

    def log(self, log: ReadWriteLogRecord) -> None:
        """Redact a log record in place."""
        record = log.log_record
        log.resource = self.resource(log.resource) if log.resource else log.resource
        secrets: Collection[str] = ()
        if record.attributes and (clean := self.attributes(record.attributes)) is not None:
            secrets = withheld(record.attributes, clean)
            record.attributes = bounded(without(clean, secrets), record.attributes)
        body: Any = record.body
        record.body = self.text(body, secrets) if isinstance(body, str) else self._rules.attribute("", body)
        record.event_name = self.text(record.event_name) if record.event_name else record.event_name

    def metrics(self, data: MetricsData) -> MetricsData:
        """A reading of metrics without secrets in its attributes."""
        return replace(data, resource_metrics=[self._resource_metrics(each) for each in data.resource_metrics])

    def _resource_metrics(self, metrics: ResourceMetrics) -> ResourceMetrics:
        return replace(
            metrics,
            resource=self.resource(metrics.resource),
            scope_metrics=[
                replace(scope, metrics=[self._metric(metric) for metric in scope.metrics])
                for scope in metrics.scope_metrics
            ],
        )

    def _metric(self, metric: Metric) -> Metric:
        data: Any = metric.data
        points = [self._point(point) for point in data.data_points]
        said = self.text(metric.description or "")
        if said == (metric.description or "") and all(map(operator.is_, points, data.data_points)):
            return metric
        changed: Metric = replace(metric, description=said, data=replace(data, data_points=points))
        return changed

    def _point(self, point: Any) -> Any:
        clean = self.attributes(point.attributes or {})
        exemplars = [self._exemplar(each) for each in point.exemplars or ()]
        if clean is None and all(new is old for new, old in zip(exemplars, point.exemplars or (), strict=True)):
            return point
        if clean is not None:
            clean[semconv.TLDR_REDACTED] = _mark(point.attributes, clean)
        return replace(point, attributes=point.attributes if clean is None else clean, exemplars=exemplars)

    def _exemplar(self, exemplar: Any) -> Any:
        clean = self.attributes(exemplar.filtered_attributes or {})
        return exemplar if clean is None else replace(exemplar, filtered_attributes=clean)


class RedactingSpanProcessor(SpanProcessor):
    """Redacts every span for the processors that come after this one.

    Args:
        redaction: the rules.
        at_start: redact at the start as well, for a console that prints spans when they begin.
    """

    def __init__(self, redaction: Redaction, *, at_start: bool) -> None:
        self._redaction = redaction
        self._at_start = at_start
        self._secrets: dict[int, Collection[str]] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Redact what the span begins with, where somebody shows it."""
        if not self._at_start:
            return
        with guard.guarded("redacting a span's start"):
            secrets: Collection[str] = ()
            if span.attributes and (clean := self._redaction.attributes(span.attributes)) is not None:
                secrets = withheld(span.attributes, clean)
                span.set_attributes(without(clean, secrets))
                if secrets and len(self._secrets) < _MOST_REMEMBERED:
                    self._secrets[span.context.span_id] = secrets
            name = self._redaction.text(span.name, secrets)
            if name != span.name:
                span.update_name(name)

    def on_end(self, span: ReadableSpan) -> None:
        """Have the span redacted when it is read."""
        with guard.guarded("redacting a span"):
            secrets = self._secrets.pop(span.context.span_id, ()) if self._secrets else ()
            self._redaction.span(span, secrets)


class RedactingLogProcessor(LogRecordProcessor):
    """Redacts every log record for the processors that come after this one.

    Args:
        redaction: the rules.
    """

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Redact the record."""
        try:
            self._redaction.log(log_record)
        except Exception as error:  # noqa: BLE001 - closed: what can't be looked through doesn't leave
            log_record.log_record.body = REDACTED
            log_record.log_record.attributes = {}
            guard.report("redacting a log record", error)

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing to flush."""
        return True


def _mark(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Tell series apart whose difference was redacted; keyed, so that nobody can try out secrets."""
    secret = repr(sorted((key, value) for key, value in before.items() if after[key] != value))
    mark: str = blake2b(secret.encode("utf-8", "replace"), digest_size=4, key=_SALT).hexdigest()
    return mark
