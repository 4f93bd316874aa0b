"""Plain values and the keys of mappings as JSON text."""

from __future__ import annotations

from typing import Any, Final

from tldr_observability.capture.reading import instance_dict
from tldr_observability.capture.shapes import Shape, shape_of, simplified
from tldr_observability.capture.strings import cut, encodable, object_name, quote, short_name

__all__ = ["MAX_KEY_LENGTH", "float_text", "integer_text", "key_text", "plain_items"]

MAX_KEY_LENGTH: Final = 256
_MAX_BITS: Final = 2_000
"""Of an integer that is written in digits: safely below what `sys.set_int_max_str_digits` may forbid."""
_MAX_PARTS: Final = 8
_MAX_ESCAPE: Final = 6
_TEXT: Final = {id(str)}
_NUMBERS: Final = {id(int), id(float)}
_LEAST: Final = -(10**30)
_MOST: Final = 10**30
_WORDS: Final = {True: "true", False: "false", None: "null"}


def integer_text(value: int) -> str:
    """An exact int in digits, or its size in words when there would be hundreds of them."""
    bits = value.bit_length()
    return repr(value) if bits <= _MAX_BITS else f"<int of {bits} bits>"


def float_text(value: float) -> str:
    """An exact float as JSON: those that JSON doesn't have are strings."""
    return repr(value) if value - value == 0 else quote(repr(value))


def key_text(key: object) -> str:
    """Any key as text: what JSON, or else `repr()`, would give it, without the host's code."""
    cls = type(key)
    if cls is str:
        return cut(key, MAX_KEY_LENGTH)  # type: ignore[arg-type]
    if key is None or cls is bool:
        return _WORDS[key]  # type: ignore[index]
    return _other_key(key, shape_of(cls))


def plain_items(items: list[Any], room: int) -> str | None:
    """All items at once, for the commonest lists: short ASCII strings, or numbers. None for any others."""
    # By id, for a class is hashed by its metaclass, which may be the host's.
    kinds = set(map(id, map(type, items)))
    if kinds == _TEXT:
        text = ",".join(map(quote, items)) if sum(map(len, items)) <= room // _MAX_ESCAPE - len(items) else ""
        return text if text and text.isascii() else None
    if kinds <= _NUMBERS and all(_LEAST < each < _MOST for each in items):
        text = ",".join(map(repr, items))
        return text if len(text) <= room else None
    return None


def _other_key(key: Any, shape: Shape) -> str:  # noqa: PLR0911 - one line a kind
    kind, base = shape.kind, shape.base
    if kind == "text":
        return cut(key, MAX_KEY_LENGTH)
    if kind == "integer":
        return integer_text(int.__pos__(key))
    if kind == "float":
        return repr(float.__pos__(key))
    if kind == "enum":
        return _enum_key(key, shape)
    if base is bytes:
        return cut(repr(bytes.__getitem__(key, slice(0, MAX_KEY_LENGTH))), MAX_KEY_LENGTH)
    if shape.leaf is not None:
        text = str(simplified(key, shape, MAX_KEY_LENGTH))
        named = text.startswith("<")
        return cut(base.__repr__(key) if shape.leaf.sortable and not named else text, MAX_KEY_LENGTH)
    if shape.cls is tuple and len(key) <= _MAX_PARTS:
        parts = ", ".join(_part(part) for part in key)
        return cut(f"({parts},)" if len(key) == 1 else f"({parts})", MAX_KEY_LENGTH)
    return object_name(shape.cls)


def _part(part: object) -> str:
    if type(part) is str:
        return encodable(repr(cut(part, MAX_KEY_LENGTH)))
    if part is None or type(part) is bool:
        return repr(part)
    shape = shape_of(type(part))
    return object_name(shape.cls) if shape.kind in {"enum", "sequence"} else key_text(part)


def _enum_key(member: object, shape: Shape) -> str:
    kept = instance_dict(member, shape)
    name, value = kept.get("_name_"), kept.get("_value_")
    if issubclass(shape.cls, (str, int)):
        return key_text(value)
    return cut(f"<{short_name(shape.cls)}.{name if type(name) is str else '?'}: {_part(value)}>", MAX_KEY_LENGTH)
