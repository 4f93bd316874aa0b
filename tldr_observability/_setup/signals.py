"""SIGTERM: the last chance to send what is queued, for most servers re-raise it and `atexit` then never runs."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["chain_sigterm"]


def chain_sigterm(last_flush: Callable[[], object], wake: Callable[[], object]) -> str:
    """Put a handler in front of the one that SIGTERM has; call it once a process.

    Where the signal would end the process at once, the handler flushes first and then ends it just so. Where a program
    has a handler of its own (a server that shuts down gracefully), that one decides: ours sets off a flush in the
    background, and waits for it only if the other raises.

    Returns:
        Why nothing could be installed, empty when it was.
    """
    if threading.current_thread() is not threading.main_thread():
        return "setup() runs outside of the main thread, where Python allows no signal handlers"
    previous = signal.getsignal(signal.SIGTERM)
    if previous is None or previous is signal.SIG_IGN:
        return "the program ignores the signal or handles it outside of Python"

    def handle(number: int, frame: Any) -> None:
        if not callable(previous):
            last_flush()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        try:
            previous(number, frame)
        except BaseException:
            last_flush()
            raise
        wake()

    signal.signal(signal.SIGTERM, handle)
    return ""
