"""The span of a task's sending: `apply_async/<task>`, from routing to the broker's answer, whoever sends it.

`opentelemetry-instrumentation-celery` is not used: it begins the span in one signal and ends it in another, which never
comes if the broker refuses; the span then stays the parent of all that follows in that thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from tldr_observability import semconv
from tldr_observability.guard import guarded
from tldr_observability.integrations import celery_headers
from tldr_observability.tracing import failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.trace import Span

__all__ = ["before_task_publish", "send_task"]

_SENDING: Final = otel_context.create_key("tldr_observability.task_being_sent")


def send_task(send: Callable[..., Any], app: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
    """Wrap `Celery.send_task`, by which `delay`, `apply_async`, canvases, retries and beat all go."""
    with _sending(str(args[0] if args else kwargs.get("name"))):
        return send(*args, **kwargs)


@contextmanager
def _sending(task_name: str) -> Iterator[None]:
    span = token = None
    with guarded("starting the span of a task's sending"):
        attributes = {
            "celery.action": "apply_async",
            "celery.task_name": task_name,
            "messaging.operation.type": "send",
            semconv.TLDR_TASK_NAME: task_name,
        }
        tracer = trace.get_tracer(semconv.SCOPE_NAME)
        span = tracer.start_span(f"apply_async/{task_name}", kind=SpanKind.PRODUCER, attributes=attributes)
        token = otel_context.attach(otel_context.set_value(_SENDING, span, trace.set_span_in_context(span)))
    try:
        yield
    except BaseException as error:
        with guarded("recording why a task was not sent"):
            if span is not None:
                failures.record(span, error)
        raise
    finally:
        with guarded("ending the span of a task's sending"):
            if token is not None:
                otel_context.detach(token)
            if span is not None:
                span.end()


def before_task_publish(
    headers: Any = None, declare: Any = None, exchange: Any = None, routing_key: Any = None, **_: Any
) -> None:
    """Have the message carry the trace and the context; Celery's signal."""
    with guarded("writing a task's headers"):
        if not headers:
            return  # task_protocol = 1 has none
        queue = _queue(declare, exchange, routing_key)
        celery_headers.write(headers, queue)
        span = otel_context.get_value(_SENDING)
        if span is not None and span is trace.get_current_span():
            _describe(trace.get_current_span(), headers, queue)


def _describe(span: Span, headers: Mapping[str, Any], queue: str | None) -> None:
    if not span.is_recording():
        return
    span.set_attribute("messaging.message.id", str(headers.get("id")))
    if headers.get("eta"):
        span.set_attribute("celery.eta", str(headers["eta"]))
    if queue:
        span.set_attributes({"messaging.destination.name": queue, semconv.TLDR_QUEUE: queue})


def _queue(declare: Any, exchange: Any, routing_key: Any) -> str | None:
    if declare:
        return str(declare[0].name)
    return str(routing_key) if routing_key and not exchange else None  # "": the exchange that delivers by queue name
