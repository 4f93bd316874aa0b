"""One wrapper for each kind of callable, so that whoever watches calls need not know which kind it is.

A watcher's `begin` is asked at each call (for generators: when the iteration starts) and answers with an `Observation`
or None. The wrapper is of the same kind as what it wraps: `inspect.iscoroutinefunction` and its sisters, signatures,
`await`, `send`, `throw` and `close` see no difference, and an exception passes as it came.
"""

from __future__ import annotations

import functools
import inspect
import sys
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CoroutineType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, cast

from tldr_observability import _record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
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

# A function around one of these is as good as the original; any other callable is an object with a life of its own.
_FUNCTIONS = (
    FunctionType,
    MethodType,
    functools.partial,
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)


def wrap(function: Callable[..., Any], begin: Begin, name: str) -> Callable[..., Any]:
    """A callable like the given one whose calls are watched: a function, or a proxy of an object.

    Args:
        function: any callable that isn't a descriptor.
        begin: asked at each call.
        name: what the wrapper of a partial, which has no name, is called.
    """
    body = function
    while isinstance(body, functools.partial):
        body = body.func
    make = _maker(body)
    if not isinstance(function, _FUNCTIONS):
        return _proxy(function, make, begin)
    wrapper = make(function, begin)
    wrapper.__name__ = wrapper.__qualname__ = name
    return functools.update_wrapper(wrapper, function)


def _maker(body: Callable[..., Any]) -> Callable[[Callable[..., Any], Begin], Callable[..., Any]]:
    sides = (body, type(body).__call__)
    if any(map(inspect.iscoroutinefunction, sides)):
        return _coroutine
    if any(map(inspect.isgeneratorfunction, sides)):
        return _generator
    if any(map(inspect.isasyncgenfunction, sides)):
        return _async_generator
    return _function


def _proxy(
    target: Callable[..., Any], make: Callable[[Callable[..., Any], Begin], Callable[..., Any]], begin: Begin
) -> Callable[..., Any]:
    """The object itself to all appearances (attributes, class, binding), but for its calls."""
    import wrapt  # not at import: few decorate objects

    plain = make(target, begin)

    def watched(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if wrapped is target:
            return plain(*args, **kwargs)
        # Bound by the object's own `__get__`: the call goes to what that made, and we look at the receiver as well.
        return make(wrapped, lambda given, named: begin((instance, *given), named))(*args, **kwargs)

    # Frameworks look at `__call__` to learn whether an object is to be awaited.
    own = {} if make is _function else {"__call__": make(wrapt.FunctionWrapper.__call__, lambda _, __: None)}
    if not hasattr(type(target), "__get__"):
        own["__get__"] = lambda self, _instance, _owner=None: self  # older releases of wrapt fail here
    proxy: Callable[..., Any] = type("FunctionWrapper", (wrapt.FunctionWrapper,), own)(target, watched)
    return proxy


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
        if type(result) is CoroutineType:
            # Somebody's plain wrapper around an async function: the work is still to come.
            call.suspend()
            rest = cast("CoroutineType[Any, Any, Any]", _rest(call, result))
            rest.__name__, rest.__qualname__ = result.__name__, result.__qualname__  # "... was never awaited"
            return rest
        call.returned(result)
        return result

    return wrapper


async def _rest(call: Observation, coroutine: CoroutineType[Any, Any, Any]) -> Any:
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
