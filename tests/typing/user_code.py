"""What a type checker sees of decorated code: never executed; `mypy --strict` and pyright check it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from functools import lru_cache, partial
from typing import TypeVar, assert_type, overload

from opentelemetry.trace import Span

from tldr_observability import (
    current_span,
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

T = TypeVar("T")


@traced
def bare(a: int, *, b: str = "") -> float:
    return a + len(b)


@traced_service_method(
    name="named", capture_args=["a"], capture_result=True, attributes={"team": "north"}, slow_threshold=0.5
)
def with_options(a: int, *, b: str = "") -> float:
    return a + len(b)


@traced_api_endpoint
async def coroutine(a: int) -> str:
    return str(a)


@traced_repository_method(capture_args=True)
def generator(a: int) -> Generator[int, str, float]:
    yield a
    return 1.0


@traced_background_task
def iterator(a: int) -> Iterator[int]:
    yield a


@traced_use_case(slow_threshold=1)
async def async_generator(a: int) -> AsyncGenerator[int, str]:
    yield a


@traced
async def async_iterator(a: int) -> AsyncIterator[int]:
    yield a


@traced
def generic(a: T, b: list[T]) -> T:
    return b[0] if b else a


@overload
def overloaded(a: int) -> int: ...
@overload
def overloaded(a: str) -> str: ...
@traced
def overloaded(a: int | str) -> int | str:
    return a


@timed
def measured(a: int) -> str:
    return str(a)


@timed(name="job", attributes={"shop": "north"}, slow_threshold=1.0)
async def measured_with_options(a: int) -> str:
    return str(a)


@log_event
def announced(a: int) -> str:
    return str(a)


@log_event(name="stream.started", level="notice", capture_args=["a"], message="A stream")
async def announced_with_options(a: int) -> str:
    return str(a)


@traced
@lru_cache
def cached(a: int) -> str:
    return str(a)


class Job:
    state = 1

    async def __call__(self, a: int) -> str:
        return str(a)


class Host(ABC):
    @traced_service_method
    def method(self, a: int) -> str:
        return str(a)

    @traced_service_method(capture_args=True)
    async def async_method(self, a: int) -> str:
        return str(a)

    @classmethod
    @traced
    def build(cls, a: int) -> Host:
        return cls()

    @staticmethod
    @traced
    def plain(a: int) -> str:
        return str(a)

    @traced
    @staticmethod
    def plain_inside(a: int) -> str:
        return str(a)

    @property
    @traced
    def value(self) -> int:
        return 1

    @traced
    @abstractmethod
    def port(self, a: int) -> str: ...


class Child(Host):
    @traced
    def port(self, a: int) -> str:
        return super().method(a)


async def uses(host: Child) -> None:
    assert_type(bare(1, b="x"), float)
    assert_type(with_options(1), float)
    assert_type(await coroutine(1), str)
    assert_type(generator(1), Generator[int, str, float])
    assert_type(iterator(1), Iterator[int])
    assert_type(async_generator(1), AsyncGenerator[int, str])
    assert_type(async_iterator(1), AsyncIterator[int])
    assert_type(generic(1, [2]), int)
    assert_type(overloaded(1), int)
    assert_type(overloaded("1"), str)
    assert_type(measured(1), str)
    assert_type(await measured_with_options(1), str)
    assert_type(announced(1), str)
    assert_type(await announced_with_options(1), str)
    assert_type(host.method(1), str)
    assert_type(await host.async_method(1), str)
    assert_type(Child.build(1), Host)
    assert_type(Child.plain(1), str)
    assert_type(Child.plain_inside(1), str)
    assert_type(host.value, int)
    assert_type(host.port(1), str)
    assert_type(traced(partial(bare, 1))(b="x"), float)

    assert_type(cached(1), str)
    cached.cache_clear()
    job = traced_background_task(Job())
    assert_type(await job(1), str)
    assert_type(job.state, int)

    kept: Callable[[int], str] = traced(measured)
    kept(1)

    bare("x")  # type: ignore[arg-type]
    host.method()  # type: ignore[call-arg]
    traced(capture_arg=True)  # type: ignore[call-overload]
    traced(3)  # type: ignore[call-overload]


def events() -> None:
    log_event("stream.started", stream_id="1")
    log_event("stream.started", level="warn", message="Late", attributes={"a.b": 1}, count=3)
    log_event("stream.started", level="loud")  # type: ignore[call-overload]


async def blocks() -> None:
    with span("fetched {count} items", count=3) as block:
        assert_type(block, Span)
        block.set_attribute("late", 1)
    async with span("block") as block:
        assert_type(block, Span)
    assert_type(current_span(), Span)


def falls_through() -> int:
    with span("block"):
        return 1
