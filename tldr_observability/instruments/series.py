"""The series of one instrument, by their attributes: at most 2,000, and one more for all that exceeds them."""

from __future__ import annotations

from enum import Enum
from threading import RLock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from tldr_observability.instruments.complaints import complain
from tldr_observability.instruments.values import HUGE, MAX_LENGTH, Value, attribute, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tldr_observability.catalogue.spec import Attribute

__all__ = ["LIMIT", "OVERFLOW", "Series"]

LIMIT: Final = 2000
OVERFLOW: Final[Mapping[str, Value]] = {"otel.metric.overflow": True}
"""https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute"""

_MOST_SHORTCUTS: Final = 2 * LIMIT
_NONE: Final[Mapping[str, object]] = {}
_SMALL: Final = frozenset({bool, float, type(None)})

C = TypeVar("C")
Attributes = dict[str, Value]


class Series(Generic[C]):
    """Finds the cell of a set of attributes, and makes it the first time.

    By a shortcut, which knows the attributes exactly as they were given, or the long way, which cleans them. Where they
    are not all texts, types are part of the key: `True`, `1` and `1.0` are equal to Python and three to OpenTelemetry.

    Args:
        metric: its name, for complaints.
        declared: the attributes that it may have.
        is_open: it may have others too.
        make: makes the cell of a set of attributes.
    """

    def __init__(
        self, metric: str, declared: Sequence[Attribute], make: Callable[[Attributes], C], *, is_open: bool = False
    ) -> None:
        self._metric = metric
        self._declared = {each.key: each for each in declared}
        self._keys = tuple(self._declared)
        self._is_open = is_open
        self._make = make
        self._lock = RLock()
        self._texts: dict[tuple[object, ...], C] = {}
        self._shortcuts: dict[tuple[object, ...], C] = {}
        self._cells: dict[frozenset[tuple[str, type, Value]], C] = {}
        self._overflow: C | None = None

    def at(self, values: Sequence[object]) -> C:
        """The cell by the values of the declared attributes, in their order; None for what is absent. Never raises."""
        given: tuple[object, ...] | None = None
        typed: tuple[object, ...] | None = None
        try:
            if (cell := self._texts.get(given := (*values,))) is not None:
                return cell
            typed = (*given, *map(type, given))
            if (cell := self._shortcuts.get(typed)) is not None:
                return cell
        except Exception:  # noqa: BLE001 - a value that can't be hashed
            given = None
        return self._find(given, typed, zip(self._keys, values, strict=False))

    def of(self, attributes: Mapping[str, object] | None) -> C:
        """The cell by attributes. Never raises."""
        given: tuple[object, ...] | None = None
        typed: tuple[object, ...] | None = None
        try:
            if (cell := self._texts.get(given := (*(attributes or _NONE).items(),))) is not None:
                return cell
            typed = (*given, *map(type, attributes.values() if attributes else ()))
            if (cell := self._shortcuts.get(typed)) is not None:
                return cell
        except Exception:  # noqa: BLE001 - a value that can't be hashed, or what can't be read as a mapping
            given = None
        return self._find(given, typed, self._pairs(attributes))

    def plain(self, attributes: Mapping[str, object] | None) -> Attributes:
        """Attributes as they can be exported, without a cell for them. Never raises."""
        return self._cleaned(self._pairs(attributes))[0]

    def cells(self) -> tuple[C, ...]:
        """All that were made."""
        known = tuple(self._cells.values())
        return known if self._overflow is None else (*known, self._overflow)

    def renew_lock(self) -> None:
        """Let nobody hold the lock, in a forked child."""
        self._lock = RLock()

    def complain(self, cause: str, message: str, *arguments: object) -> None:
        """Say once what is wrong."""
        complain(self._metric, cause, message, *arguments)

    def say_full(self) -> None:
        """Say once that there are more sets of attributes than are told apart."""
        self.complain("overflow", "more than %d sets of attributes; the rest is counted as one.", LIMIT)

    def _pairs(self, attributes: Mapping[str, object] | None) -> Iterable[tuple[object, object]]:
        try:
            return tuple((attributes or {}).items())
        except Exception:  # noqa: BLE001 - anything may have been handed over
            self.complain("attributes", "expected a mapping of attributes, got %s.", type(attributes).__name__)
            return ()

    def _find(
        self, given: tuple[object, ...] | None, typed: tuple[object, ...] | None, pairs: Iterable[tuple[object, object]]
    ) -> C:
        attributes, is_plain = self._cleaned(pairs := tuple(pairs))
        cell = self._cell(attributes)
        if (
            is_plain
            and given is not None
            and cell is not self._overflow
            and len(self._texts) + len(self._shortcuts) < _MOST_SHORTCUTS
        ):
            if all(value is None or type(value) is str for _, value in pairs):
                self._texts[given] = cell
            elif typed is not None:
                self._shortcuts[typed] = cell
        return cell

    def _cleaned(self, pairs: Iterable[tuple[object, object]]) -> tuple[Attributes, bool]:
        """What of the attributes can be exported; and whether all were kept, and can be kept as part of a shortcut."""
        attributes: Attributes = {}
        is_plain = True
        for name, value in pairs:
            key = text(name) if isinstance(name, str) else ""
            if not key:
                given = "an empty one" if isinstance(name, str) else f"a {type(name).__name__}"
                self.complain("key", "an attribute's key is a text, not %s; it is dropped.", given)
                is_plain = False
            elif value is not None:
                if (clean := self._clean(key, value)) is None:
                    is_plain = False
                else:
                    attributes[key] = clean
            is_plain = is_plain and _is_small(name) and _is_small(value)
        return attributes, is_plain

    def _clean(self, key: str, value: object) -> Value | None:
        declared = self._declared.get(key)
        if declared is None and not self._is_open:
            known = ", ".join(self._keys) or "none"
            self.complain(key, "it has no attribute %r (it has: %s); it is dropped.", key, known)
            return None
        try:
            clean = attribute(value)
        except Exception:  # noqa: BLE001 - an object that fails when it is looked at
            clean = None
        if clean is None:
            given = "NaN" if isinstance(value, float) else type(value).__name__
            self.complain(key, "attribute %r: expected str, bool, int or float, got %s; it is dropped.", key, given)
        elif declared is not None and declared.values and clean not in declared.values:
            choices = ", ".join(declared.values)
            self.complain(key, "attribute %r: expected one of %s, got %r; it is dropped.", key, choices, clean)
            return None
        return clean

    def _cell(self, attributes: Attributes) -> C:
        key = frozenset((name, type(value), value) for name, value in attributes.items())
        cell = self._cells.get(key)
        if cell is None:
            with self._lock:
                cell = self._cells.get(key)
                if cell is None and len(self._cells) < LIMIT:
                    cell = self._cells[key] = self._make(attributes)
                elif cell is None:
                    if self._overflow is None:
                        self._overflow = self._make(dict(OVERFLOW))
                        self.say_full()
                    cell = self._overflow
        return cell


def _is_small(given: object) -> bool:
    """Whether it may be kept as part of a shortcut: neither large nor an object with a life of its own."""
    if type(given) is str:
        return len(given) <= MAX_LENGTH
    if type(given) is int:
        return -HUGE < given < HUGE
    return type(given) in _SMALL or isinstance(given, Enum)
