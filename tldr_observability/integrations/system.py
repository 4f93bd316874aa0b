"""The process and its host in a few cheap series: CPU, memory, threads, descriptors, garbage collection.

`opentelemetry-instrumentation-system-metrics` reads most of them; they are exported as the catalogue names them.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, NoOpMeter, NoOpMeterProvider

from tldr_observability import guard
from tldr_observability.catalogue import GROUPS, by_name, system
from tldr_observability.errors import MissingExtraError
from tldr_observability.instruments import observe, release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import Observation

    Readings = list[tuple[float, Mapping[str, object]]]

__all__ = ["instrument", "uninstrument"]

_SPECS = tuple(spec for spec in GROUPS["system"] if spec.owner == "system")

_stops: list[Callable[[], None]] = []
_reader: Any = None


def instrument() -> str:
    """Have the figures of the process and its host read at each collection; a second call does nothing.

    Raises:
        MissingExtraError: psutil or OpenTelemetry's instrumentation of it is not installed.
    """
    global _reader  # noqa: PLW0603 - there is one process to measure
    try:
        import psutil  # type: ignore[import-untyped]
        from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
    except ImportError:
        raise MissingExtraError("measuring the system", "system") from None

    class Instrumentor(SystemMetricsInstrumentor):
        _instance = None  # an instance of its own: the service may have another, with other metrics

    if not _stops:
        cpu = system.HOST_CPU_UTILIZATION
        _stops.append(observe(cpu, _HostCpu(psutil.cpu_times, cpu.attributes[-1].values).shares))
        config = {spec.name: _values(spec) for spec in _SPECS if spec is not cpu}
        _reader = Instrumentor(config=config)
        _reader.instrument(skip_dep_check=True, meter_provider=_Catalogued())
        _measure_this_process()
    return f"{len(_SPECS)} figures of the process and its host"


def uninstrument() -> None:
    """Undo `instrument`."""
    global _reader  # noqa: PLW0603
    if not _stops:
        return
    for stop in _stops:
        stop()
    _stops.clear()
    for spec in _SPECS:
        release(spec)
    _reader.uninstrument()
    _reader = None


def _measure_this_process() -> None:
    """Read the figures of the process that runs this, which after a fork is another one."""
    if _reader is not None:
        with guard.guarded("measuring a process"):
            import psutil

            process = psutil.Process()
            process.cpu_percent()  # the share is that since the last call
            _reader._proc = process  # noqa: SLF001 - the instrumentation keeps the process that it was made in


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_measure_this_process)


class _Catalogued(NoOpMeterProvider):
    """Takes the place of a meter provider: the callbacks that it is given are asked for the catalogue's metrics."""

    def get_meter(self, name: str, *_: Any, **__: Any) -> NoOpMeter:
        return _CataloguedMeter(name)


class _CataloguedMeter(NoOpMeter):
    def _observe(self, name: str, callbacks: Iterable[Callable[..., Iterable[Observation]]], **_: str) -> None:
        spec: Any = by_name(name)
        keys = {attribute.key for attribute in spec.attributes}

        def readings() -> Readings:
            return [
                (each.value, {key: value for key, value in (each.attributes or {}).items() if key in keys})
                for callback in callbacks
                for each in callback(CallbackOptions())
            ]

        _stops.append(observe(spec, readings))

    create_observable_counter: Any = _observe
    create_observable_up_down_counter: Any = _observe
    create_observable_gauge: Any = _observe


class _HostCpu:
    """What the host's processors did since the last reading, all of them together.

    Not psutil's own shares: these are kept for each thread, and readings come from several.

    Args:
        times: gives the seconds in each state since the start.
        states: those to tell of.
    """

    def __init__(self, times: Callable[[], Any], states: tuple[str, ...]) -> None:
        self._times = times
        self._states = states
        self._lock = Lock()
        self._last = times()._asdict()
        self._shares: Readings = []

    def shares(self) -> Readings:
        """The share of each state; those of the last reading where no time has passed."""
        with self._lock:
            now = self._times()._asdict()
            spent = {state: max(now[state] - self._last[state], 0.0) for state in now}
            # Linux counts what guests use as `user` and `nice` already.
            total = sum(seconds for state, seconds in spent.items() if not state.startswith("guest"))
            if total > 0:
                self._last = now
                self._shares = [(spent[each] / total, {"state": each}) for each in self._states if each in spent]
            return self._shares


def _values(spec: Any) -> list[str] | None:
    """Which of a metric's series the instrumentation is asked for."""
    return [value for attribute in spec.attributes for value in attribute.values] or None
