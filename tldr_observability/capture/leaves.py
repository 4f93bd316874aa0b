"""Library values that are written as one plain value: dates, numbers, identifiers, paths, addresses, secrets.

A class is known by its name and then by identity, looked up in what is already imported: nothing is imported for it,
and a class that only claims the name gains nothing. A leaf's functions are those of the known class, not of a subclass.
"""

from __future__ import annotations

import sys
from types import EllipsisType, FunctionType, GeneratorType, NotImplementedType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tldr_observability.capture import schema
from tldr_observability.capture.strings import cut, encodable, object_name, short_name, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Leaf", "known", "leaf_of"]

_MAX_DECIMAL_BYTES: Final = 4_096
_STARS: Final = "**********"
# Time zones are asked for their offset, which is Python code; these are trusted to answer at once.
_TRUSTED_ZONES: Final = frozenset(
    {"backports", "datetime", "dateutil", "pendulum", "pydantic_core", "pytz", "zoneinfo"}
)


class Leaf(NamedTuple):
    """How one library class is written."""

    simplify: Callable[[Any, type, int], object]
    """From the value, the known class and the limit of text to something simpler."""
    schema: str | None
    """None when the simpler value's own schema is used."""
    sortable: bool = False
    titled: bool = False
    """Whether a subclass shows its name."""


def leaf_of(cls: type) -> Leaf | None:
    """How the class is written, when it is one of the known ones itself."""
    name = type_name(cls)
    return LEAVES[name] if name in LEAVES and (known(cls, name) or any(cls is each for each in _NAMELESS)) else None


def known(cls: type, name: str) -> bool:
    """Whether the class is the one that `name` stands for, in a module that is imported already."""
    module, _, attribute = name.rpartition(".")
    home = sys.modules.get(module or "builtins")
    return home is not None and vars(home).get(attribute) is cls


def _text(value: Any, base: Any, limit: int) -> str:
    return cut(base.__str__(value), limit)


def _repr(value: Any, base: Any, limit: int) -> str:
    return cut(base.__repr__(value), limit)


def _pure_path(value: Any, base: Any, limit: int) -> str:
    return cut(f"{short_name(type(value))}({base.__str__(value)!r})", limit)


def _decimal(value: Any, base: Any, limit: int) -> str:
    return object_name(base) if base.__sizeof__(value) > _MAX_DECIMAL_BYTES else cut(base.__str__(value), limit)


def _bytes(value: Any, base: type[bytes | bytearray], limit: int) -> str:
    length = base.__len__(value)
    text = repr(bytes(base.__getitem__(value, slice(0, limit))))[2:-1]
    if length <= limit and len(text) <= limit:
        return text
    tail = f"… of {length} bytes"
    return text[: max(limit - len(tail), 0)] + tail[:limit]


def _date(value: Any, base: Any, _: int) -> str:
    text: str = base.isoformat(value)
    return text


def _datetime(value: Any, base: Any, _: int) -> str:
    if _zone_is_trusted(base.tzinfo.__get__(value)):
        return encodable(base.isoformat(value))
    naive: str = base.combine(base.date(value), base.time(value)).isoformat()
    return naive


def _time(value: Any, base: Any, _: int) -> str:
    return encodable(base.isoformat(value)) if _zone_is_trusted(base.tzinfo.__get__(value)) else object_name(base)


def _zone_is_trusted(zone: object) -> bool:
    return zone is None or type_name(type(zone)).partition(".")[0] in _TRUSTED_ZONES


def _seconds(value: Any, base: Any, _: int) -> object:
    return base.total_seconds(value)


def _pattern(value: Any, base: Any, _: int) -> object:
    return base.pattern.__get__(value)


def _item(value: Any, base: Any, limit: int) -> object:
    # A numpy scalar gives its Python number; one that has no such gives itself, or a container.
    item = base.item(value)
    return item if type(item) in {int, float, bool, str} else _name(value, base, limit)


def _shape(value: Any, base: Any, _: int) -> str:
    return f"{object_name(type(value))[:-1]}, shape {base.shape.__get__(value)!r}>"


def _url(value: Any, base: type, limit: int) -> str:
    inner = vars(base)["__dict__"].__get__(value).get("_url")
    return cut(str(inner), limit) if type_name(type(inner)) == _CORE_URL else object_name(type(value))


def _secret(_value: object, _base: type, _limit: int) -> str:
    return _STARS


def _secret_bytes(_value: object, _base: type, _limit: int) -> str:
    return f"b'{_STARS}'"


def _name(value: object, _base: type, _limit: int) -> str:
    return object_name(type(value))


def _class(value: Any, _base: type, _limit: int) -> str:
    return f"<class '{type_name(value)}'>"


def _function(value: Any, base: Any, limit: int) -> str:
    return f"<{short_name(base)} {cut(vars(base)['__qualname__'].__get__(value), max(limit - 40, 0))}>"


_CORE_URL: Final = "pydantic_core._pydantic_core.Url"
_ANY_URL = schema.string("AnyUrl")
# A datetime by its class, but the fields of a real one aren't set.
_NOT_A_TIME: Final = Leaf(_repr, schema.string("datetime", "date-time"))

LEAVES: Final[dict[str, Leaf]] = {
    "bytes": Leaf(_bytes, schema.string("bytes"), titled=True),
    "bytearray": Leaf(_bytes, schema.string("bytearray"), titled=True),
    "complex": Leaf(_repr, schema.UNKNOWN),
    "type": Leaf(_class, schema.UNKNOWN),
    "ellipsis": Leaf(_repr, schema.UNKNOWN),
    "NotImplementedType": Leaf(_repr, schema.UNKNOWN),
    "function": Leaf(_function, schema.UNKNOWN),
    "generator": Leaf(_name, schema.named("array", "generator", "generator")),
    "datetime.datetime": Leaf(_datetime, schema.string("datetime", "date-time")),
    "datetime.date": Leaf(_date, schema.string("date", "date"), sortable=True),
    "datetime.time": Leaf(_time, schema.string("time", "time")),
    "datetime.timedelta": Leaf(_seconds, schema.string("timedelta"), sortable=True),
    "decimal.Decimal": Leaf(_decimal, schema.string("Decimal", "decimal"), sortable=True),
    "uuid.UUID": Leaf(_text, schema.string(form="uuid"), sortable=True),
    "pathlib.PosixPath": Leaf(_text, schema.string("PosixPath", "path")),
    "pathlib.PurePath": Leaf(_pure_path, schema.UNKNOWN),
    "pathlib._local.PosixPath": Leaf(_text, schema.string("PosixPath", "path")),
    "pathlib._local.PurePath": Leaf(_pure_path, schema.UNKNOWN),
    "ipaddress.IPv4Address": Leaf(_text, schema.string(form="ipv4")),
    "ipaddress.IPv6Address": Leaf(_text, schema.string(form="ipv6")),
    "ipaddress.IPv4Network": Leaf(_text, schema.string(form="ipv4network")),
    "ipaddress.IPv6Network": Leaf(_text, schema.string(form="ipv6network")),
    "ipaddress.IPv4Interface": Leaf(_text, schema.string(form="ipv4interface")),
    "ipaddress.IPv6Interface": Leaf(_text, schema.string(form="ipv6interface")),
    "re.Pattern": Leaf(_pattern, schema.string(form="regex")),
    "pydantic.types.SecretStr": Leaf(_secret, schema.string("SecretStr")),
    "pydantic.types.SecretBytes": Leaf(_secret_bytes, schema.string("SecretBytes")),
    "pydantic.networks._BaseUrl": Leaf(_url, _ANY_URL),
    _CORE_URL: Leaf(_text, _ANY_URL),
    "pandas.api.typing.NaTType": _NOT_A_TIME,
    "pandas._libs.tslibs.nattype.NaTType": _NOT_A_TIME,
    "numpy.generic": Leaf(_item, None),
    "numpy.ndarray": Leaf(_shape, schema.UNKNOWN),
}

_NAMELESS: Final = (FunctionType, GeneratorType, EllipsisType, NotImplementedType)
"""Built-in classes that no module has under their name."""
