"""Events: what happened and is worth a log record of its own, whether or not its trace is sampled."""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from tldr_observability import _record, guard, semconv
from tldr_observability.errors import ConfigurationError
from tldr_observability.tracing import captured, failures, kinds, messages, records, slowness, source
from tldr_observability.tracing.decorators import NOTHING, decorate
from tldr_observability.tracing.site import CallSite, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType

__all__ = ["Level", "log_event"]

Level = Literal["trace", "debug", "info", "notice", "warn", "warning", "error", "fatal"]
_MESSAGE_LENGTH = 2048
F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any] | staticmethod[..., Any] | property")


@overload
def log_event(
    event: str,
    /,
    *,
    level: Level = "info",
    message: str | None = None,
    attributes: Mapping[str, object] | None = None,
    **values: object,
) -> None: ...


@overload
def log_event(function: F, /) -> F: ...


@overload
def log_event(
    *,
    name: str | None = None,
    level: Level = "info",
    message: str | None = None,
    capture_args: bool | Iterable[str] = False,
    capture_result: bool = False,
    attributes: Mapping[str, object] | None = None,
    slow_threshold: float | None = None,
) -> Callable[[F], F]: ...


def log_event(event: Any = NOTHING, /, **options: Any) -> Any:
    """Write an event as an OpenTelemetry log record, now or whenever a function returns.

    With a text it writes at once: `log_event("stream.started", stream_id="1")`. Without one it is a decorator, bare or
    with options: `@log_event(name="stream.started")` writes the event each time the function returns; when an exception
    leaves the function, the event has level error, `tldr.outcome` failed and the exception's attributes. The event of a
    bare decorator has the function's name.

    Args:
        event: the event's name, bounded by the code base: values go into attributes.
        options: `level`; `message`: the record's text, the event's name where there is none, and `{key}` in it shows an
            attribute or captured argument; `attributes`: a mapping, for keys that aren't Python names. With a text, all
            other keywords are attributes as well. Decorating: `name`, `capture_args`, `capture_result`,
            `slow_threshold` as for `traced`.

    Raises:
        ConfigurationError: only when decorating: what is decorated is no function, or an option can't be used for it.
    """
    if isinstance(event, str):
        _log_now(sys._getframe(1), event, **options)  # noqa: SLF001 - the documented way, a tenth of `inspect`'s price
        return None
    known = {"level", "message", *Options._fields}
    if unknown := [option for option in options if option not in known]:
        raise TypeError(f"log_event() got unexpected options for a decorator: {', '.join(unknown)}")
    return decorate(event, functools.partial(_wrap, **options), "log_event")


def _log_now(
    frame: FrameType,
    event: str,
    /,
    level: str = "info",
    message: str | None = None,
    attributes: Mapping[str, object] | None = None,
    **values: object,
) -> None:
    if not _record.record.enabled:
        return
    with guard.guarded("logging an event"):
        place = {**source.of_code(frame.f_code), semconv.CODE_LINENO: frame.f_lineno}
        shown = {**attributes, **values} if attributes else values
        records.emit(event, level, _text(message, shown), shown, place)


def _text(message: object, values: dict[str, object]) -> str | None:
    if message is None:
        return None
    if issubclass(type(message), str):
        return messages.fill(str.__str__(message), values)
    return captured.text(message, _MESSAGE_LENGTH)


def _wrap(
    function: Callable[..., Any],
    /,
    *,
    has_receiver: bool,
    level: str = "info",
    message: str | None = None,
    **options: Any,
) -> Callable[..., Any]:
    site = CallSite(function, "log_event", Options(**options), has_receiver=has_receiver)
    if level not in semconv.LEVELS:
        raise ConfigurationError(
            f"@log_event on {site.name}: level must be one of {', '.join(semconv.LEVELS)}, got {level!r:.100}"
        )
    return kinds.wrap(function, functools.partial(_begin, site, level, message), site.name)


def _begin(
    site: CallSite, level: str, message: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Announced | None:
    try:
        values = site.values(args, kwargs)
        return _Announced(site, level, _text(message, values), captured.attributes(values))
    except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
        guard.report("preparing an event", error)
        return None


class _Announced:
    """A running call whose end is an event."""

    __slots__ = ("_level", "_message", "_site", "_started", "_values")

    def __init__(self, site: CallSite, level: str, message: str | None, values: dict[str, Any]) -> None:
        self._site = site
        self._level = level
        self._message = message
        self._values = values
        self._started = time.perf_counter()

    def returned(self, result: Any = None) -> None:
        with guard.guarded("logging an event"):
            self._emit(self._level, {semconv.TLDR_RESULT: result} if self._site.capture_result else {})

    def raised(self, error: BaseException) -> None:
        with guard.guarded("logging an event"):
            if (outcome := failures.outcome(error)) is failures.FAILED:
                self._emit("error", {}, {semconv.TLDR_OUTCOME: outcome, **captured.exception_attributes(error)})
            else:
                self._emit(self._level, {}, {semconv.TLDR_OUTCOME: outcome})

    def suspend(self) -> None:
        """Nothing: an event has no context of its own."""

    def resume(self) -> None:
        """Nothing: an event has no context of its own."""

    def _emit(self, level: str, values: dict[str, object], fixed: dict[str, Any] | None = None) -> None:
        site = self._site
        records.emit(site.name, level, self._message, values, {**site.place(), **self._values, **(fixed or {})})
        limit = slowness.threshold(site)
        if limit is not None and (elapsed := time.perf_counter() - self._started) >= limit:
            slowness.log(site, elapsed, limit)
