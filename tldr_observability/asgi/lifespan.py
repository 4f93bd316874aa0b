"""The flush at the end of an ASGI server's life, while there still is time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tldr_observability._record import record
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tldr_observability.asgi.types import Message, Send

__all__ = ["flushing"]

_LAST = frozenset({"lifespan.shutdown.complete", "lifespan.shutdown.failed"})


def flushing(send: Send) -> Send:
    """A `send` that delivers what is queued before it lets the server know that the app has shut down.

    Servers such as uvicorn re-raise the signal that ended them, so that nothing registered with `atexit` would run.
    """

    async def send_after_flush(message: Message) -> None:
        if message.get("type") in _LAST and record.flush is not None:
            with guarded("flushing at the server's shutdown"):
                await _flush(record.flush)
        await send(message)

    return send_after_flush


async def _flush(flush: Callable[[float | None], bool]) -> None:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Another kind of event loop; the flush has a deadline and nothing else is left to do.
        flush(None)
        return
    await asyncio.to_thread(flush, None)
