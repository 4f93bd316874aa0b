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

    from opentelemetry.metrics import MeterProvider

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
        self._automatic: dict[str, Instrument[Any]] = {}
        self._claimed: set[str] = set()
        _registries.add(self)

    def find(self, name: str) -> Instrument[Any] | None:
        """The instrument by which the host records a metric, if there is one."""
        return self._manual.get(name)

    def manual(self, spec: MetricSpec, *, is_open: bool = False) -> Instrument[Any]:
        """The instrument by which the host records a metric; `is_open` when it may have any attributes."""
        with self._lock:
            instrument = self._manual.get(spec.name)
            if instrument is None:
                instrument = kind_of(spec)(spec, is_open=is_open, is_custom=True)
                if spec.name in self._claimed:
                    self._say_who_owns(spec)
                self._outlet(spec, MANUAL if spec.name in self._claimed else "").attach(instrument)
                self._manual[spec.name] = instrument
            return instrument

    def automatic(self, spec: MetricSpec, *, is_open: bool = False) -> Instrument[Any]:
        """The instrument by which a part of this package records a metric, which it owns from now on."""
        with self._lock:
            instrument = self._automatic.get(spec.name)
            if instrument is None:
                instrument = kind_of(spec)(spec, is_open=is_open)
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
                if (manual := self._manual.get(spec.name)) is not None:
                    self._outlet(spec, MANUAL).detach(manual)
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
        manual = self._manual.get(spec.name)
        if manual is None:
            return
        self._say_who_owns(spec)
        self._outlet(spec).detach(manual)
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

_by_provider: dict[MeterProvider, Registry] = {}


def _registry(provider: MeterProvider | None) -> Registry:
    from opentelemetry.metrics import get_meter_provider

    if provider is None or provider is get_meter_provider():
        return shared
    if provider not in _by_provider:
        _by_provider[provider] = Registry(provider)
    return _by_provider[provider]


@overload
def automatic(spec: CounterSpec, provider: MeterProvider | None = ..., *, is_open: bool = ...) -> Counter: ...
@overload
def automatic(
    spec: UpDownCounterSpec, provider: MeterProvider | None = None, *, is_open: bool = False
) -> UpDownCounter: ...
@overload
def automatic(spec: GaugeSpec, provider: MeterProvider | None = ..., *, is_open: bool = ...) -> Gauge: ...
@overload
def automatic(spec: HistogramSpec, provider: MeterProvider | None = ..., *, is_open: bool = ...) -> Histogram: ...


def automatic(spec: MetricSpec, provider: MeterProvider | None = None, *, is_open: bool = False) -> Any:
    """The instrument by which a part of this package records a metric of the catalogue by itself.

    The part owns the metric from now on: what the host records by hand goes to `NAME.manual`, which is said once.

    Args:
        spec: the metric.
        provider: whose readers are to be told; None for OpenTelemetry's global one.
        is_open: it may have any attributes beside those of the specification.
    """
    return _registry(provider).automatic(spec, is_open=is_open)


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
    token = object()
    instrument.callbacks[token] = lambda _: callback()

    def stop() -> None:
        instrument.callbacks.pop(token, None)

    return stop


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
