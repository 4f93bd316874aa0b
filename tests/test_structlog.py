"""structlog: through `logging` and by itself, every event exported once, with its key/values as attributes."""

from __future__ import annotations

import io
import logging

import pytest
import structlog

from tldr_observability import add_user_context, context, span
from tldr_observability.integrations.logging import LogHandler
from tldr_observability.integrations.structlog import add_log_context, export_log


@pytest.fixture
def exported(start, otlp_receiver):
    """Set up within a request, and say what has been exported since."""
    observability = start()
    token = context.begin_unit("order-7")
    add_user_context(organization_id="acme")

    def read():
        observability.flush(5)
        return otlp_receiver.logs

    yield read
    context.end_unit(token)
    structlog.reset_defaults()


@pytest.fixture
def stdlib():
    """The logger `shop` of `logging` with our handler and one that prints by structlog; what it has printed."""
    stream = io.StringIO()
    printing = logging.StreamHandler(stream)
    printing.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer()))
    logger = logging.getLogger("shop")
    logger.handlers[:] = [printing, LogHandler()]
    logger.setLevel("DEBUG")
    logger.propagate = False
    yield stream
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def through_logging(last):
    structlog.configure(
        processors=[add_log_context, structlog.stdlib.add_log_level, last],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return structlog.get_logger("shop")


@pytest.mark.parametrize(
    "last",
    [structlog.stdlib.ProcessorFormatter.wrap_for_formatter, structlog.stdlib.render_to_log_kwargs],
    ids=["wrap_for_formatter", "render_to_log_kwargs"],
)
def test_through_logging_an_event_is_exported_once(exported, stdlib, last):
    """Either way an event is one record, its text the event's, its key/values attributes."""
    with span("work") as current:
        through_logging(last).warning("sold", price=4.5, rows=[1])
    (record,) = exported()
    assert (record.body, record.severity_number, record.attributes["logger.name"]) == ("sold", 13, "shop")
    assert {"price": 4.5, "rows": "[1]", "tldr.organization.id": "acme"}.items() <= record.attributes.items()
    assert not {"trace_id", "organization_id", "event", "_logger", "_name"} & record.attributes.keys()
    assert record.span_id == f"{current.get_span_context().span_id:016x}"
    assert stdlib.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    "last",
    [structlog.stdlib.ProcessorFormatter.wrap_for_formatter, structlog.stdlib.render_to_log_kwargs],
    ids=["wrap_for_formatter", "render_to_log_kwargs"],
)
def test_through_logging_an_exception_has_its_attributes(exported, stdlib, last):
    """`log.exception()` exports the exception's type, message and stack trace."""
    logger = through_logging(last)
    try:
        {}["tea"]
    except KeyError:
        logger.exception("failed")
    (record,) = exported()
    assert record.attributes["exception.type"] == "KeyError"
    assert "exc_info" not in record.attributes


def test_the_ids_are_in_the_event(exported):
    """`add_log_context` puts what is known on the event, and leaves alone what is there."""
    with span("work") as current:
        event = add_log_context(None, "info", {"event": "x", "organization_id": "theirs"})
    ids = current.get_span_context()
    assert event == {
        "event": "x",
        "organization_id": "theirs",
        "correlation_id": "order-7",
        "trace_id": f"{ids.trace_id:032x}",
        "span_id": f"{ids.span_id:016x}",
    }


def by_itself():
    stream = io.StringIO()
    structlog.configure(
        processors=[
            add_log_context,
            structlog.processors.add_log_level,
            export_log,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    return structlog.get_logger(), stream


def test_without_logging_an_event_is_exported_and_printed(exported):
    """With `export_log` a structlog that prints by itself exports each event once, and prints it as before."""
    logger, stream = by_itself()
    with span("work") as current:
        logger.error("sold", price=4.5, logger="shop")
    (record,) = exported()
    assert (record.body, record.severity_text, record.severity_number) == ("sold", "ERROR", 17)
    assert record.attributes["price"] == 4.5
    assert record.attributes["logger.name"] == "shop"
    assert record.attributes["tldr.organization.id"] == "acme"
    assert record.span_id == f"{current.get_span_context().span_id:016x}"
    assert '"event": "sold"' in stream.getvalue()
    assert '"correlation_id": "order-7"' in stream.getvalue()


def test_without_logging_an_exception_has_its_attributes(exported):
    """`log.exception()` exports the exception and still prints it."""
    logger, stream = by_itself()
    try:
        {}["tea"]
    except KeyError:
        logger.exception("failed")
    (record,) = exported()
    assert (record.attributes["exception.type"], record.severity_number) == ("KeyError", 17)
    assert "Traceback" in stream.getvalue()


def test_an_event_that_fails_to_be_shown_breaks_nothing(exported):
    """Hostile and huge values cost the export themselves and the program nothing."""

    class Hostile:
        def __str__(self):
            raise RuntimeError("no")

        __repr__ = __str__

    event = {"event": Hostile(), "level": "warning", "big": "x" * 10_000_000}
    assert export_log(None, "warning", event) is event
    (record,) = exported()
    assert record.body == "<test_structlog.test_an_event_that_fails_to_be_shown_breaks_nothing.<locals>.Hostile object>"
    assert len(record.attributes["big"]) < 10_000
