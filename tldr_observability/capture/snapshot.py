"""One value of the host as bounded JSON text together with its schema; none of the host's code runs.

Containers are read through the built-in classes' own functions, a bounded number of items at a time, so that neither
their size nor an `__iter__` of the host's matters; strings are cut before anything looks at their characters.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tldr_observability.capture import schema
from tldr_observability.capture.keys import float_text, integer_text, key_text, plain_items
from tldr_observability.capture.limits import Limits
from tldr_observability.capture.messages import quiet_message
from tldr_observability.capture.reading import (
    behind_proxy,
    entries,
    enum_values,
    extra_fields,
    field_values,
    in_order,
    instance_dict,
    items,
    size,
)
from tldr_observability.capture.shapes import Kind, Shape, shape_of, simplified
from tldr_observability.capture.strings import cut, object_name, quote, short_name, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Snapshot"]

_MAX_ESCAPE: Final = 6
"""Characters that JSON needs for one control character."""
_LEAST_TEXT: Final = 16
_CLOSING: Final = 48
"""Room kept for one container's count of what was left out and its bracket."""
_LOOK_AT_CLOCK: Final = 31
_ENUM_LIMITS: Final = Limits(depth=2, breadth=64, text=256, total=2_048, seconds=60.0)


class Snapshot:
    """Writes values one after the other within common limits; made for one span or log record and then dropped."""

    __slots__ = ("_deadline", "_left", "_limits", "_parts", "_path", "_ticks")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadline = perf_counter() + limits.seconds
        self._ticks = 0
        self._left = 0
        self._parts: list[str] = []
        self._path: list[int] = []

    def json(self, value: object, total: int) -> tuple[str, str]:
        """The value as JSON text of at most `total` characters, and its schema."""
        self._parts, self._path = [], []
        self._left = total - _CLOSING * (self._limits.depth + 2) - _MAX_ESCAPE * _LEAST_TEXT
        told = self._write(value, 0)
        text = "".join(self._parts)
        return (text, told) if len(text) <= total else ('"…"'[:total], schema.PLAIN)

    def _write(self, value: object, depth: int) -> str:
        """Append the value's JSON and return its schema."""
        cls = type(value)
        if cls is str:
            self._text(value)  # type: ignore[arg-type]
        elif cls is int:
            self._integer(value)  # type: ignore[arg-type]
        elif value is None:
            self._put("null")
            return schema.NULL
        elif cls is bool:
            self._put("true" if value else "false")
        elif cls is float:
            self._put(float_text(value))  # type: ignore[arg-type]
        else:
            shape = shape_of(cls)
            if shape.kind in self._inside:
                return self._enter(value, shape, depth)
            return self._simple(value, shape, depth)
        return schema.PLAIN

    def _member(self, name: str, value: object, depth: int) -> str:
        """Append a field or entry. Whatever has a name inside a value comes by here: the place to redact by name."""
        self._put(f"{quote(name)}:")
        return self._write(value, depth)

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._left -= len(text)

    def _text(self, value: str) -> None:
        room = max(self._left, _LEAST_TEXT)
        quoted = quote(cut(value, min(self._limits.text, room)))
        if len(quoted) > room + 2:
            quoted = quote(cut(value, max(room // _MAX_ESCAPE, _LEAST_TEXT)))
        self._put(quoted)

    def _integer(self, value: int) -> None:
        text = integer_text(value)
        self._put(quote(text) if text[0] == "<" else text)

    def _simple(self, value: Any, shape: Shape, depth: int) -> str:
        kind = shape.kind
        if kind == "text":
            self._text(value)
            return schema.PLAIN
        if kind == "integer":
            return self._write(int.__pos__(value), depth)
        if kind == "float":
            return self._write(float.__pos__(value), depth)
        if kind == "error":
            self._text(quiet_message(value, self._limits.text))
        elif shape.leaf is not None:
            told = self._write(simplified(value, shape, self._limits.text), depth)
            return shape.schema or told
        else:
            self._text(object_name(shape.cls))
        return shape.schema or schema.UNKNOWN

    def _enter(self, value: Any, shape: Shape, depth: int) -> str:
        if id(value) in self._path:
            self._put('"<circular reference>"')
            return schema.PLAIN
        if depth >= self._limits.depth:
            length = size(value, shape)
            self._text(object_name(shape.cls) if length is None else f"<{type_name(shape.cls)}, {length} items>")
            return schema.PLAIN
        self._path.append(id(value))
        told = self._inside[shape.kind](self, value, shape, depth + 1)
        self._path.pop()
        return told

    def _sequence(self, value: object, shape: Shape, depth: int) -> str:
        taken = items(value, shape.base, self._limits.breadth)
        if taken is None:
            return self._changed(shape)
        firsts, length = taken
        ordered = in_order(firsts) if shape.base in {set, frozenset} else True
        plain = plain_items(firsts, min(self._left, self._limits.text)) if len(firsts) == length else None
        if plain is not None:
            self._put(f"[{plain}]")
            return shape.schema or schema.array((), "" if shape.base is list else short_name(shape.base))
        told: list[str] = []
        self._put("[")
        for each in firsts:
            if self._spent():
                break
            if told:
                self._put(",")
            told.append(self._write(each, depth))
        if len(told) < length:
            self._put(f'{"," if told else ""}"… {length - len(told)} more"')
        self._put("]")
        if shape.schema is not None:
            return shape.schema
        return schema.array(told if ordered else (), "" if shape.base is list else short_name(shape.base))

    def _mapping(self, value: object, shape: Shape, depth: int) -> str:
        taken = entries(value, self._limits.breadth)
        if taken is None:
            return self._changed(shape)
        firsts, length = taken
        names, told = self._object([(key_text(key), each) for key, each in firsts], length, depth)
        text = schema.mapping(names, told, length)
        return text if shape.cls is dict else schema.titled(text, short_name(shape.cls))

    def _proxy(self, value: object, shape: Shape, depth: int) -> str:
        behind = behind_proxy(value)
        if behind is None:
            self._text(object_name(shape.cls))
            return schema.UNKNOWN
        told = self._enter(*behind, depth)
        return schema.titled(told, short_name(shape.cls)) if behind[1].cls is dict and told != schema.PLAIN else told

    def _fields(self, value: object, shape: Shape, depth: int) -> str:
        breadth = self._limits.breadth
        members = field_values(value, shape, breadth)
        if shape.root:
            return self._root(members[0][1] if members else None, depth)
        length = len(members) + max(len(shape.fields) - breadth, 0)
        if extra := extra_fields(value, shape):
            more, count = entries(extra, breadth - len(members)) or ([], 0)
            members += [(key_text(key), each) for key, each in more]
            length += count
        names, told = self._object(members, length, depth)
        return schema.named("object", short_name(shape.cls), shape.datatype, schema.properties(names, told))

    def _root(self, root: object, depth: int) -> str:
        told = self._write(root, depth)
        return schema.ROOTS.get(type(root), told) if told == schema.PLAIN else told

    def _enum(self, member: object, shape: Shape, depth: int) -> str:
        self._write(instance_dict(member, shape).get("_value_"), depth)
        if shape.schema is None:
            values = enum_values(shape.cls, _ENUM_LIMITS.breadth)
            values_json, _ = Snapshot(_ENUM_LIMITS).json(values, _ENUM_LIMITS.total)
            shape.schema = schema.enum(short_name(shape.cls), values, values_json)
        return shape.schema

    def _object(self, members: Iterable[tuple[str, object]], length: int, depth: int) -> tuple[list[str], list[str]]:
        names: list[str] = []
        told: list[str] = []
        self._put("{")
        for name, each in members:
            if self._spent() or _MAX_ESCAPE * len(name) > self._left:
                break
            if names:
                self._put(",")
            names.append(name)
            told.append(self._member(name, each, depth))
        if len(names) < length:
            self._put(f'{"," if names else ""}"…":"{length - len(names)} more"')
        self._put("}")
        return names, told

    def _changed(self, shape: Shape) -> str:
        self._text(f"<{type_name(shape.cls)} that changed while it was read>")
        return schema.PLAIN

    def _spent(self) -> bool:
        self._ticks += 1
        if not self._ticks & _LOOK_AT_CLOCK and perf_counter() > self._deadline:
            self._left = 0
        return self._left <= 0

    _inside: ClassVar[dict[Kind, Callable[[Snapshot, Any, Shape, int], str]]] = {
        "mapping": _mapping,
        "proxy": _proxy,
        "sequence": _sequence,
        "fields": _fields,
        "enum": _enum,
    }
