"""The four kinds of instruments: what `metrics.counter(...)` and its siblings return."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from tldr_observability._record import record
from tldr_observability.instruments.cells import BoundCounter, BoundGauge, BoundHistogram, BoundUpDownCounter
from tldr_observability.instruments.complaints import complain
from tldr_observability.instruments.series import LIMIT, OVERFLOW, Series
from tldr_observability.instruments.values import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions

    from tldr_observability.catalogue.spec import MetricSpec
    from tldr_observability.instruments.values import Value

    Observations = Iterable[tuple[float, Mapping[str, object] | None]]

__all__ = ["Counter", "Gauge", "Histogram", "Instrument", "Observed", "UpDownCounter", "kind_of"]

C = TypeVar("C", bound="BoundUpDownCounter | BoundGauge | BoundHistogram")
Told = TypeVar("Told", bound="BoundUpDownCounter | BoundGauge")


class Instrument(Generic[C]):
    """A metric's series in this process.

    Args:
        spec: what it is.
        is_custom: the host records it, so that the switch for custom metrics is its switch.
    """

    def __init__(self, spec: MetricSpec, *, is_custom: bool = False) -> None:
        self.spec = spec
        self._is_custom = is_custom
        self._defaults = {each.argument: each.default for each in spec.attributes}
        self._required = tuple(each.argument for each in spec.attributes if not each.optional and each.default is None)
        self.series: Series[C] = Series(spec.name, spec.attributes, self._cell, is_open=spec.is_open)

    def _cell(self, attributes: dict[str, Value]) -> C:
        raise NotImplementedError  # each of the four kinds makes cells of its own; this class is none of them

    def bind(self, attributes: Mapping[str, object] | None = None) -> C:
        """The series of these attributes, for hot paths: its calls look nothing up."""
        return self.series.of(attributes)

    def at(self, *values: object) -> C:
        """The series by the values of the specification's attributes, in their order; None for what is absent."""
        return self.series.at(values)

    def named(self, arguments: Mapping[str, object]) -> C:
        """The series by what the facade calls the attributes."""
        for name in self._required:
            if arguments.get(name) is None:
                self.series.complain(name, "attribute %r is missing; the series goes without it.", name)
        if not arguments.keys() <= self._defaults.keys():
            if self.spec.is_open:
                keys = {each.argument: each.key for each in self.spec.attributes}
                given = {**self._defaults, **arguments}
                return self.series.of({keys.get(name, name): value for name, value in given.items()})
            for name in arguments.keys() - self._defaults.keys():
                known = ", ".join(self._defaults) or "none"
                self.series.complain(name, "it has no attribute %r (it has: %s); it is dropped.", name, known)
        return self.series.at([arguments.get(name, default) for name, default in self._defaults.items()])

    @property
    def is_on(self) -> bool:
        """Whether what is recorded is exported."""
        settings = record.settings
        return record.enabled and (not self._is_custom or settings is None or settings.custom_metrics_enabled)

    def restart(self) -> None:
        """Begin again with nothing; handles that the host holds go on."""
        self.series.renew_lock()


class Observed(Instrument[Told]):
    """An instrument whose series are kept here, and told to every reader that asks."""

    def __init__(self, spec: MetricSpec, *, is_custom: bool = False) -> None:
        super().__init__(spec, is_custom=is_custom)
        self.is_asked = False
        """It is declared to be asked for, and never set."""
        self.callbacks: dict[object, Callable[[CallbackOptions], Observations]] = {}
        """Asked at each collection, beside the series; by what takes them away again."""

    def ask(self, token: object, callback: Callable[[CallbackOptions], Observations]) -> Callable[[], None]:
        """Ask a callback at each collection, once for each token; returns what stops it."""
        key = token if isinstance(token, Hashable) else id(token)
        self.callbacks[key] = callback

        def stop() -> None:
            self.callbacks.pop(key, None)

        return stop

    def has(self, token: object) -> bool:
        """Whether there is a callback of this token."""
        return (token if isinstance(token, Hashable) else id(token)) in self.callbacks

    def restart(self) -> None:
        """Begin again with nothing; handles that the host holds go on."""
        super().restart()
        for cell in self.series.cells():
            cell.restart()

    def adopt(self, other: Observed[Told]) -> None:
        """Go on from the sums of another, which begins again."""
        for cell in other.series.cells():
            if isinstance(cell, BoundUpDownCounter) and not cell.is_untouched:
                mine = self.series.of(cell.attributes)
                if isinstance(mine, BoundUpDownCounter):
                    mine.add(cell.take())

    def observations(self, options: CallbackOptions) -> Iterator[tuple[float, Mapping[str, Value]]]:
        """What a reader is told: the series that were touched, and what the callbacks say."""
        for cell in self.series.cells():
            if not cell.is_untouched:
                yield cell.value, cell.attributes
        told: set[frozenset[tuple[str, Value]]] = set()
        for callback in tuple(self.callbacks.values()):
            for given, attributes in self._answers(callback, options):
                if (value := number(given)) is None:
                    complain(self.spec.name, "value", "its callback gave %s, not a number.", type(given).__name__)
                    continue
                plain: Mapping[str, Value] = self.series.plain(attributes)
                if (key := frozenset(plain.items())) not in told and len(told) >= LIMIT:
                    self.series.say_full()
                    plain = OVERFLOW
                else:
                    told.add(key)
                yield value, plain

    def _answers(
        self, callback: Callable[[CallbackOptions], Observations], options: CallbackOptions
    ) -> list[tuple[float, Mapping[str, object] | None]]:
        """What a callback gives, until it fails."""
        answers: list[tuple[float, Mapping[str, object] | None]] = []
        try:
            answers.extend((value, attributes) for value, attributes in callback(options))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation, say: it would end the reader's thread
            complain(self.spec.name, "callback", "its callback failed.", error=error)
        return answers


class UpDownCounter(Observed[BoundUpDownCounter]):
    """A sum that grows and shrinks."""

    def _cell(self, attributes: dict[str, Value]) -> BoundUpDownCounter:
        return BoundUpDownCounter(self.spec.name, attributes)

    def add(self, amount: float = 1, attributes: Mapping[str, object] | None = None) -> None:
        """Add to the sum of these attributes; a negative amount takes away."""
        self.series.of(attributes).add(amount)


class Counter(Observed[BoundCounter]):
    """A sum that only grows."""

    def _cell(self, attributes: dict[str, Value]) -> BoundCounter:
        return BoundCounter(self.spec.name, attributes)

    def add(self, amount: float = 1, attributes: Mapping[str, object] | None = None) -> None:
        """Add to the sum of these attributes."""
        self.series.of(attributes).add(amount)


class Gauge(Observed[BoundGauge]):
    """A value that is what it was last set to."""

    def _cell(self, attributes: dict[str, Value]) -> BoundGauge:
        return BoundGauge(self.spec.name, attributes)

    def set(self, value: float, attributes: Mapping[str, object] | None = None) -> None:
        """Replace the value of these attributes."""
        self.series.of(attributes).set(value)


class Histogram(Instrument[BoundHistogram]):
    """A distribution of values."""

    recorder: Callable[[float, Mapping[str, Value]], object]
    """Of OpenTelemetry's histogram, which aggregates for every reader."""

    def _cell(self, attributes: dict[str, Value]) -> BoundHistogram:
        return BoundHistogram(self.spec.name, attributes, self._emit)

    def _emit(self, value: float, attributes: Mapping[str, Value]) -> None:
        if self.is_on:
            self.recorder(value, attributes)

    def record(self, value: float, attributes: Mapping[str, object] | None = None) -> None:
        """Add a value to the distribution of these attributes."""
        self.series.of(attributes).record(value)


_KINDS: dict[str, type[Counter | UpDownCounter | Gauge | Histogram]] = {
    "counter": Counter,
    "up-down counter": UpDownCounter,
    "gauge": Gauge,
    "histogram": Histogram,
}


def kind_of(spec: MetricSpec) -> type[Counter | UpDownCounter | Gauge | Histogram]:
    """The class of instrument that a specification asks for."""
    return _KINDS[spec.kind]
