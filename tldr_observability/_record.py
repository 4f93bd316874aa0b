"""What `setup()` decided, for those parts of the runtime that work without it too: one record a process.

Decorators, spans and the middleware are made before, after and without `setup()`; at each call they look here. Only
`_setup` writes it, and `reset` is for tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.settings import ObservabilitySettings

__all__ = ["Record", "record", "reset"]


@dataclass(slots=True)
class Record:
    """The state of this process; the defaults are those of a program that never called `setup()`."""

    enabled: bool = True
    """False after `setup(enabled=False)`: decorators, spans and the middleware do nothing. Without `setup()` they speak
    to whatever OpenTelemetry providers the program has."""
    slow_threshold: float | None = None
    """Seconds from which a decorated call is marked and logged as slow, unless the decorator says otherwise."""
    settings: ObservabilitySettings | None = None
    flush: Callable[[float | None], bool] | None = None
    """Sends what is queued, within the given seconds; None before `setup()`."""


record = Record()


def reset() -> None:
    """Back to the state before `setup()`."""
    blank = Record()
    for name in Record.__slots__:
        setattr(record, name, getattr(blank, name))
