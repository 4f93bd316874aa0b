"""A wake-up call that may be rung from anywhere, a signal handler included."""

from __future__ import annotations

from threading import Lock

__all__ = ["Bell"]


_LONGEST_SECONDS = 3600.0


class Bell:
    """Wakes one waiting thread; rings while nobody waits are kept as one.

    A `threading.Event` does not serve: its `set` takes a lock in Python code, and a signal handler that interrupts the
    main thread in there and rings as well would wait for that lock for ever. Here each call is one operation of the
    interpreter.
    """

    __slots__ = ("_silent",)

    def __init__(self) -> None:
        self._silent = Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """Wake the waiting thread, or have the next `wait` return at once."""
        if self._silent.locked():
            try:
                self._silent.release()
            except RuntimeError:  # another thread has rung in between
                return

    def wait(self, timeout: float) -> None:
        """Sleep until the bell rings or `timeout` seconds have passed, an hour at the most."""
        self._silent.acquire(timeout=min(max(timeout, 0.0), _LONGEST_SECONDS))
