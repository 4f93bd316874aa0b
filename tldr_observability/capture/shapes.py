"""What is known of a class: whether and how its instances are looked into. Found once a class, and kept.

Everything is read from what the interpreter keeps of the class (its MRO, the dictionaries of its bases), not by asking
the class or the instance: a property, a `__getattr__` or a `__class__` of the host's making isn't called.
"""

from __future__ import annotations

from collections import deque
from types import GetSetDescriptorType, MappingProxyType, MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal

from tldr_observability.capture import schema
from tldr_observability.capture.leaves import Leaf, known, leaf_of
from tldr_observability.capture.strings import object_name, quote, raw_mro, short_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MISSING", "Kind", "Shape", "raw", "shape_of", "simplified"]

Kind = Literal["text", "integer", "float", "mapping", "proxy", "sequence", "fields", "enum", "error", "leaf", "unknown"]

MISSING: Final = object()

_MAX_SHAPES: Final = 1_024
_SEQUENCES: Final = (list, tuple, set, frozenset, deque, range)
_BUILT_IN: Final[tuple[tuple[type, Kind], ...]] = (
    (str, "text"),
    (int, "integer"),
    (float, "float"),
    (dict, "mapping"),
    (MappingProxyType, "proxy"),
    *((each, "sequence") for each in _SEQUENCES),
)
_raw_dict = type.__dict__["__dict__"].__get__
_shapes: dict[int, Shape] = {}


class Shape:
    """How instances of one class are written.

    Attributes:
        cls: the class; held, so that its id, by which it is found, stays its own.
        base: the known class whose functions are called on the instance.
        schema: the schema text, where it is the same for every instance.
        leaf: for kind `leaf`.
        datatype: for kind `fields`, what Logfire calls such objects.
        fields: for kind `fields`, the names and, for slots, what reads them.
        instance_dict: reads the instance's dictionary; None where there is none or the class put something else there.
        extra: reads the further fields of a pydantic model.
        root: for a pydantic root model, whose one field stands for it.
        tame: for an exception, whether its attributes are the interpreter's own; None until somebody asks.
    """

    __slots__ = (
        "base",
        "cls",
        "datatype",
        "extra",
        "fields",
        "instance_dict",
        "kind",
        "leaf",
        "root",
        "schema",
        "tame",
    )

    def __init__(self, cls: type, kind: Kind = "unknown", base: Any = object, schema_text: str | None = None) -> None:
        self.cls = cls
        self.kind: Kind = kind
        self.base = base
        self.schema = schema_text
        self.datatype = ""
        self.leaf: Leaf | None = None
        self.fields: tuple[tuple[str, Callable[[object], object] | None], ...] = ()
        self.instance_dict: Callable[[object], object] | None = None
        self.extra: Callable[[object], object] | None = None
        self.root = False
        self.tame: bool | None = None


def shape_of(cls: type) -> Shape:
    """What is known of the class; one that can't be understood is unknown."""
    # By id, for a class is hashed and compared by its metaclass, which may be the host's.
    shape = _shapes.get(id(cls))
    if shape is not None:
        return shape
    try:
        shape = _look_at(cls)
    except (RecursionError, MemoryError):
        # The host's state, not the class's: the class must not be remembered for it.
        raise
    except Exception:  # noqa: BLE001 - a class with internals of its own making is not looked into
        shape = Shape(cls, schema_text=schema.UNKNOWN)
    if len(_shapes) >= _MAX_SHAPES:
        _shapes.clear()
    _shapes[id(cls)] = shape
    return shape


def simplified(value: object, shape: Shape, limit: int) -> object:
    """The simpler value that stands for one of kind `leaf`, or its name if it isn't in order."""
    try:
        return shape.leaf.simplify(value, shape.base, limit) if shape.leaf is not None else value
    except Exception:  # noqa: BLE001 - library code on an instance that was never initialised
        return object_name(shape.cls)


def raw(cls: type, name: str) -> Any:
    """The attribute as it stands in the class or a base, without binding it; MISSING if there is none."""
    for base in raw_mro(cls):
        found = _raw_dict(base).get(name, MISSING)
        if found is not MISSING:
            return found
    return MISSING


def _look_at(cls: type) -> Shape:
    mro: tuple[type, ...] = raw_mro(cls)
    if any(known(base, "enum.Enum") for base in mro):
        return _with_dict(Shape(cls, "enum"))
    for base in mro:
        for built_in, kind in _BUILT_IN:
            if base is built_in:
                return Shape(cls, kind, base, _container_schema(cls, base))
    if raw(cls, "__mapper__") is not MISSING:
        # A row of an ORM: reading what is not loaded would go to the database, and what is loaded is a customer's.
        return Shape(cls, schema_text=schema.UNKNOWN)
    return _with_fields(cls, mro) or _with_leaf(cls, mro) or _with_dict(Shape(cls, schema_text=schema.UNKNOWN))


def _container_schema(cls: type, base: type) -> str | None:
    if cls is range:
        return schema.array((), "range")
    if cls is base or base in {str, int, float, dict, MappingProxyType}:
        return None
    return schema.UNKNOWN if base in {set, frozenset} else schema.named("array", short_name(cls), "Sequence")


def _with_fields(cls: type, mro: tuple[type, ...]) -> Shape | None:
    declared = raw(cls, "__dataclass_fields__")
    attrs = raw(cls, "__attrs_attrs__")
    if declared is not MISSING:
        from dataclasses import fields

        stand_in: Any = SimpleNamespace(__dataclass_fields__=declared)
        datatype, names = "dataclass", [field.name for field in fields(stand_in) if field.repr]
    elif attrs is not MISSING:
        datatype, names = "attrs", [field.name for field in attrs if field.repr is not False]
    elif any(known(base, "pydantic.main.BaseModel") for base in mro):
        # `model_fields` is where pydantic before 2.10 kept them.
        kept = next(each for each in (raw(cls, "__pydantic_fields__"), raw(cls, "model_fields")) if type(each) is dict)
        datatype, names = "PydanticModel", [name for name, info in kept.items() if info.exclude is not True]
    else:
        return None
    shape = Shape(cls, "fields")
    shape.datatype = datatype
    shape.fields = tuple((name, _slot(cls, name)) for name in names)
    if datatype == "PydanticModel":
        shape.extra = _slot(cls, "__pydantic_extra__")
        shape.root = any(known(base, "pydantic.root_model.RootModel") for base in mro)
    return _with_dict(shape)


def _with_leaf(cls: type, mro: tuple[type, ...]) -> Shape | None:
    for base in mro:
        if base is Exception:
            return _with_dict(Shape(cls, "error", base, schema.named("object", short_name(cls), "Exception")))
        leaf = leaf_of(base)
        if leaf is not None:
            text = leaf.schema
            if leaf.titled and cls is not base and text is not None:
                text = f'{text[:-1]},"title":{quote(short_name(cls))}}}'
            shape = Shape(cls, "leaf", base, text)
            shape.leaf = leaf
            return shape
    return None


def _with_dict(shape: Shape) -> Shape:
    descriptor = raw(shape.cls, "__dict__")
    if type(descriptor) is GetSetDescriptorType:
        shape.instance_dict = descriptor.__get__
    return shape


def _slot(cls: type, name: str) -> Callable[[object], object] | None:
    descriptor = raw(cls, name)
    return descriptor.__get__ if type(descriptor) is MemberDescriptorType else None
