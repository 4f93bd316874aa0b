"""Python's `logging`: records that are exported, and records that carry the ids of their trace and request."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import pickle
import queue
import threading
import time

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation

from tldr_observability import add_processing_context, add_user_context, context, log_event, span
from tldr_observability.integrations import logging as integration
from tldr_observability.integrations.logging import ContextFilter, LogHandler

EVERYTHING = "%(trace_id)s|%(span_id)s|%(correlation_id)s|%(organization_id)s|%(user_id)s|%(stream_id)s|%(message)s"


@pytest.fixture
def unit():
    """A request of its own, with a caller."""
    token = context.begin_unit("order-7")
    add_user_context(organization_id="acme", user_id="u1")
    yield
    context.end_unit(token)


@pytest.fixture
def exported(start, otlp_receiver):
    """Set up, and say what has been exported since."""
    observability = start()

    def read():
        observability.flush(5)
        return otlp_receiver.logs

    yield read
    integration.uninstrument()


@pytest.fixture
def logger(request):
    """A logger of the test's own that takes everything; nothing stays of what the test gives it."""
    made = logging.getLogger(f"shop.{request.node.name}")
    made.setLevel(1)
    yield made
    made.handlers.clear()
    made.filters.clear()
    made.propagate = True


@pytest.fixture
def one(exported):
    """The only exported record."""

    def read():
        (only,) = exported()
        return only

    return read


class Hostile:
    """A value that fails whatever it is asked."""

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def printing(logger, style=EVERYTHING):
    """Give the logger a handler that prints; returns what it has printed."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(style))
    logger.addHandler(handler)
    return stream, handler


def test_a_record_is_exported_with_all_that_is_known(one, logger, unit):
    """A record arrives with its text, severity, time, place, extras, trace, correlation id and organization."""
    logger.addHandler(LogHandler())
    before = time.time_ns()
    with span("work") as current:
        add_processing_context(stream_id="s1")
        logger.warning("sold %d %s", 3, "teas", extra={"price": 4.5, "rows": [1, 2]})
    record = one()
    assert (record.body, record.severity_text, record.severity_number) == ("sold 3 teas", "WARNING", 13)
    assert before - 10**9 < record.time_ns < time.time_ns()
    assert record.trace_id == f"{current.get_span_context().trace_id:032x}"
    assert record.span_id == f"{current.get_span_context().span_id:016x}"
    assert {
        "logger.name": logger.name,
        "code.filepath": "tests/test_logging.py",
        "code.function": "test_a_record_is_exported_with_all_that_is_known",
        "price": 4.5,
        "rows": "[1,2]",
        "tldr.correlation.id": "order-7",
        "tldr.organization.id": "acme",
        "user.id": "u1",
        "tldr.stream.id": "s1",
    }.items() <= record.attributes.items()
    assert record.attributes["code.lineno"] > 0
    assert not {"args", "msg", "levelno", "exc_info", "taskName"} & record.attributes.keys()


@pytest.mark.parametrize(
    ("level", "severity"), [(5, 1), (10, 5), (15, 5), (20, 9), (25, 10), (30, 13), (40, 17), (50, 21), (99, 21)]
)
def test_levels_become_severities(start, otlp_receiver, logger, level, severity):
    """Each of Python's levels, and what a program puts between them, has OpenTelemetry's severity."""
    observability = start(log_level="trace")
    logger.addHandler(LogHandler())
    logger.log(level, "x")
    observability.flush(5)
    assert [record.severity_number for record in otlp_receiver.logs] == [severity]


def test_an_exception_has_its_attributes(one, logger):
    """A record about an exception carries its type, message and stack trace."""
    logger.addHandler(LogHandler())
    try:
        {}["tea"]
    except KeyError:
        logger.exception("failed")
    attributes = one().attributes
    assert (attributes["exception.type"], attributes["exception.message"]) == ("KeyError", "'tea'")
    assert '{}["tea"]' in attributes["exception.stacktrace"]


def test_a_stack_is_kept(one, logger):
    """`stack_info=True` shows where the record comes from."""
    logger.addHandler(LogHandler())
    logger.error("here", stack_info=True)
    assert "test_a_stack_is_kept" in one().attributes["code.stacktrace"]


def test_sampling_does_not_touch_records(start, otlp_receiver, logger):
    """With no trace sampled records are exported all the same."""
    observability = start(sample_rate=0.0)
    logger.addHandler(LogHandler())
    with span("work"):
        logger.warning("kept")
    observability.flush(5)
    assert [record.body for record in otlp_receiver.logs] == ["kept"]


def test_several_handlers_export_once(exported, logger):
    """A record that reaches several of our handlers is one record."""
    integration.instrument(level="info")
    logger.addHandler(LogHandler())
    logging.getLogger("shop").addHandler(other := LogHandler())
    logger.warning("once")
    logging.getLogger("shop").removeHandler(other)
    assert [record.body for record in exported()] == ["once"]


def test_the_handlers_level_holds(exported, logger):
    """What is below the handler's level isn't exported."""
    logger.addHandler(LogHandler("ERROR"))
    logger.warning("no")
    logger.error("yes")
    assert [record.body for record in exported()] == ["yes"]


def test_nothing_is_touched_unasked(exported, logger):
    """Without LOGFIRE_LOGGING_ENABLED the root logger, the record factory and every record stay as they were."""
    assert logging.getLogRecordFactory() is logging.LogRecord
    assert not [handler for handler in logging.getLogger().handlers if isinstance(handler, LogHandler)]
    assert logging.Logger.callHandlers.__module__ == "logging"
    stream, _ = printing(logger, "%(message)s")
    logger.warning("mine")
    assert stream.getvalue() == "mine\n"
    assert exported() == []


def test_asked_for_every_logger_is_exported_and_undone(exported, logger):
    """Asked for, loggers that don't propagate are exported too, from the level on, until it is undone."""
    original = logging.Logger.callHandlers
    assert integration.instrument(level="warn") == "records of every logger from warn on"
    integration.instrument(level="info")
    logger.propagate = False
    logger.debug("no")
    logger.info("yes")
    integration.uninstrument()
    assert logging.Logger.callHandlers is original
    logger.info("no more")
    assert [record.body for record in exported()] == ["yes"]


def test_asked_for_logging_is_set_up_as_before(exported):
    """`basicConfig` and the last resort work as if nobody exported, and `dictConfig` doesn't end the export."""
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], []
    level = root.level
    try:
        integration.instrument(level="info")
        assert root.handlers == []
        stream = io.StringIO()
        logging.basicConfig(stream=stream, format=EVERYTHING, level="INFO")
        logging.getLogger("shop.basic").info("first")
        assert stream.getvalue() == "||||||first\n"
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO"}})
        logging.getLogger("shop.basic").info("second")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert [record.body for record in exported()] == ["first", "second"]


def test_every_formatter_sees_the_ids(exported, logger, unit):
    """`%`, `{` and `$` formatters show trace, span, correlation id and organization of any logger's records."""
    integration.instrument(level="info")
    percent, _ = printing(logger)
    brace, handler = printing(logger)
    handler.setFormatter(logging.Formatter("{organization_id} {platform} {message}", style="{"))
    with span("work") as current:
        logger.info("sold")
    ids = current.get_span_context()
    assert percent.getvalue() == f"{ids.trace_id:032x}|{ids.span_id:016x}|order-7|acme|u1||sold\n"
    assert brace.getvalue() == "acme  sold\n"


def test_extras_of_the_same_name_stay(exported, logger, unit):
    """A program that gives records an `organization_id` or `trace_id` of its own goes on, and both are exported."""
    integration.instrument(level="info")
    stream, _ = printing(logger, "%(organization_id)s %(trace_id)s")
    logger.info("x", extra={"organization_id": "theirs", "trace_id": 7})
    assert stream.getvalue() == "theirs 7\n"
    (record,) = exported()
    assert record.attributes["organization_id"] == "theirs"
    assert record.attributes["trace_id"] == 7
    assert record.attributes["tldr.organization.id"] == "acme"


def test_the_filter_never_lets_a_formatter_fail(logger):
    """With `ContextFilter`, and outside of anything, the names are empty texts."""
    stream, handler = printing(logger)
    handler.addFilter(ContextFilter())
    logger.warning("x")
    assert stream.getvalue() == "||||||x\n"


def test_dictconfig_knows_both(exported, logger, unit):
    """Both can be named in `dictConfig` by their paths."""
    path = "tldr_observability.integrations.logging"
    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": False,
            "disable_existing_loggers": False,
            "filters": {"ids": {"()": f"{path}.ContextFilter"}},
            "handlers": {"export": {"class": f"{path}.LogHandler", "level": "WARNING", "filters": ["ids"]}},
            "loggers": {logger.name: {"handlers": ["export"], "level": "DEBUG"}},
        }
    )
    logger.info("no")
    logger.warning("yes")
    assert [record.body for record in exported()] == ["yes"]


def test_a_queue_keeps_the_ids_of_where_the_record_was_made(one, logger, unit):
    """A record that a listener's thread exports belongs to the span that made it, also after a trip through pickle."""
    records = queue.SimpleQueue()
    logger.addHandler(handler := logging.handlers.QueueHandler(records))
    handler.addFilter(ContextFilter())
    with span("work") as current:
        logger.warning("sold %s", "tea")
    made = pickle.loads(pickle.dumps(records.get()))

    def listen():
        add_user_context(organization_id="somebody else")
        with span("listening"):
            LogHandler().handle(made)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    record = one()
    assert record.body == "sold tea"
    assert record.span_id == f"{current.get_span_context().span_id:016x}"
    assert record.attributes["tldr.organization.id"] == "acme"
    assert not {"trace_id", "organization_id"} & record.attributes.keys()


@pytest.mark.parametrize("name", ["tldr_observability", "opentelemetry.sdk.trace", "logfire._internal.x"])
def test_the_exporters_own_records_are_left_out(exported, name):
    """What the export itself logs is printed by the program's handlers and never exported."""
    integration.instrument(level="info")
    logging.getLogger(name).error("export failed")
    logging.getLogger(f"{name.partition('.')[0]}_of_mine").error("mine")
    assert [record.body for record in exported()] == ["mine"]


def test_the_export_threads_are_left_out(exported, logger):
    """urllib3's records about sending records aren't sent."""
    integration.instrument(level="debug")
    logging.getLogger("urllib3.connectionpool").setLevel(logging.DEBUG)
    try:
        logger.warning("x")
        exported()
        assert [record.body for record in exported()] == ["x"]
    finally:
        logging.getLogger("urllib3.connectionpool").setLevel(logging.NOTSET)


def test_suppressed_code_is_left_out(exported, logger):
    """Within OpenTelemetry's `suppress_instrumentation` nothing is exported."""
    logger.addHandler(LogHandler())
    with suppress_instrumentation():
        logger.error("no")
    assert exported() == []


@pytest.mark.parametrize(
    ("message", "args", "body"),
    [
        ("%d and %d", (1,), "%d and %d"),
        ("%s", (Hostile(),), "%s"),
        (Hostile(), (), "<test_logging.Hostile object>"),
        ({"a": 1}, (), "{'a': 1}"),
        (None, (), "None"),
        ("half \ud800", (), "half �"),
    ],
    ids=["args that don't fit", "argument without text", "no text", "dict", "none", "surrogate"],
)
def test_no_record_breaks_anything(one, logger, message, args, body):
    """Whatever a record holds, the code that logs goes on and the record is exported as far as it can be read."""
    logger.propagate = False
    logger.addHandler(LogHandler())
    logger.warning(message, *args, extra={"thing": Hostile()})
    record = one()
    assert record.body == body
    assert record.attributes["thing"] == '"<test_logging.Hostile object>"'


def test_a_huge_record_is_cut(one, logger):
    """A text of ten megabytes costs the export some kilobytes."""
    logger.propagate = False
    logger.addHandler(LogHandler())
    logger.warning("x" * 10_000_000, extra={"y": "y" * 10_000_000})
    record = one()
    assert len(record.body) < 10_000
    assert len(record.attributes["y"]) < 10_000


def test_an_exception_that_logs_when_it_is_shown(exported, logger):
    """An exception whose text logs itself doesn't go round in circles."""
    logger.propagate = False
    logger.addHandler(LogHandler())

    class ChattyError(Exception):
        def __str__(self):
            logger.error("shown", exc_info=self)
            return "chatty"

    logger.error("failed", exc_info=ChattyError())
    (record,) = exported()
    assert record.attributes["exception.message"] == "chatty"


def test_events_of_ours_are_not_doubled(exported):
    """`log_event` writes its record once, with and without the export of logging."""
    integration.instrument(level="info")
    log_event("stream.started")
    assert [record.event_name for record in exported()] == ["stream.started"]


def test_disabled_exports_nothing(start, otlp_receiver, logger):
    """After `setup(enabled=False)` a handler that is there does nothing."""
    start(enabled=False)
    logger.addHandler(LogHandler())
    logger.warning("x")
    assert otlp_receiver.requests == []


def test_a_forked_child_logs_for_itself(program, otlp_receiver):
    """Records of a process and of its forked child both arrive, once each."""
    child = program(
        """
        import logging, os
        from tldr_observability import setup
        from tldr_observability.integrations import logging as integration

        observability = setup()
        integration.instrument(level="info")
        logging.getLogger("parent").warning("before")
        if os.fork() == 0:
            logging.getLogger("child").warning("in the child")
            observability.flush(10)
            os._exit(0)
        os.wait()
        logging.getLogger("parent").warning("after")
        """
    )
    assert child.finish() == 0, child.output
    assert sorted(record.body for record in otlp_receiver.logs) == ["after", "before", "in the child"]
    assert "before" in child.output  # the last resort still speaks


def test_servers_and_workers_that_set_logging_up(program, otlp_receiver):
    """Uvicorn's loggers, which don't propagate, and Celery's, which empty the root logger, are exported once."""
    server = program(
        """
        import logging
        from tldr_observability import setup
        from tldr_observability.integrations import logging as integration

        observability = setup()
        integration.instrument(level="info")

        from uvicorn.config import Config
        Config("shop:app").configure_logging()
        logging.getLogger("uvicorn.error").info("Started server process")

        from celery import Celery
        from celery.utils.log import get_task_logger
        Celery().log.setup(loglevel="INFO")
        get_task_logger("shop.tasks").warning("in a task")
        """
    )
    assert server.finish() == 0, server.output
    assert sorted(record.body for record in otlp_receiver.logs) == ["Started server process", "in a task"]
