"""What a series may be told apart by, and what may be counted: whatever the host hands over, or nothing of it."""

from __future__ import annotations

import operator
from enum import Enum
from typing import Any, Final

__all__ = ["HUGE", "MAX_LENGTH", "PLAIN", "Value", "attribute", "number", "text"]

Value = str | bool | int | float

MAX_LENGTH: Final = 256
PLAIN: Final = frozenset({int, float})
"""The types of a number that can be counted as it is."""
HUGE: Final = 1e300
"""Above what any sum stays finite; what isn't below is no measurement."""

_INT64: Final = 2**63
_SCALARS: Final = frozenset({bool, float})


def attribute(value: object) -> Value | None:
    """An attribute's value as it can be exported; None for what can't be.

    Texts are cut at 256 characters, a member of an enumeration is its value, and a UUID its text.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return text(value)
    if type(value) in _SCALARS:
        return value if value == value else None  # type: ignore[return-value]  # noqa: PLR0124 - NaN is nothing
    if isinstance(value, int):
        whole = int.__index__(value)
        return whole if -_INT64 <= whole < _INT64 else None  # what OTLP has room for
    if isinstance(value, float):
        return attribute(float.__float__(value))
    return str(value) if type(value).__module__ == "uuid" and type(value).__name__ == "UUID" else None


def text(value: str) -> str:
    """A text of at most 256 characters that can be encoded, of the plain type."""
    cut = str.__getitem__(value, slice(MAX_LENGTH))
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()


def number(amount: Any) -> int | float | None:
    """An amount as a plain number (of Decimal, Fraction and numpy's as well); None for what isn't one."""
    if isinstance(amount, str | bytes | bytearray):
        return None  # `float` would read them
    try:
        plain: int | float = operator.index(amount) if hasattr(amount, "__index__") else float(amount)
    except Exception:  # noqa: BLE001 - the host's own class may fail in any way
        return None
    return plain if -HUGE < plain < HUGE else None
