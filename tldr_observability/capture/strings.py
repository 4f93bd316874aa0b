"""Bounded text that can be encoded, and names of classes, made without running any code of the host."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Final

__all__ = ["cut", "encodable", "object_name", "quote", "raw_mro", "short_name", "type_name"]

MAX_NAME_LENGTH: Final = 200
_TAIL_LENGTH = 24

# A class may have a metaclass with attribute hooks of its own; these read what the interpreter itself keeps.
raw_mro = type.__dict__["__mro__"].__get__
_raw_module = type.__dict__["__module__"].__get__
_raw_name = type.__dict__["__name__"].__get__
_raw_qualname = type.__dict__["__qualname__"].__get__


def cut(value: str, limit: int) -> str:
    """The beginning of a string (also of a subclass) with a count of what is missing, in at most `limit` characters."""
    length = str.__len__(value)
    if length <= limit:
        return encodable(str.__getitem__(value, slice(0, length)))
    kept = limit - _TAIL_LENGTH
    if kept < _TAIL_LENGTH:
        return encodable(str.__getitem__(value, slice(0, max(limit - 1, 0)))) + "…" * (limit > 0)
    return f"{encodable(str.__getitem__(value, slice(0, kept)))}… {length - kept} more"


def encodable(value: str) -> str:
    """The same text, with half a surrogate pair replaced, so that it can be written as UTF-8; never longer."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def quote(value: str) -> str:
    """The text as a JSON string."""
    quoted: str = encode_basestring(value)
    return quoted


def short_name(cls: type) -> str:
    """The name of the class alone."""
    return cut(_raw_name(cls), MAX_NAME_LENGTH)


def type_name(cls: type) -> str:
    """`module.Class`, without the module for built-ins: as OpenTelemetry names the type of an exception."""
    name = cut(_raw_qualname(cls), MAX_NAME_LENGTH)
    try:
        module = _raw_module(cls)
    except AttributeError:
        return name
    if not issubclass(type(module), str) or module in {"", "builtins"}:
        return name
    return f"{cut(module, MAX_NAME_LENGTH)}.{name}"


def object_name(cls: type) -> str:
    """What stands for an object that is not looked into; without an address, so that equal things can be grouped."""
    return f"<{type_name(cls)} object>"
