"""What an exception says, in bounded text."""

from __future__ import annotations

from typing import Final

from tldr_observability.capture.shapes import raw
from tldr_observability.capture.strings import cut, object_name

__all__ = ["own_message", "quiet_message"]

_MAX_ARGUMENTS: Final = 8
_MAX_BITS: Final = 256
_arguments = BaseException.__dict__["args"].__get__
_os_error_parts = [OSError.__dict__[name].__get__ for name in ("errno", "strerror", "filename", "filename2")]
_KEY_ERROR_STR: Final = vars(KeyError)["__str__"]
_KNOWN_STR: Final = tuple(
    vars(cls)["__str__"]
    for cls in (BaseException, KeyError, OSError, ImportError, UnicodeDecodeError, UnicodeEncodeError)
)
"""What the interpreter's own exceptions say is made of their arguments; an extension's may be made of anything."""


def own_message(error: BaseException, limit: int) -> str | None:
    """The exception's own `str()`, which may be the host's code; None when it fails.

    Whatever it raises is held back, except for what asks the program to stop.
    """
    try:
        arguments = _arguments(error)
        if raw(type(error), "__str__") is _KEY_ERROR_STR and len(arguments) == 1 and type(arguments[0]) is str:
            # It quotes its argument, which may be long.
            return cut(repr(arguments[0]) if len(arguments[0]) <= limit else arguments[0], limit)
        return cut(str(error), limit)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a __str__ may raise anything, a cancellation or GeneratorExit included
        return None


def quiet_message(error: BaseException, limit: int) -> str:
    """What `str()` would give, without the host's code; where that can't be had, the plain arguments or the class."""
    cls = type(error)
    arguments: tuple[object, ...] = _arguments(error)
    plain = [each for each in arguments[:_MAX_ARGUMENTS] if _is_plain(each, limit)]
    speaks = raw(cls, "__str__")
    if (
        any(speaks is each for each in _KNOWN_STR)
        and len(plain) == len(arguments)
        and (not issubclass(cls, OSError) or all(_is_plain(read(error), limit) for read in _os_error_parts))
    ):
        return cut(speaks(error), limit)
    return cut(": ".join(map(str, plain)), limit) if plain else object_name(cls)


def _is_plain(value: object, limit: int) -> bool:
    cls = type(value)
    if cls is str or cls is bytes:
        return len(value) <= limit  # type: ignore[arg-type]
    if cls is int:
        return value.bit_length() <= _MAX_BITS  # type: ignore[attr-defined, no-any-return]
    return value is None or cls is bool or cls is float
