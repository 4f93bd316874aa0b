"""The metrics of this package as data: a module for each group, and all of them together.

Importable without OpenTelemetry; the facade records by it, and the reference page is generated from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tldr_observability.catalogue.index import ALL, GROUPS, by_name

__all__ = ["ALL", "GROUPS", "by_name"]


def __getattr__(name: str) -> object:
    """Load all groups when somebody asks for all: who records a few metrics needs the few."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tldr_observability.catalogue import index

    value: object = getattr(index, name)
    globals()[name] = value
    return value
