"""The `metrics` object: this package's own metrics by typed methods, and a service's own by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from tldr_observability import guard
from tldr_observability.catalogue.spec import CounterSpec, GaugeSpec, HistogramSpec, MetricSpec, UpDownCounterSpec
from tldr_observability.errors import ConfigurationError
from tldr_observability.instruments.business import BusinessMetrics
from tldr_observability.instruments.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.metrics import CallbackOptions, Observation

    from tldr_observability.instruments.cells import BoundCounter, BoundGauge, BoundHistogram, BoundUpDownCounter
    from tldr_observability.instruments.instrument import Counter, Gauge, Histogram, Instrument, UpDownCounter
    from tldr_observability.instruments.values import Value

__all__ = ["Metrics"]

S = TypeVar("S", bound=MetricSpec)


class Metrics(BusinessMetrics):
    """Records metrics: this package's own by the methods of `BusinessMetrics`, a service's own by its instruments.

    All may be used before `setup()`. What was counted by then is exported too; histograms begin to record when the
    providers are there. Nothing raises while recording: what can't be recorded is said once in the log.

    Args:
        registry: where the instruments are; by default one of its own.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry or Registry()
        self._recorders: dict[MetricSpec, Instrument[Any]] = {}

    def counter(
        self, name: str, *, unit: str = "1", description: str = "", attributes: Sequence[str] | None = None
    ) -> Counter:
        """A sum that only grows: `metrics.counter("orders.placed", unit="{order}").add(1, {"shop": "north"})`.

        Asking for the same name again gives the same instrument.

        Args:
            name: dotted lower case.
            unit: UCUM (`s`, `By`, `{order}`).
            description: one sentence.
            attributes: the keys that it may have; None for any.

        Raises:
            ConfigurationError: the name is not one of OpenTelemetry's, belongs to this package, or was asked for
                before with another kind or unit, or with other attributes or bounds.
        """
        made: Counter = self.declare(_own(CounterSpec, name, unit, description, attributes))
        return made

    def up_down_counter(
        self, name: str, *, unit: str = "1", description: str = "", attributes: Sequence[str] | None = None
    ) -> UpDownCounter:
        """A sum that grows and shrinks, such as the number of open connections; arguments as for `counter`."""
        made: UpDownCounter = self.declare(_own(UpDownCounterSpec, name, unit, description, attributes))
        return made

    def histogram(
        self,
        name: str,
        *,
        unit: str = "1",
        description: str = "",
        attributes: Sequence[str] | None = None,
        bounds: Sequence[float] | None = None,
    ) -> Histogram:
        """A distribution of values, such as durations in seconds; arguments as for `counter`.

        `bounds` are the upper bounds of the buckets, for readers without exponential histograms (Prometheus); those of
        a request's duration where the unit is `s` and none are given.
        """
        made: Histogram = self.declare(_own(HistogramSpec, name, unit, description, attributes, bounds))
        return made

    def gauge(
        self, name: str, *, unit: str = "1", description: str = "", attributes: Sequence[str] | None = None
    ) -> Gauge:
        """A value that is what it was last set to, such as a temperature; arguments as for `counter`."""
        made: Gauge = self.declare(_own(GaugeSpec, name, unit, description, attributes))
        return made

    def register_callback(
        self,
        name_or_spec: str | GaugeSpec | CounterSpec | UpDownCounterSpec,
        callback: Callable[[CallbackOptions], Iterable[Observation]],
        *,
        unit: str = "1",
        description: str = "",
    ) -> Callable[[], None]:
        """Have a value asked for at each collection instead of set: `callback` returns its observations.

        Args:
            name_or_spec: a name for a gauge of the service's own; or a metric of the catalogue.
            callback: what fails in it is logged once.
            unit: UCUM; of the catalogue's metrics it is known.
            description: one sentence; of the catalogue's metrics it is known.

        Returns:
            What stops asking. The same callback again is asked once.

        Raises:
            ConfigurationError: the name is wrong, or taken by a gauge that is set or has another callback.
        """
        if not callable(callback):
            raise ConfigurationError(f"register_callback: expected a function as callback, got {callback!r:.100}")
        instrument: Any
        if isinstance(name_or_spec, str):
            instrument = self._registry.ask(_own(GaugeSpec, name_or_spec, unit, description), callback)
        else:
            instrument = self._registry.manual(_asked_for(name_or_spec))
        stop: Callable[[], None] = instrument.ask(
            callback, lambda options: ((each.value, each.attributes) for each in callback(options))
        )
        return stop

    @overload
    def bind(self, spec: CounterSpec, **arguments: Value | None) -> BoundCounter: ...
    @overload
    def bind(self, spec: UpDownCounterSpec, **arguments: Value | None) -> BoundUpDownCounter: ...
    @overload
    def bind(self, spec: GaugeSpec, **arguments: Value | None) -> BoundGauge: ...
    @overload
    def bind(self, spec: HistogramSpec, **arguments: Value | None) -> BoundHistogram: ...

    def bind(self, spec: MetricSpec, **arguments: Value | None) -> Any:
        """One series of a metric of the catalogue, for hot paths: `metrics.bind(streams.STARTED, platform="twitch")`.

        Args:
            spec: the metric.
            arguments: its attributes, by the names that the facade's methods have for them.
        """
        if not isinstance(spec, MetricSpec):
            raise ConfigurationError(
                f"bind: expected a metric of tldr_observability.catalogue, got {type(spec).__name__}; "
                "a metric of your own is bound by its instrument: metrics.counter(...).bind({...})"
            )
        return self._registry.manual(spec).named(arguments)

    def declare(self, spec: MetricSpec) -> Any:
        """The instrument of a metric of the service's own, for the other parts of this package."""
        return self._registry.declare(spec)

    # What the typed methods are made of. `values` are in the order of the specification's attributes; None is absent.

    def _add(self, spec: CounterSpec | UpDownCounterSpec, amount: float, values: tuple[object, ...]) -> None:
        if (recorder := self._recorders.get(spec) or self._recorder(spec)) is not None:
            recorder.series.at(values).add(amount)

    def _record(self, spec: HistogramSpec, value: float, values: tuple[object, ...]) -> None:
        if (recorder := self._recorders.get(spec) or self._recorder(spec)) is not None:
            recorder.series.at(values).record(value)

    def _set(self, spec: GaugeSpec, value: float, values: tuple[object, ...]) -> None:
        if (recorder := self._recorders.get(spec) or self._recorder(spec)) is not None:
            recorder.series.at(values).set(value)

    def _recorder(self, spec: MetricSpec) -> Instrument[Any] | None:
        try:
            recorder = self._recorders[spec] = self._registry.manual(spec)
        except Exception as error:  # noqa: BLE001 - the boundary: the host is recording, and not setting up
            guard.report("making an instrument", error)
            return None
        return recorder


def _asked_for(spec: MetricSpec) -> MetricSpec:
    if not isinstance(spec, MetricSpec) or spec.kind == "histogram":
        raise ConfigurationError(f"register_callback: expected a name or a gauge or counter, got {spec!r:.100}")
    return spec


def _own(kind: type[S], *fields: Any) -> S:
    from tldr_observability.instruments.own import own_spec  # not at import: a service may have none of its own

    return own_spec(kind, *fields)
