"""One header on each task message: on whose behalf, by which queue and since when it waits.

It is a flat mapping under `tldr`: the context's facts by their attribute keys, `queue` and `enqueued` (seconds since
1970). W3C trace context travels beside it, by whatever propagator the process has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter

from tldr_observability import context

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["facts", "queue", "trace_context", "waited_seconds", "write"]

_KEY: Final = "tldr"
_QUEUE: Final = "queue"
_ENQUEUED: Final = "enqueued"


def write(headers: MutableMapping[str, Any], queue_name: str | None) -> None:
    """Put the current context, the time and the trace on a message."""
    headers[_KEY] = {**context.snapshot(), _ENQUEUED: time.time(), **({_QUEUE: queue_name} if queue_name else {})}
    propagate.inject(headers)


def facts(request: Any) -> Mapping[str, object]:
    """The sender's context; empty for a message of somebody without this package."""
    sent = request.get(_KEY)
    return sent if isinstance(sent, Mapping) else {}


def queue(request: Any) -> str | None:
    """The queue that a task came by, as far as it is known."""
    name = facts(request).get(_QUEUE) or (request.get("delivery_info") or {}).get("routing_key")
    return name if isinstance(name, str) and name else None


def waited_seconds(request: Any) -> float | None:
    """How long a task that starts now has waited since it could have started: its ETA, else when it was sent."""
    enqueued = facts(request).get(_ENQUEUED)
    if not isinstance(enqueued, int | float):
        return None
    eta = request.get("eta")
    due = datetime.fromisoformat(eta).timestamp() if isinstance(eta, str) else 0.0
    return max(0.0, time.time() - max(enqueued, due))


def trace_context(request: Any) -> Context:
    """The sender's trace, for a span of the task to continue; an empty context where there is none."""
    return propagate.extract(request, Context(), _GETTER)


class _RequestGetter(Getter[Any]):
    """Reads headers from Celery's request, whose attributes they are."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        """Return the header, if it is one."""
        value = carrier.get(key)
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Any) -> list[str]:
        """Return the names of all there are."""
        return list(vars(carrier))


_GETTER = _RequestGetter()
