"""A finished span that is redacted when somebody first reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, Status

from tldr_observability import guard
from tldr_observability.export.withheld import bounded, withheld, without
from tldr_observability.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tldr_observability.export.redacted import Redaction

__all__ = ["RedactedSpan", "redact"]


class RedactedSpan(ReadableSpan):
    """A finished span that takes its secrets out when it is first read, on the reader's thread."""

    _redaction: Redaction | None
    _secrets: Collection[str]

    def _clean(self) -> None:
        redaction = self._redaction
        if redaction is not None:  # two threads may do it at once: both come to the same
            redact(self, redaction, self._secrets)
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


def redact(span: Any, redaction: Redaction, known: Collection[str]) -> None:
    """Redact a finished span in place; its counts of dropped attributes, events and links stay."""
    try:
        before = span._attributes or {}  # noqa: SLF001 - the fields of OpenTelemetry's ReadableSpan, here and below
        attributes = redaction.attributes(before)
        secrets = {*known, *(withheld(before, attributes) if attributes is not None else ())}
        if secrets:
            attributes = without(attributes if attributes is not None else before, secrets)
        name = redaction.text(span._name, secrets)  # noqa: SLF001
        events = [_event(event, redaction, secrets) for event in span._events]  # noqa: SLF001
        links = [_link(link, redaction) for link in span._links]  # noqa: SLF001
        status = _status(span._status, redaction, secrets)  # noqa: SLF001
        resource = redaction.resource(span._resource)  # noqa: SLF001
    except Exception as error:  # noqa: BLE001 - closed: what can't be looked through doesn't leave
        name, attributes, events, links = REDACTED, {}, [], []
        status, resource = Status(span._status.status_code), Resource.get_empty()  # noqa: SLF001
        guard.report("redacting a span", error)
    span._name, span._status, span._resource = name, status, resource  # noqa: SLF001
    if attributes is not None:
        span._attributes = bounded(attributes, span._attributes)  # noqa: SLF001
    span._events = _like(events, span._events)  # noqa: SLF001
    span._links = _like(links, span._links)  # noqa: SLF001


def _event(event: Event, redaction: Redaction, secrets: Collection[str]) -> Event:
    name = redaction.text(event.name, secrets)
    clean = redaction.attributes(event.attributes or {})
    if secrets:
        clean = without(clean or event.attributes or {}, secrets)
    if clean is None and name == event.name:
        return event
    attributes = event.attributes if clean is None else bounded(clean, event.attributes)
    return Event(name, attributes, event.timestamp)


def _link(link: Link, redaction: Redaction) -> Link:
    clean = redaction.attributes(link.attributes or {})
    return link if clean is None else Link(link.context, bounded(clean, link.attributes))


def _status(status: Status, redaction: Redaction, secrets: Collection[str]) -> Status:
    said = status.description
    clean = redaction.text(said, secrets) if said else said
    return status if clean == said else Status(status.status_code, clean)


def _like(items: list[Any], before: Any) -> Any:
    if len(items) == len(before) and all(new is old for new, old in zip(items, before, strict=True)):
        return before
    after: BoundedList[Any] = BoundedList.from_seq(max(len(items), 1), items)
    after.dropped = getattr(before, "dropped", 0)
    return after
