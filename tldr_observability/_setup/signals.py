"""SIGTERM: the last chance to send what is queued, for most servers re-raise it and `atexit` then never runs."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["chain_sigterm"]


_flushes: tuple[Callable[[], object], Callable[[], object]] | None = None
_previous: Any = None


def chain_sigterm(last_flush: Callable[[], object], hurry: Callable[[], object]) -> str:
    """Put a handler in front of the one that SIGTERM has; calling it again changes only what is called.

    Where the signal would end the process at once, the handler runs `last_flush` first and then ends it just so. Where
    a program has a handler of its own (a server that shuts down gracefully), that one decides: ours runs `hurry`, which
    must not block, and `last_flush` only if the other raises.

    Returns:
        Why nothing could be installed, empty when it was.
    """
    global _flushes, _previous  # noqa: PLW0603 - a process has one handler for the signal
    _flushes = (last_flush, hurry)
    if (
        _previous is not None
    ):  # once installed, another's handler may have it for its previous one: never twice in a chain
        return ""
    present = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        return "setup() ran outside of the main thread, where Python allows no signal handlers"
    if present is None or present is signal.SIG_IGN:
        return "the program ignores the signal or handles it outside of Python"
    _previous = present
    signal.signal(signal.SIGTERM, _handle)
    return ""


def _handle(number: int, frame: FrameType | None) -> None:
    last_flush, hurry = _flushes or (bool, bool)
    if not callable(_previous):
        last_flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    try:
        _previous(number, frame)
    except BaseException:
        last_flush()
        raise
    hurry()
