"""The connection to Redis for what the service itself keeps there: rate limits."""

from __future__ import annotations

from functools import cache

from redis import Redis

from highlights.settings import settings

__all__ = ["redis_client"]

_SECONDS = 1.0


@cache
def redis_client() -> Redis:
    """This process's client of REDIS_URL; it connects when first used, and gives up soon."""
    return Redis.from_url(settings().redis_url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
