"""Begins and ends spans: the only module that speaks to tracers and moves the current context.

The rest of `tracing` knows `begin_call` (a decorated function), `begin_block` (a `with` block) and the `Call` that they
answer with. Everything here is guarded: a fault of ours, or of a span processor, costs a span and nothing else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as context_api
from opentelemetry import trace

from tldr_observability import _record, guard, semconv
from tldr_observability.tracing import captured, failures, slowness

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from opentelemetry.context import Context

    from tldr_observability.tracing.site import CallSite

__all__ = ["TASK_BODY", "Call", "begin_block", "begin_call", "begin_task", "current_span"]

current_span = trace.get_current_span

TASK_BODY: Final = "tldr_observability.task_body"
"""The key in OpenTelemetry's context of what a task queue's integration offers to whoever traces the task's function:
a list of the run's span and that function, which is emptied by the one who takes it."""

_SAMPLED = trace.TraceFlags.SAMPLED

_known: tuple[trace.TracerProvider, trace.Tracer | None] | None = None


class Call:
    """A running call or block: its span if it has one, the context of its body, its clock if slowness matters.

    Attributes:
        span: None where nobody would keep one; then the context is left alone, so that the parent stays current.
    """

    __slots__ = ("_context", "_site", "_started", "_threshold", "_token", "span")
    counts_errors = True

    def __init__(self, site: CallSite | None, span: trace.Span | None, threshold: float | None) -> None:
        self._site = site
        self._threshold = threshold
        self._context: Context | None = None
        self._token: Token[Context] | None = None
        self.span = span
        if span is not None:
            self._context = trace.set_span_in_context(span)
            self._token = context_api.attach(self._context)
        if threshold is not None:
            self._started = time.perf_counter()

    def returned(self, result: Any = None) -> None:
        """End the span of a call that went well."""
        try:
            if self._threshold is not None:
                self._mark_if_slow(self._threshold)
            if self.span is not None and self._site is not None and self._site.capture_result:
                self._keep_result(self.span, result)
        except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("ending a span", error)
        finally:
            self._close()

    def raised(self, error: BaseException) -> None:
        """End the span of a call that an exception leaves."""
        try:
            if self._threshold is not None:
                self._mark_if_slow(self._threshold)
            if self.span is not None:
                failures.record(self.span, error)
        except Exception as fault:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("recording an exception", fault)
        finally:
            if self._site is not None:
                failures.count(error, self._site.layer, leaving_wrapper=True)
            self._close()

    def suspend(self) -> None:
        """Put the caller's context back while a generator's body pauses, and keep the body's for when it goes on."""
        if self._token is None:
            return
        try:
            self._context = context_api.get_current()
            self._detach(self._token)
        except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("pausing a span", error)

    def resume(self) -> None:
        """Make the context that a generator's body left the current one again."""
        if self._context is None:
            return
        try:
            self._token = context_api.attach(self._context)
        except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("resuming a span", error)

    def _close(self) -> None:
        if self.span is None:
            return
        try:
            try:
                if self._token is not None:
                    self._detach(self._token)
            finally:
                self.span.end()
        except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("closing a span", error)

    def _detach(self, token: Token[Context]) -> None:
        self._token = None
        try:
            # Not context_api.detach: it logs a stack trace where the next line is all that there is to do.
            token.var.reset(token)
        except AttributeError:
            context_api.detach(token)  # a runtime context of the program's own (OTEL_PYTHON_CONTEXT)
        except ValueError:
            # Ended in another context than it began in: a coroutine that the garbage collector closes, or a block
            # in a generator whose steps run in several tasks. In the second case our span is current here.
            if current_span() is self.span:
                before = token.old_value
                context_api.attach(context_api.Context() if before is token.MISSING else before)

    def _mark_if_slow(self, threshold: float) -> None:
        elapsed = time.perf_counter() - self._started
        if elapsed >= threshold and self._site is not None:
            if self.span is not None:
                self.span.set_attribute(semconv.TLDR_SLOW, True)
            slowness.log(self._site, elapsed, threshold)

    def _keep_result(self, span: trace.Span, result: object) -> None:
        if not span.is_recording():
            return
        from tldr_observability.tracing import schemas  # not at import: few keep results

        attributes = captured.attributes({semconv.TLDR_RESULT: result})
        span.set_attributes(schemas.extended(getattr(span, "attributes", None) or {}, attributes))


class Untraced:
    """A running call that nobody keeps a span of: only what it fails with is counted."""

    __slots__ = ("_layer",)
    counts_errors = True

    def __init__(self, layer: str | None) -> None:
        self._layer = layer

    def returned(self, result: Any = None) -> None:
        """Nothing to end."""

    def raised(self, error: BaseException) -> None:
        """Count the exception that leaves the call."""
        failures.count(error, self._layer, leaving_wrapper=True)

    def suspend(self) -> None:
        """Nothing: it has no context of its own."""

    def resume(self) -> None:
        """Nothing: it has no context of its own."""


_untraced: dict[str | None, Untraced] = {}
"""By layer: they have no state, and what is left out of a trace must cost next to nothing."""


def begin_call(site: CallSite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | Untraced | None:
    """Start the span of a decorated call; None only where that failed."""
    try:
        threshold = slowness.threshold(site)
        tracer = _wanted()
        span = None if tracer is None else _start(tracer, site.name, site.attributes(args, kwargs))
        if span is None and threshold is None:
            return _untraced.get(site.layer) or _untraced.setdefault(site.layer, Untraced(site.layer))
        return Call(site, span, threshold)
    except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
        guard.report("starting a span", error)
        return None


class _TaskBody(Call):
    """The call of a task's own function by a task queue that has made a span for it and looks after its end."""

    __slots__ = ()

    def __init__(self, site: CallSite, span: trace.Span, threshold: float | None) -> None:
        super().__init__(site, None, threshold)
        self.span = span

    def raised(self, error: BaseException) -> None:
        """Count the exception, and leave the span to the task queue's integration: retries are exceptions too."""
        try:
            if self._threshold is not None:
                self._mark_if_slow(self._threshold)
        except Exception as fault:  # noqa: BLE001 - the boundary, without the price of `guarded`
            guard.report("ending a task's function", fault)
        finally:
            if self._site is not None:
                failures.count(error, self._site.layer, leaving_wrapper=True)

    def _close(self) -> None:
        """The span isn't ours to end."""


def begin_task(site: CallSite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | Untraced | None:
    """As `begin_call`, but a task's own function joins the span that its task queue has for this run."""
    try:
        offer = context_api.get_value(TASK_BODY)
        if isinstance(offer, list) and offer and offer[0] is current_span() and offer[1] is site.function:
            span: trace.Span = offer[0]
            offer.clear()  # a task that calls itself makes spans of these calls
            if span.is_recording():
                span.set_attributes(site.attributes(args, kwargs))
            return _TaskBody(site, span, slowness.threshold(site))
    except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
        guard.report("joining a task's span", error)
        return None
    return begin_call(site, args, kwargs)


def begin_block(name: str, describe: Callable[[], dict[str, Any]]) -> Call | None:
    """Start the span of a `with` block; None where nobody would keep it.

    Args:
        name: the span's.
        describe: makes its attributes, if they are wanted.
    """
    try:
        tracer = _wanted() if _record.record.enabled else None
        span = None if tracer is None else _start(tracer, name, describe())
        return None if span is None else Call(None, span, None)
    except Exception as error:  # noqa: BLE001 - the boundary, without the price of `guarded`
        guard.report("starting a span", error)
        return None


def _wanted() -> trace.Tracer | None:
    """The tracer, unless the parent is not sampled: that is looked at first, so that what is left out costs least."""
    parent = current_span().get_span_context()
    if not parent.trace_flags & _SAMPLED and parent.is_valid and not parent.is_remote:
        return None
    return _tracer()


def _tracer() -> trace.Tracer | None:
    global _known  # noqa: PLW0603 - the tracer of the provider that holds now, which may be set or replaced at any time
    provider = trace.get_tracer_provider()
    known = _known
    if known is None or known[0] is not provider:
        # The API's proxy stands for a provider that nobody has set yet; its tracers make nothing.
        waiting = isinstance(provider, trace.ProxyTracerProvider)
        known = _known = (provider, None if waiting else provider.get_tracer(semconv.SCOPE_NAME))
    return known[1]


def _start(tracer: trace.Tracer, name: str, attributes: dict[str, Any]) -> trace.Span | None:
    span = tracer.start_span(name, attributes=attributes)
    if not span.is_recording():
        # A sampled-out root must become current, or each of its children would be asked again. A tracer that is
        # switched off answers with what was current before.
        here = span.get_span_context()
        if not here.is_valid or here.span_id == current_span().get_span_context().span_id:
            return None
    return span
