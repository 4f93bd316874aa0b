"""Celery: the sending and the running of a task in one trace, on the sender's behalf, with the task metrics.

Everything hangs on Celery's signals and is connected when the module of the application is imported: prefork children
inherit it, threads and the solo pool share it, and beat is one more sender.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from tldr_observability.errors import ConfigurationError, MissingExtraError
from tldr_observability.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["instrument", "refuse_unless_app", "uninstrument"]

_OBSERVED = "spans and metrics of every task sent or run in this process; depth of the queues of a Redis broker"


class _Connection(NamedTuple):
    """What holds for the whole process, since Celery's signals do."""

    apps: list[Any]
    receivers: list[tuple[Any, Callable[..., Any]]]
    stop_metrics: tuple[Callable[[], object], ...]


_connection: _Connection | None = None


def instrument(app: Any, *, flush: Callable[[float | None], object]) -> str:
    """Observe Celery in this process and in those that it forks; again for another application adds its queues.

    Args:
        app: a Celery application.
        flush: sends what is queued; called with None where a process of the worker ends.

    Returns:
        A sentence on what is observed.

    Raises:
        ConfigurationError: `app` is no Celery application.
        MissingExtraError: Celery is not installed.
    """
    global _connection  # noqa: PLW0603 - Celery's signals belong to the process
    refuse_unless_app(app)
    detail = _OBSERVED
    if _connection is None:
        if _silence_contrib():
            detail += "; opentelemetry-instrumentation-celery was turned off, it would double them"
        _connection = _connect(flush)
    if not any(each is app for each in _connection.apps):
        _connection.apps.append(app)
    return detail


def uninstrument() -> None:
    """Undo `instrument` for all applications."""
    global _connection
    if _connection is None:
        return
    from celery import Celery

    ended, _connection = _connection, None
    for stop in ended.stop_metrics:
        stop()
    for signal, receiver in ended.receivers:
        signal.disconnect(receiver)
    with suppress(AttributeError):  # somebody else has wrapped it since, or put the original back
        Celery.send_task = Celery.send_task.__wrapped__


def refuse_unless_app(app: Any) -> None:
    """Refuse what is no Celery application.

    Raises:
        ConfigurationError: with what to give instead.
        MissingExtraError: Celery is not installed.
    """
    try:
        from celery import Celery
    except ImportError:
        raise MissingExtraError("setup(celery=app)", "celery") from None
    if not isinstance(app, Celery):
        raise ConfigurationError(
            f"celery: expected a Celery application, got {_named(app)}; type setup(celery=app) "
            'with the app that Celery("name", broker=...) made'
        )


def _connect(flush: Callable[[float | None], object]) -> _Connection:
    import wrapt
    from celery import Celery, signals

    from tldr_observability.catalogue import tasks
    from tldr_observability.instruments import observe
    from tldr_observability.integrations import celery_depth, celery_producer
    from tldr_observability.integrations.celery_metrics import TaskMetrics
    from tldr_observability.integrations.celery_run import Runs

    def process_ends(**_: Any) -> None:
        with guarded("flushing at the end of a worker's process"):
            flush(None)

    def postrun_comes_last(**_: Any) -> None:
        """Keep the task open for handlers that the service has connected since."""
        ending = signals.task_postrun
        with guarded("letting a task end last"), ending.lock:
            if ending.receivers[-1] is not closing:
                # In this order: Celery looks without the lock whether there are any.
                ending.receivers.append(closing)
                ending.receivers.remove(closing)
                ending.sender_receivers_cache.clear()

    metrics = TaskMetrics()
    runs = Runs(metrics)
    receivers: list[tuple[Any, Callable[..., Any]]] = [
        (signals.before_task_publish, celery_producer.before_task_publish),
        (signals.task_prerun, postrun_comes_last),
        (signals.task_prerun, runs.task_prerun),
        (signals.task_postrun, runs.task_postrun),
        (signals.task_revoked, metrics.task_revoked),
        (signals.task_failure, metrics.task_failure),
        (signals.worker_process_shutdown, process_ends),
        (signals.worker_shutdown, process_ends),
    ]
    for signal, receiver in receivers:
        signal.connect(receiver, weak=False)
    # What the service's own handlers learn about the caller belongs to the task, so its context is opened before them.
    opening = signals.task_prerun.receivers
    opening.insert(0, opening.pop())
    closing = signals.task_postrun.receivers[-1]
    wrapt.wrap_function_wrapper(Celery, "send_task", celery_producer.send_task)
    apps: list[Any] = []
    stop_depths = observe(tasks.QUEUE_DEPTH, lambda: celery_depth.depths(apps))
    return _Connection(apps, receivers, (stop_depths, metrics.release))


def _silence_contrib() -> bool:
    """Turn off OpenTelemetry's instrumentation if the service has turned it on; returns whether it had."""
    contrib = sys.modules.get("opentelemetry.instrumentation.celery")
    if contrib is None or not contrib.CeleryInstrumentor().is_instrumented_by_opentelemetry:
        return False
    contrib.CeleryInstrumentor().uninstrument()
    return True


def _named(thing: object) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"
