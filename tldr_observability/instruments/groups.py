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
from tldr_observability.instruments.own import checked

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
        self._bounds = None if bounds is None else tuple(bounds)

    def complete(self, prefix: str) -> None:
        """Read the signature and make the instrument."""
        from tldr_observability.instruments import metrics

        name = self._name or ".".join(filter(None, (prefix, self._method.__name__)))
        self._defaults: dict[str, object] = {}
        self.spec = checked(
            self._kind(
                name,
                unit=self._unit,
                description=(inspect.getdoc(self._method) or "").partition("\n\n")[0].strip().rstrip("."),
                attributes=tuple(self._attributes(name)),
                bounds=self._bounds,
            )
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
        own, *parameters = inspect.signature(self._method).parameters.values()
        if not parameters or parameters[0].kind not in (own.POSITIONAL_ONLY, own.POSITIONAL_OR_KEYWORD):
            raise ConfigurationError(
                f"metric {name!r}: {self._method.__qualname__} needs the amount as its first parameter after self: "
                f"def {self._method.__name__}(self, amount: float, *, ...) -> None"
            )
        for unknown in self._keys.keys() - {each.name for each in parameters[1:]}:
            raise ConfigurationError(f"metric {name!r}: keys: {self._method.__qualname__} has no parameter {unknown!r}")
        for parameter in parameters[1:]:
            if parameter.kind is not parameter.KEYWORD_ONLY:
                raise ConfigurationError(
                    f"metric {name!r}: {parameter.name!r} of {self._method.__qualname__}: attributes are "
                    f"keyword-only; put a * before them"
                )
            if parameter.default is not parameter.empty:
                self._defaults[parameter.name] = parameter.default
            yield self._attribute(name, parameter.name, hints.get(parameter.name))

    def _attribute(self, metric: str, argument: str, annotation: object) -> Attribute:
        is_optional = NoneType in get_args(annotation)
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
        return Attribute(
            key=self._keys.get(argument, _KEYS.get(argument, argument)),
            argument=argument,
            description="",
            values=tuple(map(str, values)),
            optional=is_optional or argument in self._defaults,
        )

    def _series(self, arguments: Mapping[str, object]) -> Any:
        return self._instrument.named({**self._defaults, **arguments})


class _Counter(_Declared[CounterSpec], Generic[P]):
    def __call__(self, amount: float = 1, /, *_: P.args, **attributes: P.kwargs) -> None:
        """Add to the sum of these attributes."""
        self._series(attributes).add(amount)

    def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundCounter:
        """The series of these attributes, for hot paths."""
        bound: BoundCounter = self._series(attributes)
        return bound


class _UpDownCounter(_Declared[UpDownCounterSpec], Generic[P]):
    def __call__(self, amount: float = 1, /, *_: P.args, **attributes: P.kwargs) -> None:
        """Add to the sum of these attributes; a negative amount takes away."""
        self._series(attributes).add(amount)

    def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundUpDownCounter:
        """The series of these attributes, for hot paths."""
        bound: BoundUpDownCounter = self._series(attributes)
        return bound


class _Gauge(_Declared[GaugeSpec], Generic[P]):
    def __call__(self, value: float, /, *_: P.args, **attributes: P.kwargs) -> None:
        """Replace the value of these attributes."""
        self._series(attributes).set(value)

    def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundGauge:
        """The series of these attributes, for hot paths."""
        bound: BoundGauge = self._series(attributes)
        return bound


class _Histogram(_Declared[HistogramSpec], Generic[P]):
    def __call__(self, value: float, /, *_: P.args, **attributes: P.kwargs) -> None:
        """Add a value to the distribution of these attributes."""
        self._series(attributes).record(value)

    def bind(self, *_: P.args, **attributes: P.kwargs) -> BoundHistogram:
        """The series of these attributes, for hot paths."""
        bound: BoundHistogram = self._series(attributes)
        return bound


class MetricGroup:
    """Base of classes that declare a service's own metrics by their methods.

    A method's first parameter is the amount, its keyword-only ones are the attributes: `str`, `int`, `float`, `bool`,
    or a `Literal` or `Enum` of texts for those of a closed set. Its docstring is the metric's description, its name
    with the group's prefix is the metric's. Type checkers see each call's attributes.

    Args:
        prefix: of the metrics' names: `class ShopMetrics(MetricGroup, prefix="shop")`.

    Raises:
        ConfigurationError: a method doesn't say what a metric needs, or its name is taken.
    """

    def __init_subclass__(cls, *, prefix: str = "", **others: Any) -> None:
        """Make the instruments."""
        super().__init_subclass__(**others)
        for declared in tuple(vars(cls).values()):
            if isinstance(declared, _Declared):
                declared.complete(prefix)

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
