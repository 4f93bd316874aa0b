"""The host's values as attributes of spans and bodies of log records."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from tldr_observability import semconv
from tldr_observability.capture import schema
from tldr_observability.capture.keys import MAX_KEY_LENGTH, integer_text
from tldr_observability.capture.limits import DEFAULT_LIMITS, Limits
from tldr_observability.capture.messages import own_message
from tldr_observability.capture.reading import entries, instance_dict
from tldr_observability.capture.shapes import Shape, shape_of, simplified
from tldr_observability.capture.snapshot import Snapshot
from tldr_observability.capture.strings import cut, object_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

__all__ = ["attribute", "attributes", "text"]

MAX_ATTRIBUTES: Final = 100
"""Of one span, from the host: OpenTelemetry's SDK keeps 128 and drops the oldest, which would be ours."""

_MAX_INT: Final = 2**63 - 1
_MIN_INT: Final = -(2**63)
_MAX_SCHEMAS: Final = 512
_MAX_KEPT_SCHEMA: Final = 2_048
_UNREADABLE: Final = "<unreadable>"
_NUMBER_LENGTH: Final = 16
_LEAST_JSON: Final = 512
# Logfire leaves the place in the source out of the schema, and the schema itself is ours to write.
_WITHOUT_SCHEMA: Final = frozenset({semconv.CODE_FILEPATH, semconv.CODE_FUNCTION, semconv.CODE_LINENO})
_SPECIAL: Final = _WITHOUT_SCHEMA | {semconv.LOGFIRE_JSON_SCHEMA}
_schemas: dict[tuple[str, ...], str] = {}


def attribute(value: object, limits: Limits = DEFAULT_LIMITS) -> tuple[AttributeValue, str]:
    """The value as a span attribute and, as JSON text, the schema by which Logfire's live view shows it.

    A str, int, float or bool stays what it is, anything else becomes JSON: the same as `logfire.span("...", key=value)`
    writes, except that

    * what is beyond the limits is counted (`… 936 more`) or named (`<dict, 3 items>`);
    * an object of a class that isn't a dataclass, an attrs class, a pydantic model, an enum, or of a well-known library
      type is only named, `<module.Class object>`: no `__str__`, `__repr__`, property or iterator of the host runs. This
      includes rows of an ORM, data frames and mappings that aren't dicts; arrays show their shape;
    * the keys None, True and False are JSON's words at every level (Logfire has Python's in objects);
    * a pydantic model shows its fields as they are kept, without computed fields and custom serializers;
    * an exception shows its arguments where its `__str__` is Python code;
    * numpy's scalars are numbers, and half a surrogate pair is replaced.
    """
    try:
        return _one(value, Snapshot(limits), limits, limits.total)
    except Exception:  # noqa: BLE001 - the host may be at its recursion limit or out of memory
        return _UNREADABLE, schema.PLAIN


def attributes(values: Mapping[str, object], limits: Limits = DEFAULT_LIMITS) -> dict[str, AttributeValue]:
    """The attributes of one span, each as `attribute` gives it, and the schema of all as `logfire.span()` has it."""
    try:
        count = len(values)
        if not count:
            return {}
        if count <= MAX_ATTRIBUTES and type(values) is dict:
            taken: dict[str, Any] = values.copy()
            if _are_plain(taken, min(limits.text, limits.span // count)):
                names = tuple(taken)
                known = _schemas.get(names) or _plain_schema(names)
                if known is not None:
                    taken[semconv.LOGFIRE_JSON_SCHEMA] = known
                    return taken
        return _mixed(values, limits)
    except Exception:  # noqa: BLE001 - as above; the span goes without
        return {}


def text(value: object, limit: int) -> str:
    """The value as text of at most `limit` characters; never raises.

    An exception gives its own message. Otherwise no code of the host's runs: an enum's member gives its value,
    containers are JSON, and objects of other classes are named.
    """
    try:
        return cut(_as_text(value, shape_of(type(value)), limit), limit)
    except Exception:  # noqa: BLE001 - as above
        return ""


def _are_plain(values: dict[str, object], longest: int) -> bool:
    """Whether every value can go as it is: the commonest call by far, hence inline and in the order of frequency."""
    for key, value in values.items():
        kind = type(value)
        if kind is str:
            if len(value) > longest or not value.isascii():  # type: ignore[arg-type, attr-defined]
                return False
        elif kind is int:
            if not _MIN_INT <= value <= _MAX_INT:  # type: ignore[operator]
                return False
        elif kind is float:
            if value - value != 0:  # type: ignore[operator]
                return False
        elif kind is not bool:
            return False
        if type(key) is not str:
            return False
    return True


def _as_text(value: Any, shape: Shape, limit: int) -> str:  # noqa: PLR0911 - one line a kind
    if shape.kind == "text":
        return cut(value, limit)
    if value is None or shape.cls is bool:
        return repr(value)
    if issubclass(shape.cls, BaseException):
        said = own_message(value, limit)
        return object_name(shape.cls) if said is None else said
    if shape.kind == "enum":
        return text(instance_dict(value, shape).get("_value_"), limit)
    if shape.leaf is not None:
        return str(simplified(value, shape, limit))
    if shape.kind == "unknown":
        return object_name(shape.cls)
    plain, _ = attribute(value, DEFAULT_LIMITS._replace(total=max(limit, _LEAST_JSON)))
    return str(plain)


def _one(value: Any, snapshot: Snapshot, limits: Limits, total: int) -> tuple[AttributeValue, str]:
    shape = shape_of(type(value))
    if shape.leaf is not None and shape.leaf.schema is None:
        value = simplified(value, shape, limits.text)
        shape = shape_of(type(value))
    if shape.kind == "text":
        return cut(value, min(limits.text, total)), schema.PLAIN
    if shape.cls is bool:
        return value, schema.PLAIN
    if shape.kind == "integer":
        number = int.__pos__(value)
        return number if _MIN_INT <= number <= _MAX_INT else integer_text(number), schema.PLAIN
    if shape.kind == "float":
        real = float.__pos__(value)
        return real if real - real == 0 else repr(real), schema.PLAIN
    return snapshot.json(value, total)


def _mixed(values: Mapping[str, object], limits: Limits) -> dict[str, AttributeValue]:
    snapshot = Snapshot(limits)
    taken: dict[str, AttributeValue] = {}
    schemas: dict[str, str] = {}
    left, done = limits.span, 0
    first, length = _first(values)
    for name, value in first:
        if left <= 0:
            break
        done += 1
        key = cut(name, MAX_KEY_LENGTH)
        if key == semconv.LOGFIRE_JSON_SCHEMA:
            continue
        try:
            written, told = _one(value, snapshot, limits, min(limits.total, left))
        except Exception:  # noqa: BLE001 - as in `attribute`; the others are still worth having
            written, told = _UNREADABLE, schema.PLAIN
        left -= len(written) if type(written) is str else _NUMBER_LENGTH
        taken[key] = written
        if key not in _WITHOUT_SCHEMA:
            schemas[key] = told
    if done < length:
        taken["…"] = f"{length - done} more"
        schemas["…"] = schema.PLAIN
    if schemas:
        taken[semconv.LOGFIRE_JSON_SCHEMA] = schema.whole(schemas)
    return taken


def _first(values: Mapping[str, object]) -> tuple[list[tuple[str, object]], int]:
    if issubclass(type(values), dict):
        first, length = entries(values, MAX_ATTRIBUTES) or ([], 0)
    else:
        first, length = list(islice(values.items(), MAX_ATTRIBUTES)), len(values)
    return [(key, value) for key, value in first if issubclass(type(key), str)], length


def _plain_schema(names: tuple[str, ...]) -> str | None:
    """The schema of a span whose values are all plain, kept for next time; None for names that need a closer look."""
    if any(len(name) > MAX_KEY_LENGTH or not name.isascii() or name in _SPECIAL for name in names):
        return None
    text = schema.whole(dict.fromkeys(names, schema.PLAIN))
    if len(text) <= _MAX_KEPT_SCHEMA:
        if len(_schemas) >= _MAX_SCHEMAS:
            _schemas.clear()
        _schemas[names] = text
    return text
