"""One series each, bound to its attributes: what the host holds on hot paths and what readers are told.

Sums and gauges are a number under a lock of this package's own, which a forked child renews. The lock is reentrant, for
a signal handler or finalizer of the host may count while its thread is counting.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Final

from tldr_observability import guard
from tldr_observability._record import record
from tldr_observability.instruments.complaints import complain
from tldr_observability.instruments.values import HUGE, PLAIN, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tldr_observability.instruments.values import Value

__all__ = ["BoundCounter", "BoundGauge", "BoundHistogram", "BoundUpDownCounter"]

_UNTOUCHED: Final = False
"""A zero to which nothing was added yet: adding makes an int or float of it, and until then it is not exported."""


class _Bound:
    __slots__ = ("_metric", "attributes")

    def __init__(self, metric: str, attributes: Mapping[str, Value]) -> None:
        self._metric = metric
        self.attributes = attributes

    def _checked(self, amount: object, *, least: float = -HUGE) -> int | float | None:
        """What is to be counted of an amount that isn't plainly a number in bounds."""
        plain = number(amount)
        if plain is None or plain < least:
            expected = "a finite number" if least < 0 else "a finite number that is not negative"
            given = type(amount).__name__ if plain is None else plain
            complain(self._metric, "amount", "expected %s, got %s; such measurements are dropped.", expected, given)
            return None
        return plain


class BoundUpDownCounter(_Bound):
    """One series of an up-down counter."""

    __slots__ = ("_lock", "value")

    def __init__(self, metric: str, attributes: Mapping[str, Value]) -> None:
        super().__init__(metric, attributes)
        self.restart()

    def restart(self) -> None:
        """Count from zero, with a lock that nobody holds."""
        self._lock = RLock()
        self.value: float = _UNTOUCHED

    def add(self, amount: float = 1) -> None:
        """Add to the sum; a negative amount takes away."""
        if type(amount) not in PLAIN or not -HUGE < amount < HUGE:
            checked = self._checked(amount)
            if checked is None:
                return
            amount = checked
        if record.enabled:
            with self._lock:
                self.value += amount

    def take(self) -> float:
        """Give the sum away and begin again."""
        with self._lock:
            taken, self.value = self.value, _UNTOUCHED
        return taken

    @property
    def is_untouched(self) -> bool:
        """Nothing was ever added, so that there is nothing to tell."""
        return self.value is _UNTOUCHED


class BoundCounter(BoundUpDownCounter):
    """One series of a counter."""

    __slots__ = ()

    def add(self, amount: float = 1) -> None:
        """Add to the sum; a negative amount is reported once and dropped."""
        if type(amount) not in PLAIN or not 0 <= amount < HUGE:
            checked = self._checked(amount, least=0)
            if checked is None:
                return
            amount = checked
        if record.enabled:
            with self._lock:
                self.value += amount


class BoundGauge(_Bound):
    """One series of a gauge."""

    __slots__ = ("value",)

    def __init__(self, metric: str, attributes: Mapping[str, Value]) -> None:
        super().__init__(metric, attributes)
        self.restart()

    def restart(self) -> None:
        """Know no value."""
        self.value: float = _UNTOUCHED

    def set(self, value: float) -> None:
        """Replace the value, which is reported until it is replaced again."""
        if type(value) not in PLAIN or not -HUGE < value < HUGE:
            checked = self._checked(value)
            if checked is None:
                return
            value = checked
        if record.enabled:
            self.value = value

    @property
    def is_untouched(self) -> bool:
        """No value was ever set."""
        return self.value is _UNTOUCHED


class BoundHistogram(_Bound):
    """One series of a histogram; OpenTelemetry's own histogram aggregates it."""

    __slots__ = ("_emit",)

    def __init__(
        self, metric: str, attributes: Mapping[str, Value], emit: Callable[[float, Mapping[str, Value]], object]
    ) -> None:
        super().__init__(metric, attributes)
        self._emit = emit

    def record(self, value: float) -> None:
        """Add a value to the distribution."""
        if type(value) not in PLAIN or not 0 <= value < HUGE:
            checked = self._checked(value, least=0)
            if checked is None:
                return
            value = checked
        if record.enabled:
            try:
                self._emit(value, self.attributes)
            except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
                guard.report("recording a measurement", error)
