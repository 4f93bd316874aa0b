"""What OpenTelemetry knows of a metric: one instrument of its own, whoever in this process records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tldr_observability.instruments.instrument import Histogram, Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions, Meter, Observation

    from tldr_observability.catalogue.spec import MetricSpec
    from tldr_observability.instruments.instrument import Instrument

__all__ = ["Outlet"]

_INT64: Final = 2**63


class Outlet:
    """Makes the OpenTelemetry instrument of a metric and tells it what the attached instruments hold.

    Sums and gauges are asked for by each reader (an observable instrument), so that each has a state of its own.

    Args:
        meter: of the provider that the readers are on.
        spec: what the metric is.
        name: under which it is exported.
    """

    def __init__(self, meter: Meter, spec: MetricSpec, name: str) -> None:
        from opentelemetry.metrics import Observation  # not at import: it would add to the price of the package's

        self._observation = Observation
        self._sources: list[Observed[Any]] = []
        options: dict[str, Any] = {"unit": spec.unit, "description": spec.description}
        # Kept, for Logfire's provider knows its meters weakly, and their instruments too.
        self._kept: tuple[Meter, Any]
        if spec.kind == "histogram":
            bounds = spec.bounds
            self._kept = meter, meter.create_histogram(name, explicit_bucket_boundaries_advisory=bounds, **options)
            return
        create: Callable[..., object] = {
            "counter": meter.create_observable_counter,
            "up-down counter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }[spec.kind]
        self._kept = meter, create(name, callbacks=[self._observe], **options)

    def attach(self, instrument: Instrument[Any]) -> None:
        """Export what an instrument holds, from now on."""
        if isinstance(instrument, Histogram):
            instrument.recorder = self._kept[1].record
        elif isinstance(instrument, Observed):
            self._sources.append(instrument)

    def detach(self, instrument: Instrument[Any]) -> None:
        """Stop; a histogram is to be attached elsewhere next."""
        if instrument in self._sources:
            self._sources.remove(instrument)

    def _observe(self, options: CallbackOptions) -> Iterator[Observation]:
        for source in tuple(self._sources):
            if source.is_on:
                for value, attributes in source.observations(options):
                    is_large = isinstance(value, int) and not -_INT64 <= value < _INT64  # for OTLP
                    yield self._observation(float(value) if is_large else value, attributes)
