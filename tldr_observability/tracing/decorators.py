"""The decorators that make spans of calls, one for each layer of a service, and the one that times them."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tldr_observability import semconv
from tldr_observability.errors import ConfigurationError
from tldr_observability.tracing import engine, kinds
from tldr_observability.tracing.site import CallSite, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    class Wrap(Protocol):
        """Makes the wrapper of a plain callable, told whether its first parameter is surely a class or instance."""

        def __call__(self, function: Callable[..., Any], /, *, has_receiver: bool) -> Callable[..., Any]: ...


__all__ = [
    "NOTHING",
    "decorate",
    "timed",
    "traced",
    "traced_api_endpoint",
    "traced_background_task",
    "traced_repository_method",
    "traced_service_method",
    "traced_use_case",
]

# The type of what is decorated comes out as it went in, which keeps overloads, generics and descriptors as well;
# Callable[P, R] would lose them.
F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any] | property")


NOTHING: Any = object()
"""Stands for the function where a decorator got options only; not None, which is a mistake to be told of."""


class SpanDecorator:
    """Makes every call of a function a span: `@traced`, or with options `@traced(name="...", capture_args=True)`.

    It takes functions, methods, coroutines, generators (the span covers the iteration), callable objects, and
    classmethod, staticmethod and property from either side; type checkers want it below `@property`. The signature and
    the type stay what they were.
    """

    def __init__(self, called: str, layer: str | None, doc: str) -> None:
        self.__name__ = self.__qualname__ = called
        self.__doc__ = doc
        self._layer = layer

    def __repr__(self) -> str:
        return f"<decorator {self.__name__}>"

    def __reduce__(self) -> str:
        return self.__name__

    @overload
    def __call__(self, function: F, /) -> F: ...

    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        capture_args: bool | Iterable[str] = False,
        capture_result: bool = False,
        attributes: Mapping[str, object] | None = None,
        slow_threshold: float | None = None,
    ) -> Callable[[F], F]: ...

    def __call__(  # noqa: PLR0913 - the options are the public interface, each for itself
        self,
        function: Any = NOTHING,
        /,
        *,
        name: str | None = None,
        capture_args: bool | Iterable[str] = False,
        capture_result: bool = False,
        attributes: Mapping[str, object] | None = None,
        slow_threshold: float | None = None,
    ) -> Any:
        """Decorate a function, or take options for the one that follows.

        Args:
            function: what to decorate.
            name: of the span and its message, bounded by the code base; the function's name where None. `{key}` in it
                shows a captured argument in the message.
            capture_args: True for all arguments but `self` and `cls`, or the names of some.
            capture_result: keep what is returned as `tldr.result`.
            attributes: what every call's span carries.
            slow_threshold: seconds from which a call (of a generator: the iteration) is marked and logged; what
                `setup()` was told where None.

        Raises:
            ConfigurationError: what is decorated is no function, or an option can't be used for it.
        """
        options = Options(name, capture_args, capture_result, attributes, slow_threshold)
        return decorate(function, functools.partial(self._wrap, options), self.__name__)

    def _wrap(self, options: Options, function: Callable[..., Any], *, has_receiver: bool) -> Callable[..., Any]:
        site = CallSite(function, self.__name__, options, layer=self._layer, has_receiver=has_receiver)
        begin = engine.begin_task if self._layer == "task" else engine.begin_call
        return kinds.wrap(function, functools.partial(begin, site), site.name)


def decorate(target: Any, wrap: Wrap, decorator: str) -> Any:
    """Apply `wrap` to the function inside of whatever is decorated; with `NOTHING`, answer with the decorator itself.

    Args:
        target: a callable, a classmethod, staticmethod, property or cached_property.
        wrap: makes the wrapper.
        decorator: its name, for error messages.
    """
    if target is NOTHING:
        return functools.partial(decorate, wrap=wrap, decorator=decorator)
    if isinstance(target, classmethod | staticmethod):
        inner = target.__func__
        if isinstance(inner, property):
            return type(target)(decorate(inner, wrap, decorator))
        return type(target)(wrap(inner, has_receiver=isinstance(target, classmethod)))
    if isinstance(target, property):
        getter = None if target.fget is None else wrap(target.fget, has_receiver=True)
        return type(target)(getter, target.fset, target.fdel, target.__doc__)
    if isinstance(target, functools.cached_property):
        return type(target)(wrap(target.func, has_receiver=True))
    if inspect.isclass(target):
        raise ConfigurationError(
            f"@{decorator} is for functions and methods; decorate the methods of {target.__name__}"
        )
    for kind, example in _METHOD_MAKERS:
        if isinstance(target, kind):
            raise ConfigurationError(
                f"@{decorator} can't be used on a {kind.__name__}; decorate the function inside: "
                + example.format(decorator)
            )
    if not callable(target):
        raise ConfigurationError(f"@{decorator} is for functions and methods, got {target!r:.100}")
    return wrap(target, has_receiver=False)


_METHOD_MAKERS = (
    (functools.partialmethod, "partialmethod({}(function), ...)"),
    (functools.singledispatchmethod, "singledispatchmethod({}(function))"),
)
_HELP = "Makes every call of {} a span; options as for `traced`."

traced = SpanDecorator("traced", None, SpanDecorator.__doc__ or "")
traced_api_endpoint = SpanDecorator("traced_api_endpoint", "api", _HELP.format("an endpoint"))
traced_use_case = SpanDecorator("traced_use_case", "use_case", _HELP.format("a use case"))
traced_service_method = SpanDecorator("traced_service_method", "service", _HELP.format("a service's method"))
traced_repository_method = SpanDecorator(
    "traced_repository_method", "repository", _HELP.format("a repository's method")
)
traced_background_task = SpanDecorator("traced_background_task", "task", _HELP.format("a background task"))


@overload
def timed(function: F, /) -> F: ...


@overload
def timed(
    *, name: str | None = None, attributes: Mapping[str, object] | None = None, slow_threshold: float | None = None
) -> Callable[[F], F]: ...


def timed(
    function: Any = NOTHING,
    /,
    *,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    slow_threshold: float | None = None,
) -> Any:
    """Count how long a function's calls take, in the histogram `tldr.function.duration`; makes no span.

    The histogram's attributes are `code.function` and `tldr.outcome` (success, failed, cancelled).

    Args:
        function: what to decorate.
        name: to be `code.function`; the function's qualified name where None.
        attributes: of every measurement: few and bounded, for each combination is a time series.
        slow_threshold: seconds from which a call is logged; what `setup()` was told where None.

    Raises:
        ConfigurationError: what is decorated is no function, or an option can't be used for it.
    """
    options = Options(name, attributes=attributes, slow_threshold=slow_threshold)
    return decorate(function, functools.partial(_time, options), "timed")


def _time(options: Options, function: Callable[..., Any], *, has_receiver: bool) -> Callable[..., Any]:
    from tldr_observability.tracing import timing  # not for who only makes spans

    site = CallSite(function, "timed", options, has_receiver=has_receiver)
    called = options.name or site.place()[semconv.CODE_FUNCTION]
    fixed = {semconv.CODE_FUNCTION: called, **site.values((), {})}
    return kinds.wrap(function, functools.partial(timing.begin, site, fixed), site.name)
