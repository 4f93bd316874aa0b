"""The contents of the host's containers and objects, a bounded number at a time, read without the host's code."""

from __future__ import annotations

from gc import get_referents
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from tldr_observability.capture.shapes import MISSING, Shape, raw, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "behind_proxy",
    "entries",
    "enum_values",
    "extra_fields",
    "field_values",
    "in_order",
    "instance_dict",
    "items",
    "size",
]

_NUMBERS: Final = (int, float, bool)
_SORTED_BY: Final = 256


def items(value: Any, base: Any, breadth: int) -> tuple[list[Any], int] | None:
    """The first items of a sequence or set, through its built-in class `base`, and how many it has in all.

    None when it keeps changing while it is read: another thread is at work on it.
    """
    return _first(value, base.__iter__, base.__len__, breadth)


def entries(value: Any, breadth: int) -> tuple[list[tuple[Any, Any]], int] | None:
    """The first entries of a dict and how many it has in all; None as for `items`."""
    return _first(value, dict.items, dict.__len__, breadth)


def size(value: Any, shape: Shape) -> int | None:
    """How many items a container holds; None for what isn't a built-in container."""
    return _length(value, shape.base.__len__) if shape.kind in {"mapping", "sequence"} else None


def in_order(taken: list[Any]) -> bool:
    """Sort items that built-in or library code can compare; False when they stay as they are."""
    if len(taken) < 2:  # noqa: PLR2004 - nothing to compare
        return True
    try:
        if all(type(each) is str for each in taken):
            taken.sort(key=lambda each: each[:_SORTED_BY])
        elif _are_comparable(taken):
            taken.sort()
        else:
            return False
    except Exception:  # noqa: BLE001 - a signalling NaN among decimals, an incomplete UUID
        return False
    return True


def _are_comparable(taken: list[Any]) -> bool:
    if all(any(type(each) is number for number in _NUMBERS) for each in taken):
        return True
    leaf = shape_of(type(taken[0])).leaf
    return leaf is not None and leaf.sortable and all(type(each) is type(taken[0]) for each in taken)


def behind_proxy(proxy: object) -> tuple[object, Shape] | None:
    """The dict that a mapping proxy stands for; None when it stands for something else."""
    # Every function of the proxy goes to what is behind it, which may be the host's class.
    for inner in get_referents(proxy):
        shape = shape_of(type(inner))
        if shape.kind == "mapping":
            return inner, shape
    return None


def field_values(value: object, shape: Shape, breadth: int) -> list[tuple[str, object]]:
    """The fields of an object that are set, by name, in the class's order."""
    kept = instance_dict(value, shape)
    found: list[tuple[str, object]] = []
    for name, read in shape.fields[:breadth]:
        each = kept.get(name, MISSING) if read is None else _slot_value(read, value)
        if each is not MISSING:
            found.append((name, each))
    return found


def extra_fields(value: object, shape: Shape) -> dict[object, object]:
    """The fields of a pydantic model beyond those that its class declares."""
    extra = MISSING if shape.extra is None else _slot_value(shape.extra, value)
    return extra if type(extra) is dict else {}


def instance_dict(value: object, shape: Shape) -> dict[object, object]:
    """The dictionary that an instance keeps its attributes in; empty when that isn't a plain one."""
    kept = shape.instance_dict(value) if shape.instance_dict is not None else None
    return kept if type(kept) is dict else {}


def enum_values(cls: type, limit: int) -> list[object] | None:
    """The values of an enum's members without aliases; None when there are more than `limit`."""
    names, members = raw(cls, "_member_names_"), raw(cls, "_member_map_")
    if type(names) is not list or type(members) is not dict or len(names) > limit:
        return None
    return [instance_dict(members[name], shape_of(type(members[name]))).get("_value_") for name in names]


def _first(value: Any, iterate: Any, measure: Any, breadth: int) -> tuple[list[Any], int] | None:
    for _ in range(2):
        try:
            return list(islice(iter(iterate(value)), max(breadth, 0))), _length(value, measure)
        except RuntimeError:
            continue
    return None


def _length(value: Any, measure: Any) -> int:
    try:
        length: int = measure(value)
    except OverflowError:  # a range longer than memory
        length = (value.stop - value.start) // value.step
    return length


def _slot_value(read: Callable[[object], object], value: object) -> object:
    try:
        return read(value)
    except AttributeError:
        return MISSING
