"""What tasks did, in numbers: runs by outcome, retries, how long they ran and how long they waited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError  # type: ignore[import-untyped]

from tldr_observability import semconv
from tldr_observability.catalogue import tasks
from tldr_observability.guard import guarded
from tldr_observability.instruments import automatic, release
from tldr_observability.integrations import celery_headers
from tldr_observability.integrations.celery_outcome import CANCELLED, FAILED, RETRIED, UNKNOWN
from tldr_observability.tracing import failures

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TaskMetrics"]


class TaskMetrics:
    """Records the catalogue's task metrics, in the process that knows: mostly the one in which the task runs."""

    def __init__(self) -> None:
        self._executed = automatic(tasks.EXECUTED)
        self._duration = automatic(tasks.DURATION)
        self._retried = automatic(tasks.RETRIED)
        self._waited = automatic(tasks.QUEUE_LATENCY)

    def release(self) -> None:
        """Leave the metrics to whoever records them by hand."""
        for spec in (tasks.EXECUTED, tasks.DURATION, tasks.RETRIED, tasks.QUEUE_LATENCY, tasks.QUEUE_DEPTH):
            release(spec)

    def started(self, queue: str | None, waited_seconds: float | None) -> None:
        """A task from a queue starts."""
        if waited_seconds is not None:
            self._waited.record(waited_seconds, {semconv.TLDR_QUEUE: queue} if queue else {})

    def ended(self, task_name: str, outcome: str, seconds: float, facts: Mapping[str, str]) -> None:
        """A run is over.

        Args:
            task_name: the name under which it is registered.
            outcome: one of `celery_outcome`.
            seconds: how long it ran.
            facts: the context that it ran in.
        """
        attributes = _attributes(task_name, facts)
        self._duration.record(seconds, attributes)
        if outcome is RETRIED:
            self._retried.add(1, attributes)
        elif outcome is not UNKNOWN:
            self._executed.add(1, {**attributes, semconv.TLDR_OUTCOME: outcome})

    def task_revoked(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        """Count a task that was called off before its start, or killed; Celery's signal, in the main process."""
        with guarded("counting a revoked task"):
            self._count(sender, request, CANCELLED)

    def task_failure(self, sender: Any = None, task_id: Any = None, exception: Any = None, **_: Any) -> None:
        """Count the error, and the task too if its process is gone; Celery's signal, in the main process for these.

        Celery sends it twice for a hard time limit, once without the task's request in place.
        """
        with guarded("counting a failed task"):
            if sender.request.id != task_id or not isinstance(exception, Exception):
                return
            if not isinstance(exception, tuple(sender.throws or ())):
                failures.count(exception, "task")
            if isinstance(exception, WorkerLostError | TimeLimitExceeded):
                self._count(sender, sender.request, FAILED)

    def _count(self, task: Any, request: Any, outcome: str) -> None:
        attributes = _attributes(task.name, celery_headers.facts(request))
        self._executed.add(1, {**attributes, semconv.TLDR_OUTCOME: outcome})


def _attributes(task_name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    organization = facts.get(semconv.TLDR_ORGANIZATION_ID)
    return {
        semconv.TLDR_TASK_NAME: task_name,
        **({semconv.TLDR_ORGANIZATION_ID: organization} if isinstance(organization, str) else {}),
    }
