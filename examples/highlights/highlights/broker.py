"""The way to the queue: Kombu's for Redis, whose worker lives on where Redis goes away while a task runs."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as NoConnection

__all__ = ["Transport"]


class _Channel(redis.Channel):
    def _connparams(self, asynchronous: bool = False) -> Any:
        # Kombu 5.7 closes a lost connection twice, and the second time it stumbles over what the first has removed:
        # over an AttributeError, which no worker survives.
        if self.connection is None or self.connection.client is None:
            raise NoConnection("the connection is closed")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call]


class Transport(redis.Transport):
    """What Celery's `broker_transport` names."""

    Channel = _Channel
