"""How many tasks wait in each queue of a Redis broker, asked for at each reading of the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import ChannelError, OperationalError

from tldr_observability import semconv
from tldr_observability.guard import guarded
from tldr_observability.integrations.celery_outcome import in_pool_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["depths"]

_SECONDS: Final = 1.0
_TIMEOUTS: Final = {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS, "max_retries": 0}


def depths(apps: Iterable[Any]) -> list[tuple[int, dict[str, str]]]:
    """The waiting tasks of every queue that the applications know, in all its priorities.

    Nothing in the processes of a worker's pool, for its main process tells; nothing while the broker doesn't answer.
    The connection is one of its own, for a reading: pooled ones would be shared by forked processes.
    """
    found: dict[str, int] = {}
    if not in_pool_process():
        for app in apps:
            with guarded("reading the depth of the task queues"):
                for queue, depth in _depths_of(app):
                    found.setdefault(queue, depth)
    return [(depth, {semconv.TLDR_QUEUE: queue}) for queue, depth in found.items()]


def _depths_of(app: Any) -> Iterator[tuple[str, int]]:
    with app.connection_for_read(transport_options=_TIMEOUTS) as connection:
        if connection.transport.driver_type != "redis":
            return
        queues = [name for name, queue in list(app.amqp.queues.items()) if queue.exchange.type != "fanout"]
        try:
            channel = connection.default_channel
            for name in queues:
                try:
                    depth = channel.queue_declare(queue=name, passive=True).message_count
                except ChannelError:
                    depth = 0  # Redis keeps no empty lists
                yield name, depth
        except (OperationalError, *connection.connection_errors):
            return  # the service hears of it from its own calls
