"""What a metric is, as data: for whoever records it, draws it, alerts on it or documents it.

    STARTED = CounterSpec("tldr.stream.started", unit="{stream}", description="...", attributes=(PLATFORM, ...))

A specification needs no SDK and emits nothing. The instruments record by it, dashboards and alerts read it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

__all__ = ["Across", "Attribute", "CounterSpec", "GaugeSpec", "HistogramSpec", "MetricSpec", "UpDownCounterSpec"]

Across = Literal["sum", "max", "last"]
"""How the series of several processes add up to one figure of the service."""


class Attribute(NamedTuple):
    """A key by which a metric is told apart."""

    key: str
    """As it is exported: `tldr.platform`."""
    argument: str
    """What the facade and `bind` call it: `platform`."""
    description: str
    values: tuple[str, ...] = ()
    """The values that it can take; empty where the code base bounds them and not the specification."""
    optional: bool = False
    """Whether a series may go without it."""
    default: str | bool | float | None = None
    """What it is where `bind` isn't told."""


class MetricSpec:
    """One metric; immutable. Made as one of its four kinds.

    Args:
        name: dotted lower case, by OpenTelemetry's rules.
        unit: UCUM (`s`, `By`, `{stream}`).
        description: one sentence, without a full stop.
        attributes: what its series are told apart by.
        owner: the part of the package that records it by itself (`asgi`, `celery`, ...); `service` for what only the
            service can know and records through the facade.
        facade: the methods of `metrics` that record it by hand.
        across: how replicas add up.
        bounds: explicit upper bounds of the buckets, for readers without exponential histograms (Prometheus).
        is_open: it may have any attributes beside its own.
    """

    kind: str = ""

    __slots__ = ("across", "attributes", "bounds", "description", "facade", "is_open", "name", "owner", "unit")

    name: str
    unit: str
    description: str
    attributes: tuple[Attribute, ...]
    owner: str
    facade: tuple[str, ...]
    across: Across
    bounds: tuple[float, ...] | None
    is_open: bool

    def __init__(  # noqa: PLR0913 - a specification's fields, each for itself
        self,
        name: str,
        *,
        unit: str,
        description: str,
        attributes: tuple[Attribute, ...] = (),
        owner: str = "service",
        facade: tuple[str, ...] = (),
        across: Across = "sum",
        bounds: tuple[float, ...] | None = None,
        is_open: bool = False,
    ) -> None:
        for field, value in (
            ("name", name),
            ("unit", unit),
            ("description", description),
            ("attributes", attributes),
            ("owner", owner),
            ("facade", facade),
            ("across", across),
            ("bounds", bounds),
            ("is_open", is_open),
        ):
            object.__setattr__(self, field, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} {self.name!r} can't be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} {self.name!r} can't be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be copied, and sent to another process."""
        return _made, (type(self), {field: getattr(self, field) for field in MetricSpec.__slots__})

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} in {self.unit}>"


def _made(kind: type[MetricSpec], fields: dict[str, Any]) -> MetricSpec:
    return kind(**fields)


class CounterSpec(MetricSpec):
    """A sum that only grows."""

    kind = "counter"
    __slots__ = ()


class UpDownCounterSpec(MetricSpec):
    """A sum that grows and shrinks."""

    kind = "up-down counter"
    __slots__ = ()


class HistogramSpec(MetricSpec):
    """A distribution of values."""

    kind = "histogram"
    __slots__ = ()


class GaugeSpec(MetricSpec):
    """A value that is what it was last measured to be."""

    kind = "gauge"
    __slots__ = ()
