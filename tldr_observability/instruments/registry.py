"""The instruments of this process by name, and who owns which: one metric is recorded by one part."""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, overload
from weakref import WeakSet

from tldr_observability import semconv
from tldr_observability.errors import ConfigurationError
from tldr_observability.instruments import complaints
from tldr_observability.instruments.instrument import Counter, Gauge, Histogram, Observed, UpDownCounter, kind_of
from tldr_observability.instruments.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from tldr_observability.catalogue.spec import (
        CounterSpec,
        GaugeSpec,
        HistogramSpec,
        MetricSpec,
        UpDownCounterSpec,
    )
    from tldr_observability.instruments.instrument import Instrument

__all__ = ["MANUAL", "Registry", "automatic", "observe", "release", "reset", "shared"]

MANUAL: Final = ".manual"
"""Ends the name under which a metric is exported that was recorded by hand though a part of ours records it."""

_registries: WeakSet[Registry] = WeakSet()


class Registry:
    """The instruments of one meter provider.

    A metric may have two: what the host records by hand and what a part of this package records by itself. They share
    one name until that part claims it; from then on the host's goes by `NAME.manual`, handles made before included.

    Args:
        provider: None for OpenTelemetry's global one, which may be set later.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._provider = provider
        self._lock = RLock()
        self._outlets: dict[str, Outlet] = {}
        self._manual: dict[str, Instrument[Any]] = {}
        """By name in lower case: to OpenTelemetry's SDK, names that differ in case only are the same."""
        self._automatic: dict[str, Instrument[Any]] = {}
        self._claimed: set[str] = set()
        _registries.add(self)

    def declare(self, spec: MetricSpec) -> Instrument[Any]:
        """The instrument of a metric of the host's own, which is what it was declared to be before.

        Raises:
            ConfigurationError: it was declared to be something else, or to be asked for.
        """
        with self._lock:
            known = self._manual.get(spec.name.lower())
            if known is None:
                return self.manual(spec)
            _refuse_another(known.spec, spec)
            if isinstance(known, Observed) and known.is_asked:
                raise ConfigurationError(
                    f"metric {spec.name!r} exists already and has a callback; what is set needs a name of its own"
                )
            return known

    def ask(self, spec: MetricSpec, callback: Callable[[CallbackOptions], Any]) -> Observed[Any]:
        """The gauge of the host's own that only this callback tells.

        Raises:
            ConfigurationError: it is set already, or has another callback.
        """
        with self._lock:
            known = self._manual.get(spec.name.lower())
            made = self.manual(spec) if known is None else known
            _refuse_another(made.spec, spec)
            if not isinstance(made, Observed) or not (known is None or made.is_asked):
                raise ConfigurationError(
                    f"metric {spec.name!r} exists already and is set; a callback of its own needs a name of its own"
                )
            if made.callbacks and not made.has(callback):
                raise ConfigurationError(
                    f"metric {spec.name!r} exists already with another callback; stop that by what register_callback "
                    "returned for it, or choose another name"
                )
            made.is_asked = True
            return made

    def manual(self, spec: MetricSpec) -> Instrument[Any]:
        """The instrument by which the host records a metric."""
        with self._lock:
            instrument = self._manual.get(spec.name.lower())
            if instrument is None:
                instrument = kind_of(spec)(spec, is_custom=True)
                if spec.name in self._claimed and instrument.is_on:
                    self._say_who_owns(spec)
                self._outlet(spec, MANUAL if spec.name in self._claimed else "").attach(instrument)
                self._manual[spec.name.lower()] = instrument
            return instrument

    def automatic(self, spec: MetricSpec) -> Instrument[Any]:
        """The instrument by which a part of this package records a metric, which it owns from now on."""
        with self._lock:
            instrument = self._automatic.get(spec.name)
            if instrument is None:
                instrument = kind_of(spec)(spec)
                self._outlet(spec).attach(instrument)
                self._automatic[spec.name] = instrument
            if spec.name not in self._claimed:
                self._claimed.add(spec.name)
                self._move_manual(spec, instrument)
            return instrument

    def release(self, spec: MetricSpec) -> None:
        """Give up the ownership of a metric: what the host records by hand goes by its name again."""
        with self._lock:
            if spec.name in self._claimed:
                self._claimed.remove(spec.name)
                if (manual := self._manual.get(spec.name.lower())) is not None:
                    self._outlet(spec, MANUAL).detach(manual)
                    if isinstance(manual, Counter):
                        for cell in manual.series.cells():
                            cell.take()  # it was exported under the other name
                    self._outlet(spec).attach(manual)

    def restart(self) -> None:
        """Begin again with nothing counted; every handle goes on."""
        self._lock = RLock()
        for instrument in (*self._manual.values(), *self._automatic.values()):
            instrument.restart()

    def reset(self) -> None:
        """Begin again, and nobody owns anything."""
        for name in tuple(self._claimed):
            self.release(self._automatic[name].spec)
        self.restart()

    def _move_manual(self, spec: MetricSpec, owner: Instrument[Any]) -> None:
        manual = self._manual.get(spec.name.lower())
        if manual is None:
            return
        self._outlet(spec).detach(manual)
        if manual.is_on:
            self._say_who_owns(spec)
            if isinstance(owner, Observed) and isinstance(manual, Observed):
                owner.adopt(manual)  # a sum that was exported can't shrink
        self._outlet(spec, MANUAL).attach(manual)

    def _say_who_owns(self, spec: MetricSpec) -> None:
        complaints.complain(
            spec.name,
            "manual",
            "%s records it by itself; what your code records by hand goes to %r.",
            spec.owner,
            spec.name + MANUAL,
        )

    def _outlet(self, spec: MetricSpec, suffix: str = "") -> Outlet:
        from opentelemetry.metrics import get_meter  # not at import: it would add to the price of the package's

        name = spec.name + suffix
        outlet = self._outlets.get(name)
        if outlet is None:
            meter = (self._provider.get_meter if self._provider is not None else get_meter)(semconv.SCOPE_NAME)
            outlet = self._outlets[name] = Outlet(meter, spec, name)
        return outlet


shared: Final = Registry()
"""Of OpenTelemetry's global provider: the facade's, and that of every part of this package."""

_by_provider: list[tuple[MeterProvider, Registry]] = []
"""Of others. A list, for Logfire's providers have no hash."""


def _registry(provider: MeterProvider | None) -> Registry:
    from opentelemetry.metrics import get_meter_provider

    if provider is None:
        return shared
    for known, registry in tuple(_by_provider):
        if known is provider:
            return registry  # though it may be the global one by now
    if provider is get_meter_provider():
        return shared
    _by_provider.append((provider, registry := Registry(provider)))
    return registry


def _refuse_another(known: MetricSpec, spec: MetricSpec) -> None:
    name = f"metric {spec.name!r}"
    if known.name != spec.name:
        raise ConfigurationError(f"{name} exists already as {known.name!r}: case tells no metrics apart")
    if (known.kind, known.unit) != (spec.kind, spec.unit):
        raise ConfigurationError(
            f"{name} is a {known.kind} in {known.unit!r} already, not a {spec.kind} in {spec.unit!r}"
        )
    if known.bounds != spec.bounds:
        raise ConfigurationError(f"{name} has the bounds {known.bounds} already, not {spec.bounds}")
    if (known.is_open, set(known.attributes)) != (spec.is_open, set(spec.attributes)):
        before, now = (
            "any" if each.is_open else ", ".join(attribute.key for attribute in each.attributes) or "none"
            for each in (known, spec)
        )
        what = f"not {now}" if now != before else "with other values"
        raise ConfigurationError(f"{name} has attributes already ({before}), {what}")


@overload
def automatic(spec: CounterSpec, provider: MeterProvider | None = ...) -> Counter: ...
@overload
def automatic(spec: UpDownCounterSpec, provider: MeterProvider | None = ...) -> UpDownCounter: ...
@overload
def automatic(spec: GaugeSpec, provider: MeterProvider | None = ...) -> Gauge: ...
@overload
def automatic(spec: HistogramSpec, provider: MeterProvider | None = ...) -> Histogram: ...


def automatic(spec: MetricSpec, provider: MeterProvider | None = None) -> Any:
    """The instrument by which a part of this package records a metric of the catalogue by itself.

    The part owns the metric from now on: what the host records by hand goes to `NAME.manual`, which is said once.

    Args:
        spec: the metric.
        provider: whose readers are to be told; None for OpenTelemetry's global one.
    """
    return _registry(provider).automatic(spec)


def observe(
    spec: GaugeSpec | UpDownCounterSpec | CounterSpec,
    callback: Callable[[], Iterable[tuple[float, Mapping[str, object]]]],
) -> Callable[[], None]:
    """Have a metric of the catalogue asked for at each collection, and own it.

    Args:
        spec: the metric.
        callback: gives pairs of a value and its attributes. What fails in it is logged once.

    Returns:
        What stops asking.
    """
    instrument = shared.automatic(spec)
    if not isinstance(instrument, Observed):
        raise ConfigurationError(f"metric {spec.name!r}: a {spec.kind} can't be asked for, only recorded")
    return instrument.ask(object(), lambda _: callback())


def release(spec: MetricSpec) -> None:
    """Give up the ownership of a metric that `automatic` or `observe` claimed."""
    shared.release(spec)


def reset() -> None:
    """Begin again with nothing counted, nothing owned and nothing said: as if the program had just begun, for tests."""
    for registry in tuple(_registries):
        registry.reset()
    complaints.forget()


def _start_afresh() -> None:
    """In a forked child: what the parent has counted is the parent's to report."""
    for registry in tuple(_registries):
        registry.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
