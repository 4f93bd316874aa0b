"""Specifications of a service's own metrics, checked as strictly as OpenTelemetry will and as early as can be."""

from __future__ import annotations

import re
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING, Final, TypeVar

from tldr_observability.catalogue.spec import Attribute, MetricSpec
from tldr_observability.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["checked", "own_spec"]

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
    """The specification of what `metrics.counter(...)` and its siblings are given."""
    if isinstance(attributes, str):
        raise ConfigurationError(
            f"metric {name!r}: attributes: expected several keys, got {attributes!r}; type a comma"
        )
    return checked(
        kind(
            name,
            unit=unit,
            description=description,
            attributes=tuple(Attribute(key, key, "", optional=True) for key in attributes or ()),
            bounds=None if bounds is None else tuple(bounds),
        )
    )


def checked(spec: S) -> S:
    """The specification, if a service may have such a metric.

    Raises:
        ConfigurationError: it may not; the message says why.
    """
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        raise ConfigurationError(
            f"metric name {spec.name!r}: expected a letter, then up to 254 letters, digits, _ . - or /"
        )
    if not isinstance(spec.unit, str) or len(spec.unit) > _LONGEST_UNIT or not spec.unit.isascii():
        raise ConfigurationError(
            f"metric {spec.name!r}: unit: expected up to {_LONGEST_UNIT} ASCII characters, got {spec.unit!r}"
        )
    if spec.bounds is not None and (
        not all(map(isfinite, spec.bounds)) or list(spec.bounds) != sorted(set(spec.bounds))
    ):
        raise ConfigurationError(f"metric {spec.name!r}: bounds: expected growing finite numbers, got {spec.bounds}")
    _refuse_taken(spec.name)
    return spec


def _refuse_taken(name: str) -> None:
    from tldr_observability import catalogue  # not at import: a service without metrics of its own goes without

    with suppress(KeyError):
        taken = catalogue.by_name(name)
        how = " or ".join(f"metrics.{method}(...)" for method in taken.facade)
        raise ConfigurationError(
            f"metric {name!r} is one of this package's own: "
            f"{f'record it by {how}' if how else f'{taken.owner} records it by itself'}, or choose another name"
        )
