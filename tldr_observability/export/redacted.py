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

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, Status

from tldr_observability import guard, semconv

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics
    from opentelemetry.sdk.trace import Span

    class Rules(Protocol):
        """What decides: `tldr_observability.redaction.Redactor`."""

        def attribute(self, key: str, value: Any) -> Any: ...
        def text(self, text: str) -> str: ...


__all__ = ["RedactedSpan", "RedactingLogProcessor", "RedactingSpanProcessor", "Redaction"]

_WITHHELD = "[redacted]"
_SALT = random.token_bytes(16)
_MOST_RESOURCES = 16
_MOST_REMEMBERED = 10_000
_SHORTEST_SECRET = 4


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
            text = text.replace(secret, _WITHHELD)
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
            _redact(span, self, secrets)
        return span

    def log(self, log: ReadWriteLogRecord) -> None:
        """Redact a log record in place."""
        record = log.log_record
        log.resource = self.resource(log.resource) if log.resource else log.resource
        secrets: Collection[str] = ()
        if record.attributes and (clean := self.attributes(record.attributes)) is not None:
            secrets = _withheld(record.attributes, clean)
            record.attributes = _bounded(_without(clean, secrets), record.attributes)
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


class RedactedSpan(ReadableSpan):
    """A finished span that takes its secrets out when it is first read, on the reader's thread."""

    _redaction: Redaction | None
    _secrets: Collection[str]

    def _clean(self) -> None:
        redaction = self._redaction
        if redaction is not None:  # two threads may do it at once: both come to the same
            _redact(self, redaction, self._secrets)
            self._redaction = None

    @property
    def name(self) -> str:
        """The name."""
        self._clean()
        return super().name

    @property
    def attributes(self) -> Any:
        """The attributes."""
        self._clean()
        return super().attributes

    @property
    def events(self) -> Sequence[Event]:
        """The events."""
        self._clean()
        return super().events

    @property
    def links(self) -> Sequence[Link]:
        """The links."""
        self._clean()
        return super().links

    @property
    def status(self) -> Status:
        """The status."""
        self._clean()
        return super().status

    @property
    def resource(self) -> Resource:
        """The resource."""
        self._clean()
        return super().resource

    def to_json(self, indent: int | None = 4) -> str:
        """The span as JSON."""
        self._clean()
        said: str = super().to_json(indent)
        return said


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
                secrets = _withheld(span.attributes, clean)
                span.set_attributes(_without(clean, secrets))
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
            log_record.log_record.body = _WITHHELD
            log_record.log_record.attributes = {}
            guard.report("redacting a log record", error)

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing to flush."""
        return True


def _redact(span: Any, redaction: Redaction, known: Collection[str]) -> None:
    """Redact a finished span in place; its counts of dropped attributes, events and links stay."""
    try:
        before = span._attributes or {}  # noqa: SLF001 - the fields of OpenTelemetry's ReadableSpan, here and below
        attributes = redaction.attributes(before)
        secrets = {*known, *(_withheld(before, attributes) if attributes is not None else ())}
        if secrets:
            attributes = _without(attributes if attributes is not None else before, secrets)
        name = redaction.text(span._name, secrets)  # noqa: SLF001
        events = [_event(event, redaction, secrets) for event in span._events]  # noqa: SLF001
        links = [_link(link, redaction) for link in span._links]  # noqa: SLF001
        status = _status(span._status, redaction, secrets)  # noqa: SLF001
        resource = redaction.resource(span._resource)  # noqa: SLF001
    except Exception as error:  # noqa: BLE001 - closed: what can't be looked through doesn't leave
        name, attributes, events, links = _WITHHELD, {}, [], []
        status, resource = Status(span._status.status_code), Resource.get_empty()  # noqa: SLF001
        guard.report("redacting a span", error)
    span._name, span._status, span._resource = name, status, resource  # noqa: SLF001
    if attributes is not None:
        span._attributes = _bounded(attributes, span._attributes)  # noqa: SLF001
    span._events = _like(events, span._events)  # noqa: SLF001
    span._links = _like(links, span._links)  # noqa: SLF001


def _event(event: Event, redaction: Redaction, secrets: Collection[str]) -> Event:
    name = redaction.text(event.name, secrets)
    clean = redaction.attributes(event.attributes or {})
    if secrets:
        clean = _without(clean or event.attributes or {}, secrets)
    if clean is None and name == event.name:
        return event
    attributes = event.attributes if clean is None else _bounded(clean, event.attributes)
    return Event(name, attributes, event.timestamp)


def _link(link: Link, redaction: Redaction) -> Link:
    clean = redaction.attributes(link.attributes or {})
    return link if clean is None else Link(link.context, _bounded(clean, link.attributes))


def _status(status: Status, redaction: Redaction, secrets: Collection[str]) -> Status:
    said = status.description
    clean = redaction.text(said, secrets) if said else said
    return status if clean == said else Status(status.status_code, clean)


def _bounded(attributes: Mapping[str, Any], before: Any) -> BoundedAttributes:
    """Attributes that remember how many were dropped, as the ones before them did."""
    after = BoundedAttributes(attributes=dict(attributes), immutable=False, extended_attributes=True)
    after.dropped = getattr(before, "dropped", 0)
    return after


def _withheld(before: Mapping[str, Any], after: Mapping[str, Any]) -> Collection[str]:
    """The texts that were withheld whole, and are long enough to be told from any other word."""
    return {
        value
        for key, value in before.items()
        if after[key] == _WITHHELD and isinstance(value, str) and len(value) >= _SHORTEST_SECRET and value != _WITHHELD
    }


def _without(attributes: Mapping[str, Any], secrets: Collection[str]) -> dict[str, Any]:
    """The attributes with these texts taken out of every other text."""
    clean = dict(attributes)
    for key, value in attributes.items():
        if isinstance(value, str):
            for secret in secrets:
                if secret in value:
                    clean[key] = value = value.replace(secret, _WITHHELD)  # noqa: PLW2901 - one after the other
    return clean


def _like(items: list[Any], before: Any) -> Any:
    if len(items) == len(before) and all(new is old for new, old in zip(items, before, strict=True)):
        return before
    after: BoundedList[Any] = BoundedList.from_seq(max(len(items), 1), items)
    after.dropped = getattr(before, "dropped", 0)
    return after


def _mark(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Tell series apart whose difference was redacted; keyed, so that nobody can try out secrets."""
    secret = repr(sorted((key, value) for key, value in before.items() if after[key] != value))
    mark: str = blake2b(secret.encode("utf-8", "replace"), digest_size=4, key=_SALT).hexdigest()
    return mark
