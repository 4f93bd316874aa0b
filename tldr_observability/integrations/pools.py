"""How many connections SQLAlchemy's pools hold and may hold, read from the pools themselves when metrics are collected.

A pool that is asked can't be miscounted: not by `engine.dispose()`, which replaces it, and not by a fork.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Engine, QueuePool

__all__ = ["limits", "used_and_idle"]

_POOL_NAME = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"

Reading = tuple[int, dict[str, Any]]


def used_and_idle(engines: Iterable[Engine]) -> list[Reading]:
    """The connections of each pool by state; pools of the same name add up."""
    counts: Counter[tuple[str, str]] = Counter()
    for name, pool in _queue_pools(engines):
        counts[name, "used"] += max(0, pool.checkedout())
        counts[name, "idle"] += pool.checkedin()
    return [(count, {_POOL_NAME: name, _STATE: state}) for (name, state), count in counts.items()]


def limits(engines: Iterable[Engine]) -> list[Reading]:
    """The most connections that each pool opens, its overflow included; a pool without a limit has no reading."""
    counts: Counter[str] = Counter()
    for name, pool in _queue_pools(engines):
        overflow = getattr(pool, "_max_overflow", -1)  # there is no public way to learn it
        if overflow >= 0:
            counts[name] += pool.size() + overflow
    return [(count, {_POOL_NAME: name}) for name, count in counts.items()]


def _queue_pools(engines: Iterable[Engine]) -> Iterator[tuple[str, QueuePool]]:
    """The pools that count; the others (`NullPool`, `StaticPool`, `SingletonThreadPool`) neither count nor limit."""
    from sqlalchemy import QueuePool

    for engine in engines:
        pool = engine.pool
        if isinstance(pool, QueuePool):
            yield _name(engine), pool


def _name(engine: Engine) -> str:
    """What the program calls the pool, otherwise where it leads."""
    given = getattr(engine.pool, "logging_name", None)
    if given:
        return str(given)
    url = engine.url
    place = ":".join(str(part) for part in (url.host, url.port) if part)
    return "/".join(part for part in (place, url.database) if part) or engine.dialect.name
