"""The decorators, over every kind of callable: what is exported, and that the host's code notices nothing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import logging
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import time
import types
import weakref
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import StatusCode

from tldr_observability import (
    ConfigurationError,
    _record,
    current_span,
    guard,
    log_event,
    span,
    timed,
    traced,
    traced_api_endpoint,
    traced_background_task,
    traced_repository_method,
    traced_service_method,
    traced_use_case,
)
from tldr_observability.catalogue import calls
from tldr_observability.instruments.registry import Registry
from tldr_observability.tracing import timing

LAYERS = {
    traced_api_endpoint: "api",
    traced_use_case: "use_case",
    traced_service_method: "service",
    traced_repository_method: "repository",
    traced_background_task: "task",
}
KINDS = ("sync", "async", "generator", "async generator")
SHAPES = (
    "function",
    "method",
    "classmethod outside",
    "classmethod inside",
    "staticmethod outside",
    "staticmethod inside",
)


class Exported:
    """What a provider got, for one test."""

    def __init__(self, sampler=None):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.log_exporter = InMemoryLogRecordExporter()
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self.log_exporter))

    @property
    def spans(self):
        """What ended, in that order."""
        return self.exporter.get_finished_spans()

    @property
    def one(self):
        """The only span."""
        (only,) = self.spans
        return only

    @property
    def records(self):
        """The log records."""
        return [data.log_record for data in self.log_exporter.get_finished_logs()]

    def named(self, name):
        """The only span of that name."""
        (found,) = [each for each in self.spans if each.name == name]
        return found

    def install(self, monkeypatch):
        """Make the providers the program's own until the test ends."""
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", self.provider)
        monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", self.logger_provider)
        return self


pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
def exported(monkeypatch):
    """A real SDK provider as the program's own."""
    return Exported().install(monkeypatch)


@pytest.fixture
def unsampled(monkeypatch):
    """A provider that keeps no trace."""
    return Exported(ParentBased(ALWAYS_OFF)).install(monkeypatch)


@pytest.fixture
def no_provider(monkeypatch):
    """A program without any provider."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", None)


def make_body(kind, error=None):
    """A function of the kind that ends with the error, or well."""

    def end():
        if error is not None:
            raise error

    if kind == "sync":

        def work(*receiver, value):
            end()
            return value

    elif kind == "async":

        async def work(*receiver, value):
            await asyncio.sleep(0)
            end()
            return value

    elif kind == "generator":

        def work(*receiver, value):
            yield value
            end()

    else:

        async def work(*receiver, value):
            yield value
            await asyncio.sleep(0)
            end()

    return work


def shaped(shape, body, decorator):
    """The decorated body as a caller finds it."""
    if shape == "function":
        return decorator(body)
    outer, _, place = shape.partition(" ")
    wrap = {"method": lambda f: f, "classmethod": classmethod, "staticmethod": staticmethod}[outer]
    member = decorator(wrap(body)) if place == "inside" else wrap(decorator(body))
    return type("Host", (), {"work": member})().work


def drive(kind, function, **arguments):
    """Run it to its end; its values."""
    if kind == "sync":
        return [function(**arguments)]
    if kind == "generator":
        return list(function(**arguments))

    async def main():
        if kind == "async":
            return [await function(**arguments)]
        return [item async for item in function(**arguments)]

    return asyncio.run(main())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["success", "failure", "cancellation"])
def test_every_callable_makes_one_span_with_its_outcome(exported, kind, shape, ending):
    """Each kind of callable in each position gives one span, its value and its very own exception."""
    error = {"success": None, "failure": ValueError("no"), "cancellation": asyncio.CancelledError()}[ending]
    function = shaped(shape, make_body(kind, error), traced_service_method(capture_args=["value"]))
    if error is None:
        assert drive(kind, function, value=7) == [7]
    else:
        with pytest.raises(type(error)) as caught:
            drive(kind, function, value=7)
        if ending == "failure":
            assert caught.value is error
            assert error.__context__ is None
            assert error.__cause__ is None
    made = exported.one
    assert (made.name, made.attributes["tldr.layer"], made.attributes["value"]) == ("work", "service", 7)
    assert made.instrumentation_scope.name == "tldr_observability"
    assert made.attributes.get("tldr.outcome") == ("cancelled" if ending == "cancellation" else None)
    if ending == "failure":
        assert (made.status.status_code, made.status.description) == (StatusCode.ERROR, "ValueError: no")
        assert made.attributes["logfire.level_num"] == 17
        (event,) = made.events
        assert (event.attributes["exception.type"], event.attributes["exception.message"]) == ("ValueError", "no")
        assert "in work" in event.attributes["exception.stacktrace"]
    else:
        assert made.status.status_code is StatusCode.UNSET
        assert not made.events
        assert "logfire.level_num" not in made.attributes
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decorator", [traced, timed, log_event])
def test_kinds_and_metadata_stay(kind, decorator):
    """Inspection, names, docs and signatures see the function that was decorated."""
    body = make_body(kind)
    body.__doc__ = "Works."
    body.mark = object()
    decorated = decorator(body)
    for ask in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert ask(decorated) is ask(body)
    assert inspect.signature(decorated) == inspect.signature(body)
    assert (decorated.__name__, decorated.__qualname__, decorated.__doc__) == ("work", body.__qualname__, "Works.")
    assert decorated.mark is body.mark
    assert decorated.__wrapped__ is body


@pytest.mark.parametrize("decorator", LAYERS, ids=lambda each: each.__name__)
def test_each_layer_names_itself(exported, decorator):
    """A layer's decorator, bare or with options, writes `tldr.layer`."""
    assert decorator(lambda: 1)() == 1
    assert decorator(name="named")(lambda: 2)() == 2
    assert [made.attributes["tldr.layer"] for made in exported.spans] == [LAYERS[decorator]] * 2
    assert [made.name for made in exported.spans] == ["<lambda>", "named"]


def test_plain_traced_has_no_layer(exported):
    """The generic decorator claims no layer."""
    traced(lambda: 1)()
    assert "tldr.layer" not in exported.one.attributes


def test_constant_attributes(exported):
    """A span says where its function is, and has the message and type that Logfire's live view reads."""

    @traced(name="greet {who}", attributes={"team": "north", "tldr.layer": "mine"})
    def greet(who):
        return who

    greet("you")
    attributes = dict(exported.one.attributes)
    line = greet.__wrapped__.__code__.co_firstlineno
    schema = attributes.pop("logfire.json_schema")
    assert "team" in schema
    assert attributes == {
        "code.filepath": "tests/test_decorators.py",
        "code.function": "test_constant_attributes.<locals>.greet",
        "code.lineno": line,
        "logfire.msg_template": "greet {who}",
        "logfire.msg": "greet {who}",
        "logfire.span_type": "span",
        "team": "north",
        "tldr.layer": "mine",
    }


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda f: f(1, 2), {"a": 1, "b": 2, "c": 3, "rest": "[]", "d": 4, "more": "{}"}),
        (lambda f: f(1, b=5, d=6, e=7), {"a": 1, "b": 5, "c": 3, "rest": "[]", "d": 6, "more": '{"e":7}'}),
        (lambda f: f(1, 2, 9, 8, 7), {"a": 1, "b": 2, "c": 9, "rest": "[8,7]", "d": 4, "more": "{}"}),
        (lambda f: f(1, b=2, a=3), {"a": 1, "b": 2, "c": 3, "rest": "[]", "d": 4, "more": '{"a":3}'}),
    ],
)
def test_arguments_are_bound_as_python_binds_them(exported, call, expected):
    """Positions, keywords, defaults, positional-only and starred parameters end up under their names."""

    @traced(capture_args=True)
    def function(a, /, b, c=3, *rest, d=4, **more):
        return inspect.currentframe()

    call(function)
    captured = {name: exported.one.attributes[name] for name in expected}
    assert captured == expected


def test_captured_arguments_show_in_the_message(exported):
    """A name with fields stays the span's name, and its message shows the arguments."""

    @traced(name="greet {who} {missing}", capture_args=True)
    def greet(who):
        return who

    greet("you")
    made = exported.one
    assert made.name == made.attributes["logfire.msg_template"] == "greet {who} {missing}"
    assert made.attributes["logfire.msg"] == "greet you {missing}"


def test_receivers_are_never_captured(exported):
    """`capture_args=True` leaves out `self` and `cls`, and asking for them by name is refused."""

    class Host:
        @traced(capture_args=True)
        def method(self, a):
            return a

        @traced(capture_args=True)
        @classmethod
        def build(klass, a):  # noqa: N804 - a receiver by any name
            return a

        @staticmethod
        @traced(capture_args=True)
        def plain(a):
            return a

    Host().method(1)
    Host.build(2)
    Host.plain(3)
    assert [made.attributes["a"] for made in exported.spans] == [1, 2, 3]
    assert not {"self", "cls", "klass"} & {key for made in exported.spans for key in made.attributes}
    with pytest.raises(ConfigurationError, match="'self'"):
        traced(capture_args=["self"])(Host.method.__wrapped__)


def test_a_later_change_of_an_argument_does_not_show(exported):
    """What is captured is the argument's value at the time of the call."""

    @traced(capture_args=True)
    def append(rows):
        rows.append(2)

    append([1])
    assert exported.one.attributes["rows"] == "[1]"


def test_a_result_is_kept_beside_the_arguments(exported):
    """`capture_result` adds `tldr.result`, and the schema tells of arguments and result."""

    @traced(capture_args=True, capture_result=True)
    def double(rows):
        return rows * 2

    assert double([1]) == [1, 1]
    attributes = exported.one.attributes
    assert (attributes["rows"], attributes["tldr.result"]) == ("[1]", "[1,1]")
    assert '"rows":{"type":"array"}' in attributes["logfire.json_schema"]
    assert '"tldr.result":{"type":"array"}' in attributes["logfire.json_schema"]


def test_a_wrong_call_raises_the_functions_own_type_error(exported):
    """A call with wrong arguments fails as it would without us."""

    @traced(capture_args=True)
    def function(a, b):
        return a + b

    with pytest.raises(TypeError, match=re.escape("function() missing 1 required positional argument: 'b'")):
        function(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        function(1, 2, c=3)
    assert [made.attributes["a"] for made in exported.spans] == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capture_args": ["a", "x", "y"]}, "'x', 'y'; the parameters that can be captured are 'a', 'b'"),
        ({"capture_args": 3}, "capture_args must be True, False or names of parameters, got 3"),
        ({"name": ""}, "name must be a text that is not empty, got ''"),
        ({"attributes": [1]}, r"attributes must be a mapping with texts as keys, got \[1\]"),
        ({"slow_threshold": -1}, "slow_threshold must be a number of seconds from 0, got -1"),
        ({"slow_threshold": float("nan")}, "slow_threshold must be a number"),
    ],
)
def test_bad_options_are_refused_when_decorating(options, message):
    """An option that can't be used is named at decoration, with what was expected and what arrived."""

    def function(a, b):
        """Do nothing."""

    with pytest.raises(ConfigurationError, match=message):
        traced(**options)(function)


def test_all_bad_options_come_in_one_message():
    """Someone with two mistakes learns of both at once."""
    with pytest.raises(ConfigurationError) as caught:
        traced(name=3, capture_args=["nope"])(lambda a: a)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("target", [None, 3, "text"])
@pytest.mark.parametrize("decorator", [traced, timed, traced(), timed(), log_event()])
def test_what_is_no_function_is_refused(decorator, target):
    """Decorating something that can't be called is an error at once."""
    with pytest.raises(ConfigurationError, match="is for functions and methods, got"):
        decorator(target)


@pytest.mark.parametrize(
    ("target", "example"),
    [
        (functools.partialmethod(print, 1), "partialmethod(traced(function), ...)"),
        (functools.singledispatchmethod(print), "singledispatchmethod(traced(function))"),
    ],
)
def test_what_makes_methods_is_refused_with_what_to_type(target, example):
    """A partialmethod or singledispatchmethod is refused, and the message has the line that works."""
    with pytest.raises(ConfigurationError, match=re.escape(f"decorate the function inside: {example}")):
        traced(target)


def test_the_function_inside_of_what_makes_methods(exported):
    """Decorated inside, as the messages say, both kinds work."""

    def work(self, a):
        return a

    host = type(
        "Host",
        (),
        {
            "part": functools.partialmethod(traced(work), 1),
            "dispatched": functools.singledispatchmethod(traced(capture_args=True)(work)),
        },
    )()
    assert (host.part(), host.dispatched(2)) == (1, 2)
    assert [made.attributes.get("a") for made in exported.spans] == [None, 2]


def test_a_class_is_refused():
    """Decorating a class says what to decorate instead."""
    with pytest.raises(ConfigurationError, match="decorate the methods of Host"):

        @traced
        class Host:
            pass


# Generators


def test_a_generators_span_is_current_in_its_body_only(exported):
    """Work of the consumer between two items is no child of the generator's span."""

    @traced
    def numbers():
        for number in range(2):
            with span("inside"):
                pass
            yield number

    with span("consumer") as consumer:
        for _ in numbers():
            assert current_span() is consumer
            with span("between"):
                pass
    whole = exported.named("numbers").context.span_id
    parents = {(made.name, made.parent and made.parent.span_id) for made in exported.spans}
    assert parents == {
        ("consumer", None),
        ("numbers", consumer.get_span_context().span_id),
        ("inside", whole),
        ("between", consumer.get_span_context().span_id),
    }


@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_a_block_that_spans_a_yield_stays_the_parent(exported, kind):
    """What is made in a block after its yield is the block's child, and after the block the generator's again."""
    if kind == "generator":

        @traced
        def steps():
            with span("outer"):
                yield 1
                with span("child"):
                    pass
            with span("later"):
                pass
            yield 2

    else:

        @traced
        async def steps():
            async with span("outer"):
                yield 1
                await asyncio.sleep(0)
                with span("child"):
                    pass
            with span("later"):
                pass
            yield 2

    assert drive(kind, steps) == [1, 2]
    assert exported.named("child").parent.span_id == exported.named("outer").context.span_id
    assert exported.named("later").parent.span_id == exported.named("steps").context.span_id


def test_steps_in_several_threads_keep_the_parents(exported, caplog):
    """A generator that a server steps through a thread pool has right parents and logs no complaint."""

    @traced
    def steps():
        with span("outer"):
            yield 1
        with span("later"):
            pass
        yield 2

    iterator = steps()
    with ThreadPoolExecutor(2) as pool:
        items = [pool.submit(contextvars.copy_context().run, next, iterator, None).result() for _ in range(3)]
    assert items == [1, 2, None]
    assert exported.named("later").parent.span_id == exported.named("steps").context.span_id
    assert not caplog.records


def test_send_throw_and_return_values_pass(exported):
    """A wrapped generator is driven like a bare one."""

    @traced(capture_result=True)
    def talk():
        heard = []
        while len(heard) < 2:
            try:
                heard.append((yield len(heard)))
            except KeyError as error:
                heard.append(error)
        return heard

    iterator = talk()
    thrown = KeyError("x")
    assert next(iterator) == 0
    assert iterator.send("a") == 1
    with pytest.raises(StopIteration) as stop:
        iterator.throw(thrown)
    assert stop.value.value == ["a", thrown]
    assert exported.one.attributes["tldr.result"] == '["a","\'x\'"]'
    assert exported.one.status.status_code is StatusCode.UNSET


def test_yield_from_a_wrapped_generator_gives_its_return_value(exported):
    """Delegation works through the wrapper."""

    @traced
    def inner():
        yield 1
        return 2

    def outer():
        return (yield from inner())

    iterator = outer()
    assert next(iterator) == 1
    with pytest.raises(StopIteration) as stop:
        next(iterator)
    assert stop.value.value == 2


@pytest.mark.parametrize("how", ["close", "collect", "throw"])
def test_a_generator_that_is_left_is_cancelled_and_not_failed(exported, how):
    """Closing, dropping or ending a generator early runs its cleanup, ends its span and makes no error."""
    cleaned = []

    @traced
    def numbers():
        try:
            yield 1
        finally:
            cleaned.append(current_span().get_span_context().span_id)

    iterator = numbers()
    next(iterator)
    assert not exported.spans
    if how == "close":
        iterator.close()
    elif how == "throw":
        with pytest.raises(GeneratorExit):
            iterator.throw(GeneratorExit())
    else:
        del iterator
        gc.collect()
    made = exported.one
    assert cleaned == [made.context.span_id]
    assert made.attributes["tldr.outcome"] == "cancelled"
    assert made.status.status_code is StatusCode.UNSET
    assert not made.events


def test_a_generator_that_ignores_its_close_fails_as_it_would_without_us(exported):
    """Yielding during a close is the host's own RuntimeError."""

    @traced
    def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    iterator = stubborn()
    next(iterator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        iterator.close()


def test_a_generator_never_started_makes_no_span(exported):
    """A span begins with the first item that is asked for."""

    @traced
    def numbers():
        yield 1

    numbers().close()
    assert not exported.spans


def test_an_error_in_the_body_after_a_throw_keeps_its_own_context(exported):
    """What a body raises after it handled a thrown exception isn't chained to that by us."""
    late = ValueError("late")

    @traced
    def numbers():
        with contextlib.suppress(KeyError):
            yield 1
        raise late

    iterator = numbers()
    next(iterator)
    with pytest.raises(ValueError, match="late") as caught:
        iterator.throw(KeyError("thrown"))
    assert caught.value is late
    assert late.__context__ is None


def test_asend_and_athrow_pass(exported):
    """A wrapped async generator is driven like a bare one."""

    @traced
    async def talk():
        heard = yield 0
        try:
            yield heard
        except KeyError as error:
            yield error
        raise LookupError("end")

    async def main():
        iterator = talk()
        thrown = KeyError("x")
        assert await anext(iterator) == 0
        assert await iterator.asend("a") == "a"
        assert await iterator.athrow(thrown) is thrown
        with pytest.raises(LookupError, match="end"):
            await anext(iterator)

    asyncio.run(main())
    assert exported.one.status.description == "LookupError: end"


@pytest.mark.parametrize("how", ["aclose", "other task", "collect", "shutdown"])
def test_an_async_generator_that_is_left_is_cleaned_up_once(exported, how, caplog, recwarn):
    """Closed by its user, by another task, by collection or by the loop's end: its cleanup runs to its end, quietly."""
    cleaned = []
    complaints = []

    @traced
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(current_span().get_span_context().span_id)

    kept = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        iterator = numbers()
        await anext(iterator)
        assert current_span() is trace.INVALID_SPAN
        if how == "aclose":
            await iterator.aclose()
        elif how == "other task":
            await asyncio.create_task(iterator.aclose())
        elif how == "collect":
            del iterator
            gc.collect()
            await asyncio.sleep(0.05)
        else:
            kept.append(iterator)

    asyncio.run(main())
    made = exported.one
    assert cleaned == [made.context.span_id]
    assert made.attributes["tldr.outcome"] == "cancelled"
    assert not complaints
    assert not caplog.records
    assert not list(recwarn)


def test_an_async_generator_in_a_reference_cycle_is_cleaned_up(exported):
    """Collected together with all that refers to it, the generator still runs its asynchronous cleanup."""
    cleaned = []

    @traced
    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    async def main():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        cycle = {"iterator": numbers()}
        cycle["self"] = cycle
        await anext(cycle["iterator"])
        del cycle
        gc.collect()
        await asyncio.sleep(0.02)
        assert not complaints

    asyncio.run(main())
    assert cleaned == [1]
    assert exported.one.attributes["tldr.outcome"] == "cancelled"


# Cancellation and concurrency


def test_a_cancelled_task_is_cancelled(exported):
    """Cancelling a task goes through the wrapper, and its span is no error."""

    @traced
    async def wait():
        await asyncio.sleep(10)

    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert exported.one.attributes["tldr.outcome"] == "cancelled"
    assert exported.one.status.status_code is StatusCode.UNSET


def test_concurrent_calls_keep_their_parents(exported):
    """Spans of calls that run side by side don't become each other's children."""

    @traced
    async def inner(number):
        await asyncio.sleep(0.001 * (number % 3))

    @traced(capture_args=True)
    async def outer(number):
        await inner(number)
        await asyncio.gather(inner(number), inner(number))

    async def main():
        await asyncio.gather(*[outer(number) for number in range(20)])

    asyncio.run(main())
    outers = {made.context.span_id for made in exported.spans if made.name == "outer"}
    children = [made.parent.span_id for made in exported.spans if made.name == "inner"]
    assert len(outers) == 20
    assert sorted(children) == sorted(list(outers) * 3)


def test_threads_have_spans_of_their_own(exported):
    """Each thread's calls are traced apart."""

    @traced
    def inner():
        time.sleep(0.001)

    @traced
    def outer():
        inner()

    threads = [threading.Thread(target=outer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({made.context.trace_id for made in exported.spans}) == 8
    assert len(exported.spans) == 16


def test_a_coroutine_that_is_collected_ends_its_span_quietly(exported, caplog):
    """A coroutine that nobody finishes, begun in a context that is gone, ends cancelled and logs nothing."""

    @types.coroutine
    def pause():
        yield

    @traced
    async def wait():
        await pause()

    coroutine = wait()
    contextvars.copy_context().run(coroutine.send, None)
    with caplog.at_level(logging.DEBUG):
        coroutine.close()
    assert exported.one.attributes["tldr.outcome"] == "cancelled"
    assert not caplog.records
    assert trace.get_current_span() is trace.INVALID_SPAN


# Ugly callables


def test_partials_and_objects(exported):
    """Partials and callable objects are traced by the kind and name of what they run."""

    class Job:
        state = 1

        async def __call__(self, a):
            return a

    async def fetch(a, b):
        return a + b

    job = traced(capture_args=True)(Job())
    part = traced(capture_args=True)(functools.partial(fetch, 1))
    assert inspect.iscoroutinefunction(job.__call__)
    assert inspect.iscoroutinefunction(part)
    assert asyncio.run(job(1)) == 1
    assert asyncio.run(part(2)) == 3
    first, second = exported.spans
    assert (first.name, first.attributes["a"]) == ("Job", 1)
    assert first.attributes["code.function"] == "test_partials_and_objects.<locals>.Job.__call__"
    assert (second.name, second.attributes["b"]) == ("fetch", 2)
    assert second.attributes["code.lineno"] == fetch.__code__.co_firstlineno


def test_a_cached_function_keeps_its_cache(exported):
    """`cache_info` and `cache_clear` of an `lru_cache` work from outside of the decorator."""

    @traced(capture_args=True)
    @functools.lru_cache
    def double(a):
        """Double it."""
        return a * 2

    assert [double(2), double(2)] == [4, 4]
    assert double.cache_info().hits == 1
    double.cache_clear()
    assert double.cache_info().currsize == 0
    assert (double.__name__, double.__doc__, str(inspect.signature(double))) == ("double", "Double it.", "(a)")
    assert [(made.name, made.attributes["a"]) for made in exported.spans] == [("double", 2)] * 2


@pytest.mark.parametrize("shape", ["method", "classmethod outside", "classmethod inside", "staticmethod outside"])
@pytest.mark.parametrize("decorator", [traced, timed, log_event])
def test_a_cached_method_is_bound_and_keeps_its_cache(exported, decorator, shape):
    """An `lru_cache` in a class gets the receiver that it would get undecorated, and its cache is there."""

    @functools.lru_cache
    def work(*receiver, a):
        return receiver, a

    host = type("Host", (), {"work": None})
    outer, _, place = shape.partition(" ")
    wrap = {"method": lambda f: f, "classmethod": classmethod, "staticmethod": staticmethod}[outer]
    host.work = decorator(wrap(work)) if place == "inside" else wrap(decorator(work))
    receiver = host()
    expected = {"method": (receiver,), "classmethod": (host,), "staticmethod": ()}[outer]
    assert receiver.work(a=1) == receiver.work(a=1) == (expected, 1)
    assert receiver.work.cache_info().hits == 1


@pytest.mark.parametrize("call", [lambda host: host.work(1), lambda host: type(host).work(host, 1)])
def test_a_cached_methods_arguments_are_captured_without_the_receiver(exported, call):
    """Called on the instance or on the class, the argument after the receiver is found."""

    class Host:
        @traced(capture_args=True)
        @functools.lru_cache  # noqa: B019 - the case at hand
        def work(self, a, b=2):
            return a + b

    assert call(Host()) == 3
    attributes = exported.one.attributes
    assert (attributes["a"], attributes["b"]) == (1, 2)
    assert "self" not in attributes


class Counter:
    """A callable object with state."""

    def __init__(self):
        self.count = 0

    def __call__(self, a):
        self.count += a
        return self.count


def test_an_object_stays_itself(exported):
    """A decorated callable object has its class, its state (to be read and set) and its binding."""
    counter = Counter()
    decorated = traced(capture_args=True)(counter)
    host = type("Host", (), {"work": decorated})()
    assert (decorated(1), host.work(2)) == (1, 3)
    assert isinstance(decorated, Counter)
    assert decorated.count == 3
    decorated.count = 10
    decorated.more = 5
    assert (counter.count, counter.more) == (10, 5)
    assert [made.attributes["a"] for made in exported.spans] == [1, 2]
    assert [made.name for made in exported.spans] == ["Counter"] * 2


def test_an_object_around_a_bound_method_gets_its_arguments_once(exported):
    """An object that shows a `__self__` of its own, as bound methods do, is called as it was."""

    class Bound:
        __self__ = Counter()

        def __call__(self, a):
            return self.__self__(a)

    assert traced(capture_args=True)(Bound())(4) == 4
    assert exported.one.attributes["a"] == 4


def test_an_object_may_be_decorated_twice(exported):
    """Two decorators around an object make two spans, and its state shows through both."""
    decorated = traced_use_case(traced_service_method(Counter()))
    assert decorated(1) == decorated.count == 1
    assert [made.attributes["tldr.layer"] for made in exported.spans] == ["service", "use_case"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["success", "failure"])
def test_objects_of_every_kind(exported, kind, ending):
    """An object is called, awaited or iterated as before, and frameworks that look at `__call__` see which."""
    error = None if ending == "success" else ValueError("no")
    body = make_body(kind, error)
    thing = traced(traced_service_method(type("Thing", (), {"__call__": body})()))
    for ask in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert ask(thing.__call__) is ask(body)
    if error is None:
        assert drive(kind, thing, value=7) == [7]
    else:
        with pytest.raises(ValueError, match="no") as caught:
            drive(kind, thing, value=7)
        assert caught.value is error
    inner, outer = exported.spans
    assert inner.parent.span_id == outer.context.span_id
    assert {made.status.status_code for made in exported.spans} == {
        StatusCode.UNSET if error is None else StatusCode.ERROR
    }


def test_starlette_awaits_an_async_object(exported):
    """A decorated object with an async `__call__` runs as a background task on the loop, to its end."""
    from starlette.background import BackgroundTask

    ran = []

    class Job:
        async def __call__(self, a):
            await asyncio.sleep(0)
            ran.append(a)

    asyncio.run(BackgroundTask(traced(Job()), 1)())
    assert ran == [1]
    assert exported.one.name == "Job"


def test_a_plain_wrapper_around_an_async_function(exported):
    """A function that returns a coroutine is traced until that is done, and its caller's context is left alone."""

    async def fetch():
        with span("inside"):
            await asyncio.sleep(0)
        return 1

    @traced
    def deferred():
        return fetch()

    async def main():
        coroutine = deferred()
        assert inspect.iscoroutine(coroutine)
        assert current_span() is trace.INVALID_SPAN
        return await coroutine

    assert asyncio.run(main()) == 1
    assert exported.named("inside").parent.span_id == exported.named("deferred").context.span_id


@pytest.mark.filterwarnings("ignore:.* was never awaited")  # of the inner one, which lives as long as the first warning
def test_a_coroutine_that_is_never_awaited_is_named(exported):
    """Python's warning about a forgotten `await` names the user's function, also behind a plain wrapper."""

    async def fetch():
        return 1

    deferred = traced(lambda: fetch())  # noqa: PLW0108 - a plain wrapper, at its shortest
    with pytest.warns(RuntimeWarning, match=re.escape(f"coroutine '{fetch.__qualname__}' was never awaited")):
        deferred()
    coroutine = deferred()
    assert coroutine.__name__ == "fetch"
    asyncio.run(coroutine)


def test_builtins_can_be_traced(exported):
    """A function without Python code has no line, and works."""
    assert traced(len)([1]) == 1
    assert exported.one.name == "len"
    assert "code.lineno" not in exported.one.attributes


def test_classes_with_slots_inheritance_and_super(exported):
    """Methods of slotted classes, overridden and called through super(), nest."""

    class Base:
        __slots__ = ("value",)

        def __init__(self, value):
            self.value = value

        @traced
        def get(self):
            return self.value

    class Child(Base):
        __slots__ = ()

        @traced(name="child_get")
        def get(self):
            return super().get() + 1

    assert Child(1).get() == 2
    assert exported.named("get").parent.span_id == exported.named("child_get").context.span_id


def test_abstract_methods_stay_abstract():
    """A class whose traced method is abstract can't be made, from either side of `abstractmethod`."""

    class Port(ABC):
        @traced
        @abstractmethod
        def outer(self): ...

        @traced
        @classmethod
        @abstractmethod
        def build(cls): ...

    assert Port.__abstractmethods__ == {"outer", "build"}


def test_properties(exported):
    """A property's getter is traced, and its setter stays."""

    class Host:
        _value = 1

        @traced
        @property
        def value(self):
            """What it is."""
            return self._value

        @value.setter
        def value(self, value):
            self._value = value

        @traced
        @functools.cached_property
        def once(self):
            return object()

    host = Host()
    host.value = 5
    assert host.value == 5
    assert Host.value.__doc__ == "What it is."
    assert host.once is host.once
    assert [made.name for made in exported.spans] == ["value", "once"]


def test_decorating_twice_makes_two_spans(exported):
    """Two layers on one function nest."""

    @traced_use_case
    @traced_service_method
    def work():
        return 1

    assert work() == 1
    inner, outer = exported.spans
    assert (inner.attributes["tldr.layer"], outer.attributes["tldr.layer"]) == ("service", "use_case")
    assert inner.parent.span_id == outer.context.span_id
    assert inner.attributes["code.lineno"] == outer.attributes["code.lineno"]


@traced(capture_args=True)
def picklable(a):
    """A module's own function."""
    return a


class Named:
    """A class whose decorated method is found by name."""

    kept: ClassVar[list[Any]] = []

    @traced
    def method(self):
        """Do nothing."""


def test_pickling(exported):
    """Decorated functions, bound methods and the decorators themselves survive pickling."""
    assert pickle.loads(pickle.dumps(picklable)) is picklable
    assert pickle.loads(pickle.dumps(Named().method)).__func__ is Named.method
    assert pickle.loads(pickle.dumps(traced_use_case)) is traced_use_case


def test_fastapi_sees_the_signature(exported):
    """Dependencies and parameters of a decorated endpoint are those of the function, generators included."""
    from fastapi import Depends, FastAPI
    from fastapi.testclient import TestClient

    closed = []

    @traced
    async def session():
        yield "session"
        closed.append(current_span().get_span_context().span_id)

    app = FastAPI()

    @app.get("/items/{item}")
    @traced_api_endpoint(capture_args=["item"])
    async def read(item: int, q: str = "none", given: str = Depends(session)):  # noqa: FAST002 - a local name
        return [item, q, given]

    with TestClient(app) as client:
        assert client.get("/items/3?q=x").json() == [3, "x", "session"]
        assert client.get("/items/x").status_code == 422
    assert exported.named("read").attributes["item"] == 3
    assert closed[0] in {made.context.span_id for made in exported.spans if made.name == "session"}


# Exceptions


@pytest.fixture
def with_logfire(exported, monkeypatch):
    """Logfire's provider as the program's own, exporting to `exported`."""
    import logfire

    theirs = logfire.configure(
        local=True,
        send_to_logfire=False,
        console=False,
        metrics=False,
        additional_span_processors=[SimpleSpanProcessor(exported.exporter)],
    )
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs.config.get_tracer_provider())
    return exported


def http_error(source, status, *, tame):
    """An HTTPException of the library, which OpenTelemetry's SDK could or couldn't describe at a bounded price."""
    from fastapi import HTTPException
    from starlette.exceptions import HTTPException as StarletteHTTPException

    kind = {"fastapi": HTTPException, "starlette": StarletteHTTPException}[source]
    return kind(status, "no" if tame else "x" * 100_000)


@pytest.mark.parametrize("source", ["fastapi", "starlette"])
@pytest.mark.parametrize(
    ("status", "expected"), [(404, (13, StatusCode.UNSET, "False")), (503, (17, StatusCode.ERROR, "True"))]
)
@pytest.mark.parametrize("tame", [True, False])
def test_a_clients_error_is_a_warning(exported, source, status, expected, *, tame):
    """An HTTPException below 500 is on every layer a warning and no error; from 500 on it is an error."""
    error = http_error(source, status, tame=tame)
    for decorator in (traced, *LAYERS):
        with pytest.raises(type(error)):
            decorator(make_body("sync", error))(value=1)
    assert len(exported.spans) == 6
    for made in exported.spans:
        (event,) = made.events
        escaped = event.attributes["exception.escaped"]
        assert (made.attributes["logfire.level_num"], made.status.status_code, escaped) == expected
        assert event.attributes["exception.type"].endswith("HTTPException")


@pytest.mark.parametrize(("status", "level"), [(404, 13), (503, 17)])
def test_logfire_makes_no_issue_of_a_clients_error(with_logfire, status, level):
    """Beside Logfire, too, a 404 is a warning without fingerprint, and a 503 an error with one."""
    error = http_error("fastapi", status, tame=True)
    with pytest.raises(type(error)):
        traced(make_body("sync", error))(value=1)
    attributes = with_logfire.one.attributes
    assert attributes["logfire.level_num"] == level
    assert ("logfire.exception.fingerprint" in attributes) is (level == 17)


class TooManyError(Exception):
    """The error of a client library whose API answered 429."""

    status_code = 429


class StatuslessError(Exception):
    """An exception whose status can't be read."""

    @property
    def status_code(self):
        """Fail."""
        raise LookupError


@pytest.mark.parametrize("error", [TooManyError("slow down"), StatuslessError("?")])
def test_another_librarys_status_code_means_nothing(exported, error):
    """An API client's error is an error of ours, whatever status it carries."""
    with pytest.raises(type(error)):
        traced_api_endpoint(make_body("sync", error))(value=1)
    assert exported.one.attributes["logfire.level_num"] == 17
    assert exported.one.status.status_code is StatusCode.ERROR


def test_a_derived_http_error_without_a_status_is_an_error(exported):
    """A subclass of HTTPException whose status isn't a number, or can't be read, is an error."""
    from fastapi import HTTPException

    class OddError(StatuslessError, HTTPException):
        def __init__(self):
            """Leave it unset."""

    texts = HTTPException(404)
    texts.status_code = "404"
    for error in (OddError(), texts):
        with pytest.raises(HTTPException):
            traced(make_body("sync", error))(value=1)
    assert {made.attributes["logfire.level_num"] for made in exported.spans} == {17}


@pytest.mark.parametrize("provider", ["exported", "with_logfire"])
@pytest.mark.parametrize("said", [(StatusCode.ERROR, "said before"), (StatusCode.OK, None)])
def test_a_status_that_the_user_set_stands(provider, said, request):
    """Our error status does not replace what the function said itself, whichever SDK records."""
    exported = request.getfixturevalue(provider)

    @traced
    def work():
        current_span().set_status(*said)
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work()
    assert (exported.one.status.status_code, exported.one.status.description) == said
    assert exported.one.attributes["logfire.level_num"] == 17


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one line", "one line"),
        ("1 validation error:\n  {'input': 'secret'}", "1 validation error:"),
        ("\n\r\n  \nfirst\r\nsecond", "first"),
        ("", ""),
        ("\n", ""),
    ],
)
def test_a_status_is_the_first_line_of_the_exceptions_text(exported, text, shown):
    """The status says what failed on one line; what follows, such as the input of a validation, isn't in it."""
    with pytest.raises(ValueError):  # noqa: PT011 - its text is the parameter
        traced(make_body("sync", ValueError(text)))(value=1)
    assert exported.one.status.description == f"ValueError: {shown}"


def test_a_cancellation_by_trio_is_a_cancellation(exported, monkeypatch):
    """What trio raises to cancel a task, a BaseException of its own, is no error either."""
    cancelled = type("Cancelled", (BaseException,), {})
    monkeypatch.setitem(sys.modules, "trio", types.SimpleNamespace(Cancelled=cancelled))
    with pytest.raises(cancelled):
        traced(make_body("sync", cancelled()))(value=1)
    assert exported.one.attributes["tldr.outcome"] == "cancelled"
    assert exported.one.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("decorator", [traced, timed, log_event])
def test_an_exceptions_own_class_property_is_not_asked(exported, decorator):
    """An exception that fails when it is asked for its class passes as it is."""

    class SecretiveError(Exception):
        @property
        def __class__(self):
            raise LookupError

    error = SecretiveError()
    caught = None
    try:
        decorator(make_body("sync", error))(value=1)
    except SecretiveError as raised:
        caught = raised
    assert caught is error


def test_a_hostile_exception_is_recorded_and_passes(exported):
    """An exception whose text can't be made goes through as it is."""

    class HostileError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

        __repr__ = __str__

    error = HostileError()

    @traced
    def work():
        raise error

    with pytest.raises(HostileError) as caught:
        work()
    assert caught.value is error
    assert exported.one.status.status_code is StatusCode.ERROR
    assert exported.one.events[0].name == "exception"


def test_an_exceptions_frames_are_not_kept_alive(exported):
    """After a thrown exception is handled nothing of ours refers to it."""

    class Local(Exception):  # noqa: N818 - a thing to be counted
        pass

    @traced
    def swallow():
        while True:
            with contextlib.suppress(Local):
                yield

    iterator = swallow()
    next(iterator)
    iterator.throw(Local())
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Local]


@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_a_thrown_exception_that_passes_is_freed_at_once(exported, kind):
    """What is thrown into a generator and leaves it is freed with its last reference, without a collection."""

    class Local(Exception):  # noqa: N818 - a thing to be counted
        pass

    def throw():
        error = Local()
        iterator = traced(make_body(kind))(value=1)
        try:
            if kind == "generator":
                next(iterator)
                iterator.throw(error)
            else:
                with contextlib.suppress(StopIteration):
                    anext(iterator).send(None)
                iterator.athrow(error).send(None)
        except Local:
            return weakref.ref(error)
        finally:
            del error, iterator

    gc.collect()
    gc.disable()
    try:
        assert throw()() is None
    finally:
        gc.enable()


# Providers


def test_without_a_provider_everything_works(no_provider):
    """A program without OpenTelemetry's SDK runs as if undecorated."""
    for kind in KINDS:
        assert drive(kind, traced(make_body(kind)), value=1) == [1]
        with pytest.raises(ValueError, match="x"):
            drive(kind, traced(make_body(kind, ValueError("x"))), value=1)
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_provider_set_later_is_found(no_provider, monkeypatch):
    """A function decorated and called before the set-up is traced after it, and after another set-up too."""
    function = traced(lambda: 1)
    function()
    for _ in range(2):
        later = Exported().install(monkeypatch)
        function()
        assert len(later.spans) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_disabled_means_nothing(exported, kind):
    """After `setup(enabled=False)` calls go straight through."""
    _record.record.enabled = False
    _record.record.slow_threshold = 0.0
    assert drive(kind, traced(make_body(kind)), value=1) == [1]
    assert drive(kind, log_event(make_body(kind)), value=1) == [1]
    assert not exported.spans
    assert not exported.records


@pytest.mark.parametrize("kind", KINDS)
def test_under_an_unsampled_parent_nothing_is_made(exported, kind):
    """In a trace that isn't kept, a call makes no span, captures nothing and leaves the parent current."""
    context = trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(0))
    parent = trace.NonRecordingSpan(context)
    seen = []
    body = make_body(kind)

    class Unwalked:
        def __repr__(self):
            raise AssertionError

    if kind == "sync":

        @traced(capture_args=True)
        def work(value):
            seen.append(current_span())
            return value

        drive_it = functools.partial(drive, kind, work)
    else:
        drive_it = functools.partial(drive, kind, traced(body))
    with trace.use_span(parent):
        drive_it(value=Unwalked())
        assert current_span() is parent
    assert not exported.spans
    assert seen in ([], [parent])


def test_a_sampled_out_root_decides_for_its_children(unsampled):
    """The decision not to keep a trace is made once, at its root."""
    asked = []

    class Counting(SpanProcessor):
        def on_start(self, span, parent_context=None):
            asked.append(span)

    unsampled.provider.add_span_processor(Counting())

    @traced
    def inner():
        return current_span()

    @traced
    def outer():
        return current_span(), inner()

    first, second = outer()
    assert first is second
    assert first.get_span_context().is_valid
    assert not first.get_span_context().trace_flags.sampled
    assert not unsampled.spans


def test_a_tracer_that_makes_nothing_leaves_the_current_span(exported, monkeypatch):
    """Under a provider whose tracers answer with the invalid span, the host's own span stays current."""

    class Empty(trace.NoOpTracer):
        def start_span(self, *args, **kwargs):
            return trace.INVALID_SPAN

    class Provider(trace.NoOpTracerProvider):
        def get_tracer(self, *args, **kwargs):
            return Empty()

    with span("theirs") as theirs:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", Provider())
        assert traced(current_span)() is theirs
        with span("block"):
            assert current_span() is theirs


def test_a_processor_that_fails_does_not_reach_the_host(exported, caplog):
    """A span processor of somebody's that raises costs the span, not the call."""
    guard.set_strict(False)

    class Broken(SpanProcessor):
        def on_start(self, span, parent_context=None):
            raise RuntimeError("start")

        def on_end(self, span):
            raise RuntimeError("end")

    function = traced(lambda: 1)
    exported.provider.add_span_processor(Broken())
    assert function() == 1
    assert "starting a span" in caplog.text
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_runtime_context_of_the_programs_own(exported, monkeypatch):
    """Where OpenTelemetry keeps its context elsewhere, the parent's context comes back too."""

    class Stack:
        def __init__(self):
            self.contexts = [context_api.Context()]

        def attach(self, context):
            self.contexts.append(context)
            return len(self.contexts)

        def get_current(self):
            return self.contexts[-1]

        def detach(self, token):
            del self.contexts[token - 1 :]

    own = Stack()
    monkeypatch.setattr(context_api, "_RUNTIME_CONTEXT", own)
    traced(lambda: 1)()
    assert len(own.contexts) == 1
    assert exported.one.name == "<lambda>"


# Slow calls


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_call_is_marked_and_logged(exported, kind):
    """A call over the decorator's threshold carries `tldr.slow` and makes one warning of the same trace."""
    body = make_body(kind)
    if kind == "sync":

        def work(value):
            time.sleep(0.01)

    elif kind == "async":

        async def work(value):
            time.sleep(0.01)  # noqa: ASYNC251 - the loop's own sleep may end a little early

    elif kind == "generator":

        def work(value):
            time.sleep(0.01)
            yield from body(value=value)

    else:

        async def work(value):
            time.sleep(0.01)  # noqa: ASYNC251 - as above
            yield value

    drive(kind, traced(slow_threshold=0.01)(work), value=1)
    made = exported.one
    assert made.attributes["tldr.slow"] is True
    (record,) = exported.records
    assert (record.event_name, record.severity_number.value) == ("tldr.slow_call", 13)
    assert record.attributes["code.function"].endswith("work")
    assert 0.01 <= record.attributes["tldr.duration"] < 5
    assert (record.trace_id, record.span_id) == (made.context.trace_id, made.context.span_id)


def test_the_general_threshold_holds_unless_the_decorator_says_otherwise(exported):
    """`LOGFIRE_SLOW_THRESHOLD` is the default, and a decorator's own value comes first."""
    _record.record.slow_threshold = 0.0
    traced(lambda: 1)()
    traced(slow_threshold=60)(lambda: 1)()
    timed(lambda: 1)()
    assert ["tldr.slow" in made.attributes for made in exported.spans] == [True, False]
    assert len(exported.records) == 2


def test_slow_calls_are_logged_without_sampling_and_without_provider(unsampled, monkeypatch):
    """Slowness is told of whether or not the trace is kept."""
    function = traced(slow_threshold=0.0)(lambda: 1)
    function()
    traced(lambda: [function()])()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    function()
    assert [record.event_name for record in unsampled.records] == ["tldr.slow_call"] * 3


# timed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["success", "failed", "cancelled"])
def test_timed_counts_durations_by_outcome(exported, monkeypatch, kind, ending):
    """`timed` records one duration in seconds per call and makes no span."""
    reader = InMemoryMetricReader()
    recorder = Registry(MeterProvider([reader])).automatic(calls.FUNCTION_DURATION)
    monkeypatch.setattr(timing, "_duration", recorder)
    error = {"success": None, "failed": ValueError(), "cancelled": asyncio.CancelledError()}[ending]
    function = timed(name="job", attributes={"shop": "north"})(make_body(kind, error))
    if error is None:
        drive(kind, function, value=1)
    else:
        with pytest.raises(type(error)):
            drive(kind, function, value=1)
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.data.data_points
    assert (metric.name, metric.unit, point.count) == ("tldr.function.duration", "s", 1)
    assert dict(point.attributes) == {"code.function": "job", "tldr.outcome": ending, "shop": "north"}
    assert 0 <= point.sum < 1
    assert not exported.spans


# With Logfire


def test_the_same_fields_as_logfire_instrument(tmp_path):
    """Beside `logfire.instrument`, our span of the same function has the same fields with the same meaning."""
    script = """
        import json, sys
        import logfire
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from tldr_observability import guard, traced

        guard.set_strict(True)

        def work(a, b):
            if b == 2:
                raise ValueError("no")
            return a

        ours = traced(capture_args=True)(work)
        ours(1, {"early": True})
        for _ in range(2):
            exporter = InMemorySpanExporter()
            logfire.configure(send_to_logfire=False, console=False, scrubbing=False,
                              additional_span_processors=[SimpleSpanProcessor(exporter)])
        theirs = logfire.instrument("work", extract_args=True)(work)
        for function in (ours, theirs):
            function([1], {"x": None})
            try:
                function(1, 2)
            except ValueError:
                pass

        def plain(made):
            attributes = dict(made.attributes)
            attributes["logfire.json_schema"] = json.loads(attributes["logfire.json_schema"])
            if made.events:  # made of the frames, the wrapper's among them
                assert attributes.pop("logfire.exception.fingerprint")
            return [made.name, made.kind.name, attributes, made.status.status_code.name, made.status.description,
                    [sorted(event.attributes) for event in made.events]]

        made = [plain(each) for each in exporter.get_finished_spans()]
        assert len(made) == 4, made
        json.dump(made, sys.stdout)
    """
    import json

    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(script))
    ran = subprocess.run([sys.executable, path], check=False, capture_output=True, text=True, timeout=50)
    assert ran.returncode == 0, ran.stderr
    ours_good, ours_bad, theirs_good, theirs_bad = json.loads(ran.stdout)
    assert ours_good == theirs_good
    assert ours_bad == theirs_bad
