"""One run of a task: its span `run/<task>`, its context, its numbers."""

from __future__ import annotations

import inspect
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from tldr_observability import context, semconv
from tldr_observability.guard import guarded
from tldr_observability.integrations import celery_headers
from tldr_observability.integrations.celery_outcome import CANCELLED, FAILED, RETRIED, SUCCESS, Ending, ending
from tldr_observability.tracing import failures
from tldr_observability.tracing.engine import TASK_BODY

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from tldr_observability.integrations.celery_metrics import TaskMetrics

__all__ = ["Runs"]

_ATTRIBUTE: Final = "_tldr_run"


class Runs:
    """Begins and ends runs at Celery's signals.

    Celery's request, of which each run has its own, holds the run: a task that retries at once runs under the same id
    in another thread before the first run is over.
    """

    def __init__(self, metrics: TaskMetrics) -> None:
        self._metrics = metrics

    def task_prerun(self, task: Any = None, **_: Any) -> None:
        """Begin a run."""
        with guarded("beginning a task"):
            request = task.request
            run = _Run(task)
            vars(request)[_ATTRIBUTE] = run  # first, so that whatever follows is undone
            run.open(task)
            if not request.is_eager:
                self._metrics.started(celery_headers.queue(request), celery_headers.waited_seconds(request))

    def task_postrun(self, task: Any = None, state: str | None = None, retval: Any = None, **_: Any) -> None:
        """End it, however it went."""
        run: _Run | None = vars(task.request).pop(_ATTRIBUTE, None)
        if run is None:
            return
        try:
            with guarded("recording the end of a task"):
                seconds = run.seconds
                end = ending(state, retval, run.escaping())
                facts = context.snapshot()
                self._metrics.ended(task.name, end.outcome, seconds, facts)
                run.describe_end(task, end, state, facts)
        finally:
            run.close()


class _Run:
    __slots__ = ("_around", "_span", "_started", "_token", "_unit")

    def __init__(self, task: Any) -> None:
        self._around = sys.exc_info()[1]  # an eager task may run while its caller handles an exception
        self._span: Span | None = None
        self._token: Any = None
        request = task.request
        facts = context.snapshot() if request.is_eager else celery_headers.facts(request)
        self._unit = context.resume_unit(facts)
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """For how long it has been running."""
        return time.perf_counter() - self._started

    def open(self, task: Any) -> None:
        """Make its span the current one: a child of the sender's, or of the caller's where it runs eagerly."""
        request = task.request
        parent = otel_context.get_current() if request.is_eager else celery_headers.trace_context(request)
        self._span = span = trace.get_tracer(semconv.SCOPE_NAME).start_span(
            f"run/{task.name}", parent, kind=SpanKind.CONSUMER, attributes=_attributes(task)
        )
        current = trace.set_span_in_context(span, parent)
        offer = [span, inspect.unwrap(task.run)]
        self._token = otel_context.attach(otel_context.set_value(TASK_BODY, offer, current))

    def escaping(self) -> BaseException | None:
        """The exception that leaves Celery's code right now, which then says nothing of how the task ended."""
        error = sys.exc_info()[1]
        return None if error is self._around else error

    def describe_end(self, task: Any, end: Ending, state: str | None, facts: dict[str, str]) -> None:
        """Write onto the span what is known now."""
        span = self._span
        if span is None or not span.is_recording():
            return
        span.set_attributes(facts)
        if end.outcome in {SUCCESS, FAILED, CANCELLED}:
            span.set_attribute(semconv.TLDR_OUTCOME, end.outcome)
        if shown := "FAILURE" if end.outcome == FAILED else state:
            span.set_attribute("celery.state", shown)
        error = end.error
        if error is None:
            return
        if end.outcome == RETRIED:
            span.set_attribute("celery.retry.reason", str(error))
            _record_expected(span, getattr(error, "exc", None))
        elif isinstance(error, tuple(getattr(task, "throws", None) or ())):
            _record_expected(span, error)
        else:
            failures.record(span, error)

    def close(self) -> None:
        """Leave the thread as it was."""
        with guarded("ending a task"):
            if self._token is not None:
                otel_context.detach(self._token)
        with guarded("ending a task's span"):
            if self._span is not None:
                self._span.end()
        with guarded("closing a task's context"):
            context.end_unit(self._unit)


def _attributes(task: Any) -> dict[str, Any]:
    request = task.request
    queue = None if request.is_eager else celery_headers.queue(request)
    return {
        "celery.action": "run",
        "celery.task_name": task.name,
        "messaging.operation.type": "process",
        "messaging.message.id": str(request.id),
        semconv.TLDR_TASK_NAME: task.name,
        **({"celery.hostname": request.hostname} if request.hostname else {}),
        **({"celery.retries": request.retries} if request.retries else {}),
        **({"messaging.destination.name": queue, semconv.TLDR_QUEUE: queue} if queue else {}),
    }


def _record_expected(span: Span, error: object) -> None:
    """Keep an exception that is no failure of the task."""
    # The level first, for Logfire takes an exception without one for an error.
    span.set_attribute(semconv.LOGFIRE_LEVEL_NUM, semconv.LEVELS["warn"])
    if isinstance(error, BaseException):
        span.record_exception(error, escaped=False)
