"""One wrapper for each kind of callable, so that whoever watches calls need not know which kind it is.

A watcher's `begin` is asked at each call (for generators: when the iteration starts) and answers with an `Observation`
or None. The wrapper is of the same kind as what it wraps: `inspect.iscoroutinefunction` and its sisters, signatures,
`await`, `send`, `throw` and `close` see no difference, and an exception passes as it came.
"""

from __future__ import annotations

import functools
import inspect
import sys
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from tldr_observability import _record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import Protocol

    class Observation(Protocol):
        """One call that is being watched. None of the methods raises."""

        def returned(self, result: Any, /) -> None:
            """The call is over: it returned, or the iteration is exhausted."""

        def raised(self, error: BaseException, /) -> None:
            """The call is over: an exception left it."""

        def suspend(self) -> None:
            """The body pauses and its caller goes on."""

        def resume(self) -> None:
            """The body goes on."""

    class Begin(Protocol):
        """Starts to watch a call; never raises, and answers None where nobody would look."""

        def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Observation | None:
            """Start to watch a call."""
            ...


__all__ = ["wrap"]


def wrap(function: Callable[..., Any], begin: Begin, name: str) -> Callable[..., Any]:
    """A function like the given one whose calls are watched.

    Args:
        function: any callable that isn't a descriptor.
        begin: asked at each call.
        name: what the wrapper of a callable without a name (a partial, an object) is called.
    """
    body = function
    while isinstance(body, functools.partial):
        body = body.func
    if not inspect.isroutine(body):
        body = type(body).__call__
    if inspect.iscoroutinefunction(body):
        wrapper = _coroutine(function, begin)
    elif inspect.isgeneratorfunction(body):
        wrapper = _generator(function, begin)
    elif inspect.isasyncgenfunction(body):
        wrapper = _async_generator(function, begin)
    else:
        wrapper = _function(function, begin)
    wrapper.__name__ = wrapper.__qualname__ = name
    # The attributes of an object with `__call__` are its state, and no business of the function around it.
    updated = functools.WRAPPER_UPDATES if inspect.isroutine(function) else ()
    return functools.update_wrapper(wrapper, function, updated=updated)


# `_record.record`, not the record itself: cloudpickle takes a module along by name but an object by value.


def _function(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not _record.record.enabled or (call := begin(args, kwargs)) is None:
            return function(*args, **kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            call.raised(error)
            raise
        if result.__class__ is CoroutineType:
            # Somebody's plain wrapper around an async function: the work is still to come.
            call.suspend()
            return _rest(call, result)
        call.returned(result)
        return result

    return wrapper


async def _rest(call: Observation, coroutine: Coroutine[Any, Any, Any]) -> Any:
    call.resume()
    try:
        result = await coroutine
    except BaseException as error:
        call.raised(error)
        raise
    call.returned(result)
    return result


def _coroutine(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not _record.record.enabled or (call := begin(args, kwargs)) is None:
            return await function(*args, **kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            call.raised(error)
            raise
        call.returned(result)
        return result

    return wrapper


def _generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        if not _record.record.enabled or (call := begin(args, kwargs)) is None:
            return (yield from function(*args, **kwargs))
        try:
            iterator = function(*args, **kwargs)
            step, value = iterator.send, None
            while True:
                item = step(value)
                value = None
                call.suspend()
                # What is thrown in (a close, too) is thrown on, and outside of the handler: inside, it would become
                # the context of whatever the body raises next.
                try:
                    value = yield item
                    step = iterator.send
                except BaseException as error:  # noqa: BLE001 - the body decides what becomes of it
                    step, value = iterator.throw, error
                del item
                call.resume()
        except StopIteration as stop:
            call.returned(stop.value)
            return stop.value
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            value = None  # an exception that holds its own frame would keep everything in it alive

    return wrapper


def _async_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        iterator = function(*args, **kwargs)
        call = begin(args, kwargs) if _record.record.enabled else None
        first = _first_step(iterator)
        try:
            item = await first
            while True:
                if call is not None:
                    call.suspend()
                thrown = value = None
                try:
                    value = yield item
                except BaseException as error:  # noqa: BLE001 - the body decides what becomes of it
                    thrown = error
                del item
                if call is not None:
                    call.resume()
                item = await (iterator.asend(value) if thrown is None else iterator.athrow(thrown))
        except StopAsyncIteration:
            if call is not None:
                call.returned(None)
        except BaseException as error:
            if call is not None:
                call.raised(error)
            raise
        finally:
            thrown = value = None  # an exception that holds its own frame would keep everything in it alive

    return wrapper


def _first_step(iterator: AsyncGenerator[Any, Any]) -> Any:
    """Begin an async generator that its wrapper will close, unknown to the event loop.

    The loop closes every generator it knows at shutdown and on collection. It knows the wrapper; if it closed the
    body as well, the two closes would meet ("asynchronous generator is already running").
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_leave_to_wrapper)
    try:
        return iterator.asend(cast("Any", None))
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave_to_wrapper(_: object) -> None:
    """Nothing: the wrapper is collected with its body and closes it."""
