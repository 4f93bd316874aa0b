"""Spans, log records and metric points as plain frozen values, and the few questions that tests ask of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tldr_observability._setup import Observability
    from tldr_observability.testing.receiver import OTLPReceiver

__all__ = ["Event", "Link", "Log", "Metric", "Point", "Span", "Telemetry", "matches", "total", "tree"]

Attributes = dict[str, Any]
"""Values are `str`, `int`, `float`, `bool`, `bytes`, None, and lists and dicts of these."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened within a span."""

    name: str
    attributes: Attributes
    time_ns: int


@dataclass(frozen=True, slots=True)
class Link:
    """A span's reference to another span; the ids are lower-case hex."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span as it was exported; ids are lower-case hex, `parent_id` is None for the first of a trace."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    kind: str
    """`internal`, `server`, `client`, `producer`, `consumer` or `unspecified`."""
    attributes: Attributes
    events: list[Event]
    links: list[Link]
    status: str
    """`unset`, `ok` or `error`."""
    status_message: str
    start_time_ns: int
    end_time_ns: int
    resource: Attributes
    scope_name: str
    scope_version: str
    flags: int
    trace_state: str

    @property
    def duration_seconds(self) -> float:
        """How long the span took."""
        return (self.end_time_ns - self.start_time_ns) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log record as it was exported; the ids are None outside of any span."""

    body: Any
    severity_text: str
    severity_number: int
    event_name: str
    attributes: Attributes
    trace_id: str | None
    span_id: str | None
    time_ns: int
    resource: Attributes
    scope_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One series of a metric in one export: `value` of a counter or gauge, the other numbers of a histogram."""

    attributes: Attributes
    start_time_ns: int
    time_ns: int
    value: float | None = None
    """An int where an int was exported."""
    count: int | None = None
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    bounds: list[float] = field(default_factory=list)
    bucket_counts: list[int] = field(default_factory=list)
    scale: int | None = None
    """The exponential histogram's; the six fields below are too."""
    zero_count: int | None = None
    zero_threshold: float | None = None
    positive_offset: int | None = None
    positive_counts: list[int] = field(default_factory=list)
    negative_offset: int | None = None
    negative_counts: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of one export, with its points."""

    name: str
    unit: str
    description: str
    kind: str
    """`counter`, `up_down_counter`, `gauge`, `histogram`, `exponential_histogram` or `summary`."""
    temporality: Literal["delta", "cumulative"] | None
    points: list[Point]
    resource: Attributes
    scope_name: str


def matches(attributes: Mapping[str, object], expected: Mapping[str, object]) -> bool:
    """Whether every expected attribute is there with that value; others may be there too."""
    return all(key in attributes and attributes[key] == value for key, value in expected.items())


def total(metrics: Iterable[Metric], name: str, attributes: Mapping[str, object] | None = None) -> float:
    """The sum over every export, process and series of a metric; a histogram contributes its counts.

    Delta points add up. Of a cumulative series or a gauge only the latest point counts.

    Args:
        metrics: what was exported.
        name: the metric's name; 0 when it was never exported.
        attributes: only series that carry these (and maybe more).
    """
    deltas: float = 0
    latest: dict[str, float] = {}
    for metric in metrics:
        if metric.name != name:
            continue
        for point in metric.points:
            if not matches(point.attributes, attributes or {}):
                continue
            amount = (point.value if point.count is None else point.count) or 0
            if metric.temporality == "delta":
                deltas += amount
            else:
                began = point.start_time_ns if metric.temporality else 0
                latest[repr((metric.resource, metric.scope_name, began, sorted(point.attributes.items())))] = amount
    return sum(latest.values(), start=deltas)


def tree(spans: Sequence[Span]) -> str:
    """The traces as text: a line a span, indented below its parent, in the order in which they began.

    A span whose parent is not among them stands at the margin.
    """
    known = {(span.trace_id, span.span_id) for span in spans}
    children: dict[tuple[str, str] | None, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_time_ns):
        parent = (span.trace_id, span.parent_id or "")
        children.setdefault(parent if parent in known else None, []).append(span)
    lines: list[str] = []
    waiting = [(0, span) for span in reversed(children.get(None, []))]
    while waiting:
        depth, span = waiting.pop()
        lines.append("  " * depth + span.name)
        waiting += [(depth + 1, child) for child in reversed(children.get((span.trace_id, span.span_id), []))]
    return "\n".join(lines)


class Telemetry:
    """What the program under test exported so far: each question flushes first, then reads the receiver.

    Attributes:
        observability: the handle of the `setup()` that the fixture made.
        receiver: the backend of this test; make it slow, refuse or hang to see how the program fares.
    """

    def __init__(self, observability: Observability, receiver: OTLPReceiver, *, flush_timeout: float = 5.0) -> None:
        self.observability = observability
        self.receiver = receiver
        self._flush_timeout = flush_timeout

    @property
    def spans(self) -> list[Span]:
        """The finished spans in the order of their arrival."""
        return self._flushed().spans

    @property
    def pending_spans(self) -> list[Span]:
        """The placeholders that announce open spans to Logfire's live view."""
        return self._flushed().pending_spans

    @property
    def logs(self) -> list[Log]:
        """The log records in the order of their arrival."""
        return self._flushed().logs

    @property
    def metrics(self) -> list[Metric]:
        """Every metric of every export; `total` adds them up."""
        return self._flushed().metrics

    def span(self, name: str) -> Span:
        """The only finished span of that name; an AssertionError names those there are."""
        spans = self.spans
        found = [span for span in spans if span.name == name]
        if len(found) != 1:
            names = sorted(span.name for span in spans)
            raise AssertionError(f"expected one span named {name!r}, found {len(found)} among {names}")
        return found[0]

    def total(self, name: str, /, attributes: Mapping[str, object] | None = None, **more: object) -> float:
        """The sum of a metric over its series with these attributes; dotted keys go in the mapping. See `total`."""
        return self._flushed().total(name, attributes, **more)

    def tree(self) -> str:
        """The finished spans as indented text. See `tree`."""
        return tree(self.spans)

    def clear(self) -> None:
        """Flush, then forget what was received, so that the next question is about what follows."""
        self._flushed().clear()

    def _flushed(self) -> OTLPReceiver:
        # A flush that fails is no error here: a test may have made the backend refuse.
        self.observability.flush(self._flush_timeout)
        return self.receiver
