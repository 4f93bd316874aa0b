"""Specifications of a service's own metrics, checked as strictly as OpenTelemetry will and as early as can be."""

from __future__ import annotations

import re
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING, Final, TypeVar

from tldr_observability.catalogue.bounds import REQUEST_SECONDS
from tldr_observability.catalogue.spec import Attribute, HistogramSpec, MetricSpec
from tldr_observability.errors import ConfigurationError
from tldr_observability.instruments.registry import MANUAL
from tldr_observability.instruments.values import MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["declared_spec", "own_spec"]

# https://opentelemetry.io/docs/specs/otel/metrics/api/#instrument-name-syntax
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")
_LONGEST_UNIT: Final = 63

S = TypeVar("S", bound=MetricSpec)


def own_spec(  # noqa: PLR0913, PLR0917 - a specification's fields
    kind: type[S],
    name: str,
    unit: str,
    description: str,
    attributes: Sequence[str] | None = None,
    bounds: Sequence[float] | None = None,
) -> S:
    """The specification of what `metrics.counter(...)` and its siblings are given.

    Raises:
        ConfigurationError: a service may not have such a metric; the message says why.
    """
    try:
        keys = None if attributes is None or isinstance(attributes, str) else tuple(attributes)
    except TypeError:
        keys = None
    if keys is None and attributes is not None:
        raise ConfigurationError(
            f"metric {name!r}: attributes: expected several keys, got {attributes!r}; type a comma"
        )
    declared = [Attribute(key, key, "", optional=True) for key in keys or ()]
    return declared_spec(kind, name, unit, description, declared, bounds, is_open=keys is None)


def declared_spec(  # noqa: PLR0913, PLR0917 - a specification's fields
    kind: type[S],
    name: str,
    unit: str,
    description: str,
    attributes: Iterable[Attribute],
    bounds: Sequence[float] | None = None,
    *,
    is_open: bool = False,
) -> S:
    """The specification of a metric of the service's own, if it may have it.

    Raises:
        ConfigurationError: it may not; the message says why.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"metric name {name!r}: expected a letter, then up to 254 letters, digits, _ . - or /")
    if not isinstance(unit, str) or len(unit) > _LONGEST_UNIT or not unit.isascii():
        raise ConfigurationError(
            f"metric {name!r}: unit: expected up to {_LONGEST_UNIT} ASCII characters, got {unit!r}"
        )
    _refuse_taken(name)
    attributes = tuple(attributes)
    keys: dict[str, Attribute] = {}
    for each in attributes:
        if not isinstance(each.key, str) or not 0 < len(each.key) <= MAX_LENGTH:
            raise ConfigurationError(
                f"metric {name!r}: an attribute's key is a text of up to {MAX_LENGTH} characters, got {each.key!r}"
            )
        if (other := keys.setdefault(each.key, each)) is not each:
            raise ConfigurationError(
                f"metric {name!r}: {other.argument!r} and {each.argument!r} have the same key {each.key!r}; "
                "leave one out, or give it another"
            )
    if bounds is None and kind is HistogramSpec and unit == "s":
        bounds = REQUEST_SECONDS
    return kind(
        name,
        unit=unit,
        description=description,
        attributes=attributes,
        bounds=None if bounds is None else _growing(name, bounds),
        is_open=is_open,
    )


def _growing(name: str, bounds: Sequence[float]) -> tuple[float, ...]:
    with suppress(TypeError, ValueError, OverflowError):
        growing = tuple(map(float, bounds))
        if all(map(isfinite, growing)) and list(growing) == sorted(set(growing)):
            return growing
    raise ConfigurationError(f"metric {name!r}: bounds: expected growing finite numbers, got {bounds!r}")


def _refuse_taken(name: str) -> None:
    from tldr_observability import catalogue  # not at import: a service without metrics of its own goes without

    with suppress(KeyError):
        taken = catalogue.by_name(name.lower().removesuffix(MANUAL))
        how = " or ".join(f"metrics.{method}(...)" for method in taken.facade)
        raise ConfigurationError(
            f"metric {name!r} is one of this package's own: "
            f"{f'record it by {how}' if how else f'{taken.owner} records it by itself'}, or choose another name"
        )
