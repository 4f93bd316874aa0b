"""JSON-schema fragments as text, by which Logfire's live view knows what a JSON string was in Python.

The keywords that begin with `x-` are Logfire's. A fragment without any of them tells the view nothing that the JSON
doesn't, and is left out below the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tldr_observability.capture.strings import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "NULL",
    "PLAIN",
    "ROOTS",
    "UNKNOWN",
    "array",
    "enum",
    "mapping",
    "named",
    "properties",
    "string",
    "titled",
    "whole",
]

PLAIN: Final = "{}"
NULL: Final = '{"type":"null"}'
UNKNOWN: Final = '{"type":"object","x-python-datatype":"unknown"}'
ROOTS: Final = {
    str: '{"type":"string","x-python-datatype":"str"}',
    bool: '{"type":"boolean","x-python-datatype":null}',
    int: '{"type":"integer","x-python-datatype":"int"}',
    float: '{"type":"number","x-python-datatype":"float"}',
}
"""Of the one value that a pydantic root model holds."""

_NOTHING_NEW: Final = frozenset({PLAIN, NULL, '{"type":"object"}', '{"type":"array"}'})
_ENUM_TYPES: Final[dict[type, str]] = {str: "string", int: "integer", bool: "boolean", float: "number"}
_MAX_LENGTH: Final = 8_192
_SMALL_MAPPING: Final = 10
_LARGE_MAPPING: Final = 100
_LONG_KEY: Final = 100


def string(datatype: str = "", form: str = "", title: str = "") -> str:
    """The schema of a leaf that is written as a JSON string."""
    return _schema("string", ("title", title), ("format", form), ("x-python-datatype", datatype))


def named(type_: str, title: str, datatype: str, more: str = "") -> str:
    """The schema of an object that shows its class's name; `more` is JSON text to append."""
    return _schema(type_, ("title", title), ("x-python-datatype", datatype))[:-1] + more + "}"


def array(items: Sequence[str], datatype: str = "") -> str:
    """The schema of a sequence, from those of its items."""
    head = _schema("array", ("x-python-datatype", datatype))
    if _NOTHING_NEW.issuperset(items):
        return head
    rest = f'"items":{items[0]}' if items.count(items[0]) == len(items) else f'"prefixItems":[{",".join(items)}]'
    return _joined(head, rest)


def mapping(keys: Sequence[str], values: Sequence[str], length: int) -> str:
    """The schema of a mapping, from those of its values; `length` counts the entries that were left out as well."""
    head = '{"type":"object"}'
    if _NOTHING_NEW.issuperset(values):
        return head
    long_key = any(len(key) > _LONG_KEY for key in keys)
    if (length > _SMALL_MAPPING or long_key) and values.count(values[0]) == len(values):
        return _joined(head, f'"additionalProperties":{values[0]}')
    return head if length > _LARGE_MAPPING or long_key else _joined(head, properties(keys, values)[1:])


def titled(text: str, title: str) -> str:
    """A mapping's schema for a class of its own."""
    return f'{text[:-1]},"x-python-datatype":"Mapping","title":{quote(title)}}}'


def enum(title: str, values: Sequence[object] | None, values_json: str) -> str:
    """The schema of an enum's member; `values` are those of all members, None when there are too many to name."""
    types = {_ENUM_TYPES.get(type(each)) for each in values or (None,)}
    type_ = (types.pop() if len(types) == 1 else None) or "object"
    return named(type_, title, "Enum", "" if values is None else f',"enum":{values_json}')


def properties(keys: Sequence[str], values: Sequence[str]) -> str:
    """`,"properties":{...}` with those of the schemas that say something, or nothing."""
    told = [f"{quote(key)}:{value}" for key, value in zip(keys, values, strict=True) if value not in _NOTHING_NEW]
    text = f',"properties":{{{",".join(told)}}}' if told else ""
    return text if len(text) <= _MAX_LENGTH else ""


def whole(schemas: Mapping[str, str]) -> str:
    """The schema of all attributes of a span."""
    told = ",".join(f"{quote(key)}:{value}" for key, value in schemas.items())
    return f'{{"type":"object","properties":{{{told}}}}}'


def _joined(head: str, rest: str) -> str:
    return f"{head[:-1]},{rest}}}" if rest and len(rest) <= _MAX_LENGTH else head


def _schema(type_: str, *keywords: tuple[str, str]) -> str:
    told = "".join(f',"{key}":{quote(value)}' for key, value in keywords if value)
    return f'{{"type":"{type_}"{told}}}'
