"""The metrics of this package as data: a module for each group, and all of them together.

Importable without OpenTelemetry; the facade records by it, and the reference page is generated from it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tldr_observability.catalogue import ai, api, highlights, storage, streams, system, tasks, webhooks
    from tldr_observability.catalogue.index import ALL, GROUPS, by_name

__all__ = [
    "ALL",
    "GROUPS",
    "ai",
    "api",
    "by_name",
    "highlights",
    "storage",
    "streams",
    "system",
    "tasks",
    "webhooks",
]


def __getattr__(name: str) -> object:
    """Load a group when its first metric is recorded, and all of them when somebody asks for all."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in {"ALL", "GROUPS", "by_name"}:
        return import_module(f"{__name__}.{name}")
    from tldr_observability.catalogue import index

    value: object = getattr(index, name)
    globals()[name] = value
    return value
