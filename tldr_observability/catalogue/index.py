"""All metrics together: by group, in a row, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tldr_observability.catalogue import (
    ai,
    api,
    calls,
    failures,
    highlights,
    storage,
    stores,
    streams,
    system,
    tasks,
    telemetry,
    webhooks,
)
from tldr_observability.catalogue.spec import MetricSpec

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ALL", "GROUPS", "by_name"]


def _metrics(group: ModuleType) -> tuple[MetricSpec, ...]:
    specs = [value for value in vars(group).values() if isinstance(value, MetricSpec)]
    return tuple(sorted(specs, key=lambda spec: spec.name))


GROUPS: Final[dict[str, tuple[MetricSpec, ...]]] = {
    group.__name__.rpartition(".")[2]: _metrics(group)
    for group in (
        streams,
        highlights,
        api,
        tasks,
        webhooks,
        storage,
        ai,
        failures,
        calls,
        stores,
        system,
        telemetry,
    )
}
"""The metrics of each group, by their names."""

ALL: Final[tuple[MetricSpec, ...]] = tuple(spec for specs in GROUPS.values() for spec in specs)
"""Every metric that this package knows of, group by group."""

_BY_NAME: Final = {spec.name: spec for spec in ALL}


def by_name(name: str) -> MetricSpec:
    """The metric of that name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]
