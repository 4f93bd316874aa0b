"""A call site: all that is known about a decorated function before it is called."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tldr_observability import semconv
from tldr_observability.errors import ConfigurationError
from tldr_observability.tracing import captured, source

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallSite", "Options", "original"]

_NOWHERE = sys.maxsize
_RECEIVERS = frozenset({"self", "cls", "mcs"})


class Options(NamedTuple):
    """What a decorator may be told."""

    name: str | None = None
    """Of the span or event; the function's `__name__` where None."""
    capture_args: bool | Iterable[str] = False
    """True for all arguments but `self` and `cls`, or the names of some."""
    capture_result: bool = False
    attributes: Mapping[str, object] | None = None
    """What every call's span or event carries."""
    slow_threshold: float | None = None
    """Seconds from which a call is slow; what `setup()` was told where None."""


class CallSite:
    """What a call's span, event or timing needs and the call doesn't decide; immutable once its constants are made.

    Args:
        function: the plain callable, out of any descriptor.
        decorator: its name, for error messages.
        options: what it was told.
        layer: value of `tldr.layer`.
        has_receiver: the first parameter is a class or an instance, whatever it is called.

    Raises:
        ConfigurationError: an option can't be used; all that is wrong is in the one message.
    """

    __slots__ = ("_arguments", "_constants", "_given", "capture_result", "function", "layer", "name", "slow_threshold")

    def __init__(
        self,
        function: Callable[..., Any],
        decorator: str,
        options: Options,
        *,
        layer: str | None = None,
        has_receiver: bool = False,
    ) -> None:
        inner = original(function)
        own_name = getattr(inner, "__name__", None)
        own_name = own_name if isinstance(own_name, str) else type(inner).__name__
        where = f"@{decorator} on {getattr(inner, '__qualname__', own_name)}"
        problems = [f"{where}: {problem}" for problem in _problems(options)]
        self.function = inner
        self.name = own_name if options.name is None else options.name
        self.layer = layer
        self.capture_result = options.capture_result
        self.slow_threshold = options.slow_threshold
        self._given = dict(options.attributes) if isinstance(options.attributes, Mapping) else {}
        self._constants: dict[str, Any] | None = None
        self._arguments: tuple[_Argument, ...] = ()
        if options.capture_args is not False:
            try:
                self._arguments = _arguments(function, options.capture_args, has_receiver=has_receiver)
            except (TypeError, ValueError) as error:
                problems.append(f"{where}: {error}")
        if problems:
            raise ConfigurationError(*problems)

    def attributes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Everything that the span of one call carries from its start; the caller must not change it."""
        constants = self._constants
        if constants is None:
            constants = self._constants = self._make_constants()
        if not self._arguments:
            return constants
        values = self.values(args, kwargs)
        attributes = {**constants, **captured.attributes(values)}
        if "{" in self.name:
            from tldr_observability.tracing import messages  # not at import: few names have fields

            attributes[semconv.LOGFIRE_MESSAGE] = messages.fill(self.name, values)
        return attributes

    def values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, object]:
        """What the user asked for, raw: the captured arguments of a call and the decorator's attributes."""
        return {**self.arguments(args, kwargs), **self._given}

    def place(self) -> dict[str, str | int]:
        """Where the function is defined: `code.*`, as far as it has a place."""
        function = self.function if hasattr(self.function, "__qualname__") else type(self.function).__call__
        code = getattr(function, "__code__", None)
        place = {} if code is None else dict(source.of_code(code))
        qualname = getattr(function, "__qualname__", None)
        return {**place, semconv.CODE_FUNCTION: qualname if isinstance(qualname, str) else self.name}

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, object]:
        """The captured arguments of a call by name, defaults included; a wrong call gives what there is."""
        found: dict[str, object] = {}
        for name, index, key, default, kind in self._arguments:
            if kind is inspect.Parameter.VAR_POSITIONAL:
                found[name] = args[index:]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                found[name] = {given: value for given, value in kwargs.items() if given not in default}
            elif index < len(args):
                found[name] = args[index]
            elif key in kwargs:
                found[name] = kwargs[key]
            elif default is not inspect.Parameter.empty:
                found[name] = default
        return found

    def _make_constants(self) -> dict[str, Any]:
        constants: dict[str, Any] = {
            **self.place(),
            semconv.LOGFIRE_MESSAGE_TEMPLATE: self.name,
            semconv.LOGFIRE_MESSAGE: self.name,
            semconv.LOGFIRE_SPAN_TYPE: "span",
        }
        if self.layer is not None:
            constants[semconv.TLDR_LAYER] = self.layer
        if self._given:
            constants.update(captured.attributes(self._given))
        return constants


_Argument = tuple[str, int, str | None, Any, Any]
"""Name, position, keyword (None for positional-only), default (of `**kwargs`: what is not in it), kind."""


def original(function: Any) -> Any:
    """The function that a callable runs in the end: out of partials, decorators and objects with `__call__`."""
    seen = 0
    while seen < sys.getrecursionlimit():
        seen += 1
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function
    return function


def _problems(options: Options) -> list[str]:
    name, attributes, slow_threshold = options.name, options.attributes, options.slow_threshold
    problems = []
    if name is not None and not (isinstance(name, str) and name):
        problems.append(f"name must be a text that is not empty, got {name!r:.100}")
    if attributes is not None and not (isinstance(attributes, Mapping) and all(isinstance(k, str) for k in attributes)):
        problems.append(f"attributes must be a mapping with texts as keys, got {attributes!r:.100}")
    if slow_threshold is not None and not (
        isinstance(slow_threshold, int | float)
        and not isinstance(slow_threshold, bool)
        and 0 <= slow_threshold < float("inf")
    ):
        problems.append(f"slow_threshold must be a number of seconds from 0, got {slow_threshold!r:.100}")
    return problems


def _arguments(function: Any, wanted: object, *, has_receiver: bool) -> tuple[_Argument, ...]:
    parameters = list(inspect.signature(function).parameters.values())
    table: dict[str, _Argument] = {}
    for index, parameter in enumerate(parameters):
        if index == 0 and (has_receiver or parameter.name in _RECEIVERS):
            continue
        kind = parameter.kind
        key = None if kind is inspect.Parameter.POSITIONAL_ONLY else parameter.name
        position = _NOWHERE if kind is inspect.Parameter.KEYWORD_ONLY else index
        default = parameter.default
        if kind is inspect.Parameter.VAR_KEYWORD:
            default = frozenset(p.name for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY)
        table[parameter.name] = (parameter.name, position, key, default, kind)
    if wanted is True:
        return tuple(table.values())
    names = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f"capture_args must be True, False or names of parameters, got {wanted!r:.100}")
    unknown = [name for name in names if name not in table]
    if unknown:
        raise ValueError(
            f"capture_args names {', '.join(map(repr, unknown))}; the parameters that can be captured are "
            f"{', '.join(map(repr, table)) or 'none'}"
        )
    return tuple(table[name] for name in dict.fromkeys(names))
