"""The `metrics` object: instruments by name, made once and shared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar, cast

from tldr_observability import semconv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation, UpDownCounter, _Gauge

__all__ = ["Metrics"]

_T = TypeVar("_T")
# https://opentelemetry.io/docs/specs/otel/metrics/api/#instrument-name-syntax
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")


class Metrics:
    """Makes OpenTelemetry instruments; asking for the same name again gives the same instrument.

    Instruments may be made before `setup()`: they begin to record when the providers are there. Names are dotted lower
    case, units UCUM (`s`, `By`, `{order}`).

    Raises:
        ValueError: a name is not one of OpenTelemetry's, or was asked for before with another kind or unit.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[tuple[str, str], object]] = {}
        self._meters: list[Meter] = []

    def counter(self, name: str, *, unit: str = "1", description: str = "") -> Counter:
        """A sum that only grows: `metrics.counter("orders.placed", unit="{order}").add(1, {"shop": "north"})`."""
        return self._get("counter", name, unit, lambda m: m.create_counter(name, unit=unit, description=description))

    def up_down_counter(self, name: str, *, unit: str = "1", description: str = "") -> UpDownCounter:
        """A sum that grows and shrinks, such as the number of open connections."""
        return self._get(
            "up_down_counter", name, unit, lambda m: m.create_up_down_counter(name, unit=unit, description=description)
        )

    def histogram(self, name: str, *, unit: str = "1", description: str = "") -> Histogram:
        """A distribution of values, such as durations in seconds."""
        return self._get(
            "histogram", name, unit, lambda m: m.create_histogram(name, unit=unit, description=description)
        )

    def gauge(self, name: str, *, unit: str = "1", description: str = "") -> _Gauge:
        """A value that is what it was last set to, such as a temperature."""
        return self._get("gauge", name, unit, lambda m: m.create_gauge(name, unit=unit, description=description))

    def register_callback(
        self,
        name: str,
        callback: Callable[[CallbackOptions], Iterable[Observation]],
        *,
        unit: str = "1",
        description: str = "",
    ) -> None:
        """Have a gauge's value asked for at each collection instead of set: `callback` returns its observations."""
        if name in self._made:
            raise ValueError(f"metric {name!r} exists already; a callback of its own needs a name of its own")
        self._get(
            "observable_gauge",
            name,
            unit,
            lambda m: m.create_observable_gauge(name, callbacks=[callback], unit=unit, description=description),
        )

    def _get(self, kind: str, name: str, unit: str, make: Callable[[Meter], _T]) -> _T:
        from opentelemetry.metrics import get_meter  # not at import: it would add to the price of importing the package

        shape = (kind, unit)
        if name not in self._made:
            if not _NAME.fullmatch(name):
                raise ValueError(f"metric name {name!r}: expected a letter, then up to 254 letters, digits, _ . - or /")
            meter = get_meter(semconv.SCOPE_NAME)
            self._meters.append(meter)  # Logfire's provider knows its meters weakly, and instruments by their meters
            self._made[name] = (shape, make(meter))
        made_shape, instrument = self._made[name]
        if made_shape != shape:
            raise ValueError(
                f"metric {name!r} is a {made_shape[0]} in {made_shape[1]!r} already, not a {kind} in {unit!r}"
            )
        return cast("_T", instrument)
