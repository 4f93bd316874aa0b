"""What `setup()` decided, for those parts of the runtime that work without it too: one record a process.

Decorators, spans and the middleware are made before, after and without `setup()`; at each call they look here. Only
`_setup` writes it, and `reset` is for tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.settings import ObservabilitySettings

__all__ = ["Record", "record", "reset"]


class Record:
    """The state of this process; a new one is that of a program that never called `setup()`.

    Not a dataclass: `dataclasses` alone would be a twentieth of the package's import time.
    """

    __slots__ = ("enabled", "flush", "redacts", "settings", "slow_threshold")

    def __init__(self) -> None:
        self.enabled: bool = True
        """False after `setup(enabled=False)`: decorators, spans and the middleware do nothing. Without `setup()` they
        speak to whatever OpenTelemetry providers the program has."""
        self.slow_threshold: float | None = None
        """Seconds from which a decorated call is marked and logged as slow, unless the decorator says otherwise."""
        self.redacts: bool = False
        """Whether `setup()` decides what of each span is withheld, so that who makes a span needn't."""
        self.settings: ObservabilitySettings | None = None
        self.flush: Callable[[float | None], bool] | None = None
        """Sends what is queued, within the given seconds (None: before the process ends); None before `setup()`."""


record = Record()


def reset() -> None:
    """Back to the state before `setup()`."""
    Record.__init__(record)
