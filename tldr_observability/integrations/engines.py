"""What is observed of one SQLAlchemy engine: a span and a duration for each statement, a span for each connection.

`opentelemetry-instrumentation-sqlalchemy` makes the spans of statements. It is given engine after engine: its
instrumentor would take those of the first call only, refuse SQLAlchemy 2.1, and trace whatever engine is made later.
"""

from __future__ import annotations

import functools
import weakref
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.instrumentation.sqlalchemy.version import __version__
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import NoOpUpDownCounter
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes
from sqlalchemy import event

from tldr_observability import semconv
from tldr_observability.guard import guarded
from tldr_observability.integrations import statements
from tldr_observability.tracing import failures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from sqlalchemy import Engine
    from sqlalchemy.engine import ExceptionContext

    class Histogram(Protocol):
        """Where durations go."""

        def record(self, value: float, attributes: Mapping[str, Any]) -> None:
            """Add one."""


__all__ = ["EngineObserver"]

_SCOPE = "opentelemetry.instrumentation.sqlalchemy"
_SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}
# What SQLAlchemy's execution context of a statement carries: the span that the tracer puts there, and ours.
_SPAN = "_otel_span"
_RUNNING = "_tldr_running"
_TRACED: list[tuple[Any, ...]] = EngineTracer._remove_event_listener_params  # noqa: SLF001 - no public way to ask
_NO_METRIC = NoOpUpDownCounter("db.client.connections.usage")


class _StatementTracer(EngineTracer):
    """OpenTelemetry's, with spans that are named by operation and table from their start on.

    Who sees a span when it starts, as consoles do, would otherwise see the name of the database in it, which in SQLite
    is the path of a file.
    """

    def _operation_name(self, db_name: str | None, statement: str) -> str:  # noqa: ARG002 - OpenTelemetry's signature
        with guarded("naming a SQL statement"):
            return statements.read(statement).summary
        return str(self.vendor)


class EngineObserver:
    """Observes an engine, which it knows weakly, until `stop`.

    Args:
        engine: the sync one.
        duration: records the seconds that a statement takes.
    """

    def __init__(self, engine: Engine, duration: Histogram) -> None:
        self.engine = weakref.ref(engine)
        self._connecting: weakref.WeakSet[Engine] = weakref.WeakSet()  # it and those derived from it
        self._duration = duration
        self._system = _SYSTEMS.get(engine.dialect.name, engine.dialect.name)
        self._tracer = trace.get_tracer(_SCOPE, __version__)
        # Before the tracer's, which ends the span with the driver's whole message (`insert=True` does nothing here).
        event.listen(engine, "handle_error", self._failed)
        # Not so an engine that the service gave to OpenTelemetry's instrumentor by itself: its spans suffice.
        self._traces = not _listeners(engine)
        if self._traces:
            _StatementTracer(self._tracer, engine, _NO_METRIC)  # type: ignore[no-untyped-call]
            self._trace_connections(engine)
        self._listeners = _listeners(engine) if self._traces else []
        # After the tracer's, for they describe its span.
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)
        event.listen(engine, "set_engine_execution_options", self._derived)

    def stop(self) -> None:
        """Remove all of it from the engine."""
        engine = self.engine()
        if engine is None:
            return
        event.remove(engine, "handle_error", self._failed)
        event.remove(engine, "before_cursor_execute", self._before)
        event.remove(engine, "after_cursor_execute", self._after)
        event.remove(engine, "set_engine_execution_options", self._derived)
        for listener in self._listeners:
            if listener in _TRACED:
                _TRACED.remove(listener)
                event.remove(engine, *listener[1:])
        for each in self._connecting:
            vars(each).pop("connect", None)

    def _before(self, _conn: Any, _cursor: Any, text: str, parameters: Any, context: Any, many: bool) -> None:
        with guarded("describing a SQL statement"):
            statement = statements.read(text)
            carried = vars(context)
            span = carried.get(_SPAN)
            if span is not None and span.is_recording():
                span.update_name(statement.summary)
                span.set_attributes(self._attributes(statement))
                span.set_attribute(semconv.LOGFIRE_MESSAGE, statement.summary)
                if many:
                    span.set_attribute(db_attributes.DB_OPERATION_BATCH_SIZE, len(parameters))
            carried[_RUNNING] = statement, perf_counter()

    def _after(self, _conn: Any, _cursor: Any, _text: str, _parameters: Any, context: Any, _many: bool) -> None:
        with guarded("measuring a SQL statement"):
            self._measure(context)
            vars(context)[_SPAN] = None  # it has ended; an error while rows are fetched is not the statement's

    def _failed(self, failure: ExceptionContext) -> None:
        with guarded("recording a failed SQL statement"):
            context = failure.execution_context
            if context is None:
                return
            error = failure.sqlalchemy_exception or failure.original_exception
            kind = None if failures.outcome(error) is failures.CANCELLED else _name(type(error))
            self._measure(context, kind)
            span = vars(context).get(_SPAN)
            if span is not None and span.is_recording():
                vars(context)[_SPAN] = None
                # The driver's own exception, for SQLAlchemy's tells the parameters.
                failures.record(span, failure.original_exception)
                if kind:
                    span.set_attribute(error_attributes.ERROR_TYPE, kind)
                span.end()

    def _measure(self, context: Any, error_type: str | None = None) -> None:
        ended = perf_counter()
        running = vars(context).pop(_RUNNING, None)
        if running is None:
            return
        statement, started = running
        attributes = self._attributes(statement)
        if error_type:
            attributes[error_attributes.ERROR_TYPE] = error_type
        self._duration.record(ended - started, attributes)

    def _attributes(self, statement: statements.Statement) -> dict[str, str]:
        attributes = {
            db_attributes.DB_SYSTEM_NAME: self._system,
            db_attributes.DB_OPERATION_NAME: statement.operation,
        }
        if statement.table:
            attributes[db_attributes.DB_COLLECTION_NAME] = statement.table
        return attributes

    def _derived(self, engine: Engine, _options: object) -> None:
        """An engine with execution options of its own shares the events of this one, but not what is set on it."""
        if self._traces and "connect" not in vars(engine):
            self._trace_connections(engine)

    def _trace_connections(self, engine: Engine) -> None:
        url = engine.url
        known = {
            semconv.LOGFIRE_LEVEL_NUM: semconv.LEVELS["debug"],
            db_attributes.DB_SYSTEM_NAME: self._system,
            db_attributes.DB_NAMESPACE: url.database,
            server_attributes.SERVER_ADDRESS: url.host,
            server_attributes.SERVER_PORT: url.port,
        }
        attributes: dict[str, Any] = {key: value for key, value in known.items() if value is not None}
        connect = engine.connect

        @functools.wraps(connect)
        def traced(*args: Any, **kwargs: Any) -> Any:
            span = self._connection_span(attributes)
            if span is None:
                return connect(*args, **kwargs)
            with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                try:
                    return connect(*args, **kwargs)
                except BaseException as error:
                    with guarded("recording that a database can't be reached"):
                        failures.record(span, error)
                    raise

        vars(engine)["connect"] = traced
        self._connecting.add(engine)

    def _connection_span(self, attributes: Mapping[str, Any]) -> trace.Span | None:
        with guarded("tracing a database connection"):
            if is_instrumentation_enabled():
                return self._tracer.start_span("connect", kind=trace.SpanKind.CLIENT, attributes=attributes)
        return None


def _listeners(engine: Engine) -> list[tuple[Any, ...]]:
    """Those of OpenTelemetry's instrumentation."""
    return [listener for listener in _TRACED if listener[0]() is engine]


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
