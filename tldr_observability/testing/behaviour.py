"""How the receiver answers: as a healthy backend, or in one of the ways in which backends fail."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Behaviour", "Script"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What becomes of a request; the default is a healthy backend's answer."""

    kind: Literal["answer", "hang", "reset", "drip"] = "answer"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """None is the empty message that OTLP expects."""
    delay: float = 0.0
    """Seconds before the answer, or between the bytes of a dripping one."""


class Script:
    """Says for each request how to behave: first what was asked for the next few, then what holds until changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: list[tuple[str | None, Behaviour]] = []
        self._standing: dict[str | None, Behaviour] = {}
        self._released = threading.Event()
        self.closed = False

    def add(self, behaviour: Behaviour, times: int | None, path: str | None) -> None:
        """Behave so for the next `times` requests to `path` (any path where None), or for all that follow."""
        with self._lock:
            if times is not None:
                self._next += [(path, behaviour)] * times
                return
            if path is None:
                self._standing.clear()
            self._standing[path] = behaviour

    def take(self, path: str) -> tuple[Behaviour, threading.Event]:
        """The behaviour for a request that is here now, and an event that ends its waiting."""
        with self._lock:
            for index, (wanted, behaviour) in enumerate(self._next):
                if wanted in (None, path):
                    del self._next[index]
                    return behaviour, self._released
            return self._standing.get(path) or self._standing.get(None) or Behaviour(), self._released

    def recover(self) -> None:
        """Forget every behaviour and let the waiting requests go on."""
        with self._lock:
            self._next.clear()
            self._standing.clear()
            released, self._released = self._released, threading.Event()
        released.set()

    def close(self) -> None:
        """Let the waiting requests end without an answer, now and from now on."""
        with self._lock:
            self.closed = True
            self._released.set()
