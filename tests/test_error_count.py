"""The automatic count of exceptions: `tldr.error.count`."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fastapi import HTTPException

from tldr_observability import (
    guard,
    instruments,
    log_event,
    span,
    timed,
    traced,
    traced_api_endpoint,
    traced_background_task,
    traced_repository_method,
    traced_service_method,
)

NAME = "tldr.error.count"


class TooLateError(Exception):
    """An error of the service's own."""


@pytest.fixture
def counted(start, otlp_receiver):
    """What was counted, as (type, layer): number; set up with the given settings."""

    def begin(**settings):
        instruments.reset()
        observability = start(**settings)

        def read():
            observability.flush(5)
            series = [p.attributes for m in otlp_receiver.metrics if m.name == NAME for p in m.points]
            return {(each["error.type"], each.get("tldr.layer")): otlp_receiver.total(NAME, each) for each in series}

        return read

    return begin


def fails(kind=ValueError):
    raise kind("no")


def attempt(function, *args):
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is, it is looked at
        function(*args)
    return caught.value


def test_an_exception_is_counted_by_type_and_layer(counted):
    """Every exception that leaves decorated code is one error of its type, in the layer that it left first."""
    read = counted()
    for _ in range(3):
        attempt(traced_service_method(fails))
    attempt(traced(fails), TooLateError)
    assert read() == {("ValueError", "service"): 3, (f"{__name__}.TooLateError", None): 1}


def test_an_exception_is_counted_once_however_far_it_goes(counted):
    """An error that passes repository, service and endpoint is one error, of the repository."""
    read = counted()

    @traced_repository_method
    def save():
        return fails()

    @traced_service_method
    def serve():
        with span("block"):
            return save()

    @traced_api_endpoint
    def endpoint():
        return serve()

    attempt(endpoint)
    assert read() == {("ValueError", "repository"): 1}


def test_async_code_and_its_tasks_count_once(counted):
    """It makes no difference whether the way of the error leads through coroutines, tasks and generators."""
    read = counted()

    @traced_repository_method
    async def rows():
        yield 1
        fails()

    @traced_service_method
    async def serve():
        async with asyncio.TaskGroup() as group:
            group.create_task(collect())

    @traced_service_method
    async def collect():
        return [row async for row in rows()]

    @traced_api_endpoint
    async def endpoint():
        return await asyncio.ensure_future(collect())

    attempt(asyncio.run, endpoint())
    assert read() == {("ValueError", "repository"): 1}
    attempt(asyncio.run, serve())
    # What a task group raises is another exception, which says that some have been.
    assert read() == {("ValueError", "repository"): 2, ("ExceptionGroup", "service"): 1}


def test_generators_and_plain_wrappers_of_coroutines_count(counted):
    """An error counts also where it leaves an iteration, or a coroutine that a plain function has made."""
    read = counted()

    @traced_repository_method
    def rows():
        yield 1
        fails()

    async def work():
        fails(TypeError)

    def plain():
        return work()

    attempt(list, rows())
    attempt(asyncio.run, traced_service_method(plain)())
    assert read() == {("ValueError", "repository"): 1, ("TypeError", "service"): 1}


def test_what_is_thrown_into_a_generator_counts(counted):
    """An error that comes from the consumer of an iteration counts where it leaves it, if it hasn't been counted."""
    read = counted()

    @contextlib.contextmanager
    @traced_service_method
    def scope():
        yield

    def consume(work):
        with scope():
            work()

    attempt(consume, fails)
    assert read() == {("ValueError", "service"): 1}
    attempt(consume, traced_repository_method(fails))
    assert read() == {("ValueError", "service"): 1, ("ValueError", "repository"): 1}


def test_another_exception_is_another_error(counted):
    """What is raised from an error counts for itself, and the same error caught and met again does not."""
    read = counted()

    @traced_repository_method
    def save():
        fails()

    @traced_service_method
    def serve():
        try:
            save()
        except ValueError as error:
            raise TooLateError from error

    attempt(serve)
    assert read() == {("ValueError", "repository"): 1, (f"{__name__}.TooLateError", "service"): 1}


def test_decorators_that_make_no_span_neither_count_nor_hide(counted):
    """`timed` and `log_event` count nothing, and an error that has passed one is still counted further out."""
    read = counted()
    attempt(timed(fails))
    attempt(log_event(fails))
    attempt(traced(timed(log_event(fails))))
    assert read() == {("ValueError", None): 1}


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit, StopIteration])
def test_what_is_no_error_is_not_counted(counted, error):
    """Cancellations, the end of an iteration and the end of the program are no errors."""
    read = counted()
    attempt(traced(fails), error)
    assert read() == {}


def test_an_answer_to_the_client_is_no_error(counted):
    """A 404 is an answer; a 503 is an error."""
    read = counted()

    @traced_api_endpoint
    def answer(status):
        raise HTTPException(status)

    attempt(answer, 404)
    attempt(answer, 503)
    assert read() == {("fastapi.exceptions.HTTPException", "api"): 1}


def test_sampling_does_not_touch_the_count(counted, otlp_receiver):
    """With no trace sampled all errors are counted all the same, and still once each."""
    read = counted(sample_rate=0.0)

    @traced_api_endpoint
    def endpoint():
        return traced_service_method(fails)()

    for _ in range(5):
        attempt(endpoint)
    assert read() == {("ValueError", "service"): 5}
    assert otlp_receiver.spans == []


def test_deep_recursion_counts_once(counted, monkeypatch):
    """A decorated function that calls itself until Python gives up is one error."""
    monkeypatch.setattr(guard, "_last_logged", {})  # our own code is met at the limit, too, and says so
    read = counted()

    @traced
    def deeper():
        deeper()

    assert isinstance(attempt(deeper), RecursionError)
    assert read() == {("RecursionError", None): 1}


def test_an_exception_without_a_say_in_it(counted):
    """An exception class that lies about its traceback is counted, and reaches the caller as it was."""
    read = counted()

    class LiarError(Exception):
        __traceback__ = property(lambda self: 1 / 0)

    assert type(attempt(traced(fails), LiarError)) is LiarError
    assert [key for key in read() if key[0].endswith("LiarError")]


def test_a_background_task_counts_outside_of_any_queue(counted):
    """`traced_background_task` counts as its layer where no task queue runs it."""
    read = counted()
    attempt(traced_background_task(fails))
    assert read() == {("ValueError", "task"): 1}


def test_disabled_counts_nothing(counted, otlp_receiver):
    """With LOGFIRE_ENABLED=false there is nothing to count, and the error passes."""
    read = counted(enabled=False)
    assert isinstance(attempt(traced(fails)), ValueError)
    assert read() == {}
    assert otlp_receiver.requests == []
