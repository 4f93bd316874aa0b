"""Threads and thread pools: the current span and what is known of the request go along with the work.

One patch carries both, OpenTelemetry's context and ours. OpenTelemetry's own instrumentation of threads knows neither
threads that define `run` themselves nor that a pool's thread outlives the call that made it start.
"""

from __future__ import annotations

import threading
from concurrent import futures
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context

from tldr_observability import context, guard

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["instrument", "uninstrument"]

_PATCHED = ((threading.Thread, "start"), (futures.ThreadPoolExecutor, "submit"))

_LIBRARIES: Final = frozenset(
    (
        "aiosqlite",
        "anyio",
        "apscheduler",
        "celery",
        "kombu",
        "logfire",
        "multiprocessing",
        "opentelemetry",
        "psycopg_pool",
        "redis",
    )
)
"""Top-level modules whose threads work for everybody, whichever request happens to start them."""

_patches: dict[tuple[Any, str], Any] = {}
"""Ours by what they replace; those that somebody else's patch covers stay when all is undone."""
_active = False
_pool = threading.local()
"""`growing` while a pool may start a thread, which works for everybody and belongs to no request."""


def instrument() -> str:
    """Carry span and context into each thread, timer and task of a thread pool; a second call does nothing.

    They are those of the moment in which a thread is started or a task is submitted. `asyncio.to_thread` and
    `run_in_executor` use a thread pool, too. The threads of some libraries are left alone, see `_LIBRARIES`.
    """
    global _active  # noqa: PLW0603 - the threads of the process are patched, and ask here
    import wrapt

    wrappers: tuple[Any, ...] = (_start, _submit)
    for place, wrapper in zip(_PATCHED, wrappers, strict=True):
        if place not in _patches:
            owner, name = place
            wrapt.wrap_function_wrapper(owner, name, wrapper)
            _patches[place] = vars(owner)[name]
    _active = True
    return "span and context go along into threads, timers and thread pools"


def uninstrument() -> None:
    """Undo `instrument`; what somebody else has patched since stays, and ours below it does nothing any more."""
    global _active  # noqa: PLW0603
    _active = False
    for (owner, name), ours in list(_patches.items()):
        if vars(owner)[name] is ours:
            setattr(owner, name, ours.__wrapped__)
            del _patches[owner, name]


def _start(start: Callable[[], None], thread: threading.Thread, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run in place of `Thread.start`: the thread's `run`, whoever defines it, finds the starter's context."""
    if not _active or getattr(_pool, "growing", False) or _is_nobodys(thread):
        start(*args, **kwargs)
        return
    mine = vars(thread)
    before = mine.get("run")

    def restore() -> None:
        if before is None:
            mine.pop("run", None)  # else the thread would keep itself and the context alive
        else:
            mine["run"] = before

    with guard.guarded("carrying the context into a thread"):
        mine["run"] = _carried(thread.run, restore)
    try:
        start(*args, **kwargs)
    except BaseException:
        restore()
        raise


def _submit(
    submit: Callable[..., futures.Future[Any]],
    pool: futures.ThreadPoolExecutor,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> futures.Future[Any]:
    """Run in place of `ThreadPoolExecutor.submit`."""
    if not _active:
        return submit(*args, **kwargs)
    # Pools of sub-interpreters (Python 3.14) pickle what they are given.
    if args and type(pool).__module__ != "concurrent.futures.interpreter":
        with guard.guarded("carrying the context into a thread pool"):
            args = (_carried(args[0]), *args[1:])
    before = getattr(_pool, "growing", False)
    _pool.growing = True
    try:
        return submit(*args, **kwargs)
    finally:
        _pool.growing = before


def _is_nobodys(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    while isinstance(target, partial):
        target = target.func
    modules = (getattr(each, "__module__", None) for each in (type(thread), target))
    return any(isinstance(name, str) and name.partition(".")[0] in _LIBRARIES for name in modules)


def _carried(work: Callable[..., Any], begun: Callable[[], None] | None = None) -> Callable[..., Any]:
    """Make `work` run in the context of this moment, of which nothing stays in the thread afterwards.

    Args:
        work: the host's; what it raises goes through.
        begun: called before it.
    """
    spans, enter = otel_context.get_current(), context.hand_over()

    def run(*args: Any, **kwargs: Any) -> Any:
        if begun is not None:
            begun()
        token, unit = otel_context.attach(spans), enter()
        try:
            return work(*args, **kwargs)
        finally:
            context.end_unit(unit)
            otel_context.detach(token)

    return run
