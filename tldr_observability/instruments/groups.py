"""A service's own metrics as a class: each method's signature is the metric's specification.

class ShopMetrics(MetricGroup, prefix="shop"):
    @MetricGroup.counter(unit="{order}")
    def orders(self, amount: float = 1, *, payment: Literal["card", "invoice"], country: str) -> None:
        \"\"\"Orders placed.\"\"\"

shop = ShopMetrics()
shop.orders(payment="card", country="de")
"""

from __future__ import annotations

import inspect
from enum import Enum
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from tldr_observability import semconv
from tldr_observability.catalogue.spec import Attribute, CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
from tldr_observability.errors import ConfigurationError
from tldr_observability.instruments.own import declared_spec
from tldr_observability.instruments.values import attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tldr_observability.catalogue.spec import MetricSpec
    from tldr_observability.instruments.cells import BoundCounter, BoundGauge, BoundHistogram, BoundUpDownCounter
    from tldr_observability.instruments.instrument import Instrument

__all__ = ["MetricGroup"]

_KEYS: Final = {
    "detection_method": semconv.TLDR_DETECTION_METHOD,
    "endpoint": semconv.TLDR_ENDPOINT,
    "error_type": "error.type",
    "event_type": semconv.TLDR_EVENT_TYPE,
    "layer": semconv.TLDR_LAYER,
    "organization_id": semconv.TLDR_ORGANIZATION_ID,
    "outcome": semconv.TLDR_OUTCOME,
    "platform": semconv.TLDR_PLATFORM,
    "queue": semconv.TLDR_QUEUE,
    "queue_name": semconv.TLDR_QUEUE,
    "quota": semconv.TLDR_QUOTA,
    "stage": semconv.TLDR_STAGE,
    "stream_type": semconv.TLDR_STREAM_TYPE,
    "task_name": semconv.TLDR_TASK_NAME,
    "user_id": semconv.USER_ID,
}
"""Arguments that mean what an attribute of this package means, and so are exported under its key."""

P = ParamSpec("P")
S = TypeVar("S", bound="MetricSpec")


class _Declared(Generic[S]):
    """A metric of a group. Until its class is complete, it knows no name.

    Args:
        kind: of specification.
        method: whose signature says what there is to know.
        unit: UCUM.
        name: the whole name; the group's prefix with the method's name where None.
        keys: the exported keys of arguments, where they are not the arguments' names.
        bounds: of a histogram.
    """

    spec: S
    """What dashboards and alerts are made of."""
    _instrument: Instrument[Any]
    _verb = "add"
    _default: Any = 1
    """The amount where neither the call nor the signature says it."""

    def __init__(  # noqa: PLR0913, PLR0917 - a specification's fields
        self,
        kind: type[S],
        method: Callable[..., None],
        unit: str,
        name: str | None,
        keys: Mapping[str, str],
        bounds: Sequence[float] | None = None,
    ) -> None:
        self._kind, self._method, self._unit, self._name, self._keys = kind, method, unit, name, keys
        self._bounds = bounds
        if not inspect.isfunction(method) or inspect.iscoroutinefunction(method):
            raise ConfigurationError(
                f"a metric of a group is declared by a method (def, not async def, not static), got {method!r:.100}"
            )

    def complete(self, prefix: str) -> None:
        """Read the signature and make the instrument."""
        from tldr_observability.instruments import metrics

        name = self._name or (f"{prefix}.{self._method.__name__}" if prefix else self._method.__name__)
        description = (inspect.getdoc(self._method) or "").partition("\n\n")[0].strip().rstrip(".")
        self.spec = declared_spec(
            self._kind, name, self._unit, description, tuple(self._attributes(name)), self._bounds
        )
        self._instrument = metrics.declare(self.spec)

    def _attributes(self, name: str) -> Iterator[Attribute]:
        try:
            hints = get_type_hints(self._method)
        except Exception as error:
            raise ConfigurationError(
                f"metric {name!r}: the annotations of {self._method.__qualname__} can't be read at run time "
                f"({error}); import what they name outside of TYPE_CHECKING"
            ) from error
        _, *parameters = (*inspect.signature(self._method).parameters.values(),) or (None,)
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if not parameters or parameters[0].kind not in by_position:
            raise ConfigurationError(
                f"metric {name!r}: {self._method.__qualname__} needs the amount as its first parameter after self: "
                f"def {self._method.__name__}(self, amount: float, *, ...) -> None"
            )
        self._amount = parameters[0].name
        if parameters[0].default is not inspect.Parameter.empty:
            self._default = parameters[0].default
        for unknown in self._keys.keys() - {each.name for each in parameters[1:]}:
            raise ConfigurationError(f"metric {name!r}: keys: {self._method.__qualname__} has no parameter {unknown!r}")
        for parameter in parameters[1:]:
            if parameter.kind is not parameter.KEYWORD_ONLY:
                raise ConfigurationError(
                    f"metric {name!r}: {parameter.name!r} of {self._method.__qualname__}: attributes are "
                    f"keyword-only; put a * before them"
                )
            default = None if parameter.default is parameter.empty else parameter.default
            yield self._attribute(name, parameter.name, hints.get(parameter.name), default)

    def _attribute(self, metric: str, argument: str, annotation: object, default: object) -> Attribute:
        kinds = _alternatives(annotation)
        values: list[object] = []
        for kind in kinds:
            if get_origin(kind) is Literal:
                values += get_args(kind)
            elif isinstance(kind, type) and issubclass(kind, Enum):
                values += [member.value for member in kind]
            elif kind not in (str, int, float, bool) or values:
                kinds = []
        if not kinds or not all(isinstance(value, str) for value in values):
            raise ConfigurationError(
                f"metric {metric!r}: {argument!r} of {self._method.__qualname__}: expected the annotation str, int, "
                f"float, bool, a Literal of texts or an Enum of texts (or one of them | None), got {annotation!r}"
            )
        plain = attribute(default)
        if default is not None and (plain is None or (values and plain not in values)):
            raise ConfigurationError(
                f"metric {metric!r}: {argument!r} of {self._method.__qualname__}: the default {default!r:.100} is none "
                f"of its values ({', '.join(map(str, values)) or 'str, int, float or bool'})"
            )
        return Attribute(
            key=self._keys.get(argument, _KEYS.get(argument, argument)),
            argument=argument,
            description="",
            values=tuple(map(str, values)),
            optional=NoneType in get_args(annotation) or plain is not None,
            default=plain,
        )

    def __call__(self, *amount: Any, **attributes: Any) -> None:
        """Record an amount, which may be left out where the signature has a default, with its attributes."""
        value = amount[0] if amount else attributes.pop(self._amount, self._default)
        getattr(self._instrument.named(attributes), self._verb)(value)

    def bind(self, *_: Any, **attributes: Any) -> Any:
        """The series of these attributes, for hot paths."""
        return self._instrument.named(attributes)


# What type checkers see of the four kinds: the signature that each was declared with.


class _Counter(_Declared[CounterSpec], Generic[P]):
    if TYPE_CHECKING:

        def __call__(self, amount: float = 1, /, *_: P.args, **attributes: P.kwargs) -> None: ...
        def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundCounter: ...


class _UpDownCounter(_Declared[UpDownCounterSpec], Generic[P]):
    if TYPE_CHECKING:

        def __call__(self, amount: float = 1, /, *_: P.args, **attributes: P.kwargs) -> None: ...
        def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundUpDownCounter: ...


class _Gauge(_Declared[GaugeSpec], Generic[P]):
    _verb = "set"
    _default = None

    if TYPE_CHECKING:

        def __call__(self, value: float, /, *_: P.args, **attributes: P.kwargs) -> None: ...
        def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundGauge: ...


class _Histogram(_Declared[HistogramSpec], Generic[P]):
    _verb = "record"
    _default = None

    if TYPE_CHECKING:

        def __call__(self, value: float, /, *_: P.args, **attributes: P.kwargs) -> None: ...
        def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundHistogram: ...


class MetricGroup:
    """Base of classes that declare a service's own metrics by their methods.

    A method's first parameter is the amount, its keyword-only ones are the attributes: `str`, `int`, `float`, `bool`,
    or a `Literal` or `Enum` of texts for those of a closed set. Its docstring is the metric's description, its name
    with the group's prefix is the metric's. Type checkers see each call's attributes.

    Args:
        prefix: of the metrics' names: `class ShopMetrics(MetricGroup, prefix="shop")`; the base's where not given.

    Raises:
        ConfigurationError: a method doesn't say what a metric needs, or its name is taken.
    """

    _prefix = ""

    def __init_subclass__(cls, *, prefix: str | None = None, **others: Any) -> None:
        """Make the instruments."""
        super().__init_subclass__(**others)
        if prefix is not None:
            cls._prefix = prefix
        for base in cls.__mro__:
            for name, declared in tuple(vars(base).items()):
                if isinstance(getattr(declared, "__func__", declared), _Declared):
                    if not issubclass(base, MetricGroup) or not isinstance(declared, _Declared):
                        raise ConfigurationError(
                            f"{base.__qualname__}.{name}: metrics are methods of a class that is a MetricGroup itself, "
                            "without staticmethod or classmethod"
                        )
                    if base is cls:
                        declared.complete(cls._prefix)

    @staticmethod
    def counter(
        *, unit: str = "1", name: str | None = None, keys: Mapping[str, str] | None = None
    ) -> Callable[[Callable[Concatenate[Any, float, P], None]], _Counter[P]]:
        """A sum that only grows.

        Args:
            unit: UCUM (`s`, `By`, `{order}`).
            name: the metric's whole name; prefix and method name by default.
            keys: exported keys by argument, where they differ; those of this package (`organization_id`, `platform`,
                `stage`, `user_id`, ...) are known.
        """
        return lambda method: _Counter(CounterSpec, method, unit, name, keys or {})

    @staticmethod
    def up_down_counter(
        *, unit: str = "1", name: str | None = None, keys: Mapping[str, str] | None = None
    ) -> Callable[[Callable[Concatenate[Any, float, P], None]], _UpDownCounter[P]]:
        """A sum that grows and shrinks; arguments as for `counter`."""
        return lambda method: _UpDownCounter(UpDownCounterSpec, method, unit, name, keys or {})

    @staticmethod
    def gauge(
        *, unit: str = "1", name: str | None = None, keys: Mapping[str, str] | None = None
    ) -> Callable[[Callable[Concatenate[Any, float, P], None]], _Gauge[P]]:
        """A value that is what it was last set to; arguments as for `counter`."""
        return lambda method: _Gauge(GaugeSpec, method, unit, name, keys or {})

    @staticmethod
    def histogram(
        *,
        unit: str = "1",
        name: str | None = None,
        keys: Mapping[str, str] | None = None,
        bounds: Sequence[float] | None = None,
    ) -> Callable[[Callable[Concatenate[Any, float, P], None]], _Histogram[P]]:
        """A distribution of values; arguments as for `counter`, and the buckets' upper `bounds` (for Prometheus)."""
        return lambda method: _Histogram(HistogramSpec, method, unit, name, keys or {}, bounds)


def _alternatives(annotation: object) -> list[object]:
    """What an annotation allows beside None."""
    if get_origin(annotation) in (Union, UnionType):
        return [each for each in get_args(annotation) if each is not NoneType]
    return [annotation]
